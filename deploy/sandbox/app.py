"""The simulators' HTTP side: what happened, what shall happen, and pages to look at it."""

from types import ModuleType
from typing import Annotated, cast

from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.sandbox import (
    board_pages,
    discord_routes,
    fcm_routes,
    identity_routes,
    imap_routes,
    pages,
    slack_routes,
    sms_pages,
    sms_routes,
    smtp_routes,
    sns_routes,
    telegram_pages,
    telegram_routes,
    twilio_pages,
    twilio_routes,
    webhook_routes,
    webpush_routes,
    whatsapp_control,
    whatsapp_pages,
    whatsapp_routes,
)
from deploy.sandbox.certificates import Certificate
from deploy.sandbox.identity import Identity
from deploy.sandbox.smtp import Postbox

_PROVIDERS: tuple[ModuleType, ...] = (smtp_routes, sms_routes, identity_routes, pages, sms_pages)
_PROVIDERS += (imap_routes, sns_routes)
_PROVIDERS += (telegram_routes, telegram_pages, slack_routes, discord_routes, board_pages)
_PROVIDERS += (twilio_routes, twilio_pages, fcm_routes, webpush_routes, webhook_routes)
# What a test or a developer does to WhatsApp comes before its API, whose paths begin with any version.
_PROVIDERS += (whatsapp_control, whatsapp_pages, whatsapp_routes)
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class EffectsQuery(BaseModel):
    after: Annotated[int, Field(ge=0)] = 0
    provider: str | None = None


async def live(request: Request) -> Response:
    """Answers as soon as every simulator listens: HTTP is opened last."""
    del request
    return JSONResponse({"status": "ok"})


async def list_effects(request: Request) -> Response:
    """What the outside saw, oldest first: `?after=<number>&provider=smtp`."""
    query = EffectsQuery.model_validate(dict(request.query_params))
    found = smtp_routes.postbox(request).effects.since(query.after, provider=query.provider)
    return JSONResponse({"results": [effect.as_json() for effect in found]})


async def delete_effects(request: Request) -> Response:
    """Forget what happened; numbers go on."""
    smtp_routes.postbox(request).effects.clear()
    return Response(status_code=204)


def create_app(postbox: Postbox, certificate: Certificate, **simulators: object) -> Starlette:
    """`simulators`: what routes find in the app's state, by name."""
    own = [
        Route("/health/live", live, methods=["GET"]),
        Route("/effects", list_effects, methods=["GET"]),
        Route("/effects", delete_effects, methods=["DELETE"]),
    ]
    app = Starlette(
        routes=[*own, *(route for module in _PROVIDERS for route in module.routes())],
        middleware=[Middleware(Edge)],
        exception_handlers={ValidationError: smtp_routes.refuse_invalid, HTTPException: _say_no},
    )
    app.state.postbox = postbox
    app.state.certificate = certificate
    app.state.identity = Identity(postbox.clock)
    for name, simulator in simulators.items():
        setattr(app.state, name, simulator)
    return app


class Edge:
    """Security headers on everything, and no orders from foreign pages.

    The sandbox has no sign-in, so a page elsewhere could make a developer's browser script faults or empty
    the mailbox; browsers name the page's origin on every unsafe request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._app
        if scope["method"] not in {"GET", "HEAD"} and _foreign(Headers(scope=scope)):
            answer = JSONResponse({"detail": "Requests from other origins are refused."}, status_code=403)
        await answer(scope, receive, send_secured)


def _foreign(headers: Headers) -> bool:
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


async def _say_no(request: Request, error: Exception) -> Response:
    del request
    refusal = cast(HTTPException, error)
    return JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)
