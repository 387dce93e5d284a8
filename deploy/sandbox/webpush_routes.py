"""The push service's one address, and the browsers behind it, with their page."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox import scripted
from deploy.sandbox.arrivals import Arrival, page
from deploy.sandbox.markup import Html, tag
from deploy.sandbox.smtp_routes import Listing
from deploy.sandbox.webpush import PushService, Refused


class Visit(BaseModel):
    model_config = ConfigDict(extra="forbid")

    application_server_key: Annotated[str, Field(max_length=200)] | None = None


async def push(request: Request) -> Response:
    """RFC 8030, 5: 201 with the address of the message."""
    service, token = service_of(request), request.path_params["token"]
    body = await request.body()
    parts = urlsplit(str(request.url))

    async def act() -> Response:
        try:
            taken = service.push(token, request.headers, body, origin=f"{parts.scheme}://{parts.netloc}")
        except Refused as error:
            return refusal(error.status, error.reason)
        return Response(status_code=201, headers={"location": f"/webpush/messages/{taken.id}"})

    return await scripted.struck(service.faults, token, act, refusal)


def refusal(status: int, words: str) -> Response:
    headers = {"retry-after": "7"} if status == 429 else None
    return JSONResponse({"code": status, "message": words}, status, headers)


async def subscribe(request: Request) -> Response:
    """A browser opens a page that asks for messages: 201 with the subscription."""
    visit = Visit.model_validate_json(await request.body() or b"{}")
    browser = service_of(request).subscribe(visit.application_server_key)
    return JSONResponse(browser.as_json(str(request.base_url).rstrip("/")), 201)


async def unsubscribe(request: Request) -> Response:
    """Its owner wants no more of them."""
    browser = service_of(request).browsers.get(request.path_params["token"])
    if browser is not None:
        browser.alive = False
    return Response(status_code=204)


async def list_pushes(request: Request) -> Response:
    """Newest first, decrypted; `to` is part of a subscription's token."""
    listing = Listing.model_validate(dict(request.query_params))
    found = service_of(request).newest_first(listing.to)
    return JSONResponse({"results": [each.as_json() for each in found[: listing.limit]], "total": len(found)})


async def show_pushes(request: Request) -> Response:
    """What browsers have shown, and a button for a new one."""
    service = service_of(request)
    base = str(request.base_url).rstrip("/")
    found = [Arrival(each.token, each.text, _note(each.headers), each.at) for each in service.newest_first()]
    browsers = [json.dumps(each.as_json(base)) for each in service.browsers.values() if each.alive]
    tools = tag("form", tag("button", "New browser"), method="post", action="/webpush/new")
    known: list[Html] = [tag("pre", each) for each in browsers[-5:]]
    return page("Web push", found, tools, *known, empty="No message yet. What browsers show appears here.")


async def new_browser(request: Request) -> Response:
    """The button of the page."""
    service_of(request).subscribe(None)
    return RedirectResponse("/webpush", status_code=303)


def _note(headers: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in headers.items())


def routes() -> Sequence[Route]:
    return [
        Route("/webpush/push/{token}", push, methods=["POST"]),
        Route("/webpush/subscriptions", subscribe, methods=["POST"]),
        Route("/webpush/subscriptions/{token}", unsubscribe, methods=["DELETE"]),
        Route("/webpush/messages", list_pushes, methods=["GET"]),
        Route("/webpush", show_pushes, methods=["GET"]),
        Route("/webpush/new", new_browser, methods=["POST"]),
        *scripted.routes("/webpush/faults", lambda request: service_of(request).faults),
    ]


def service_of(request: Request) -> PushService:
    found: PushService = request.app.state.webpush
    return found
