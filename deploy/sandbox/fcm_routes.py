"""FCM's one call, Google's token endpoint, and the phones behind them, with their page."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from deploy.sandbox import scripted
from deploy.sandbox.arrivals import Arrival, page
from deploy.sandbox.fcm import CODES, Firebase, Refused
from deploy.sandbox.markup import tag
from deploy.sandbox.smtp_routes import Listing

_TYPES = "type.googleapis.com/"
_PATH = "/fcm/v1/projects/{project}/messages:send"


class Terms(BaseModel):
    model_config = ConfigDict(extra="forbid")

    expires_in: Annotated[int, Field(ge=1, le=3600)]


async def send(request: Request) -> Response:
    """200 with the message's name."""
    firebase = firebase_of(request)
    body = await _object(request)
    message = body.get("message")
    device = message.get("token") if isinstance(message, dict) else None

    async def act() -> Response:
        project = request.path_params["project"]
        try:
            push = firebase.send(project, request.headers.get("authorization", ""), message)
        except Refused as error:
            return _refusal(error)
        return JSONResponse({"name": f"projects/{project}/messages/{push.id}"})

    return await scripted.struck(firebase.faults, device if isinstance(device, str) else "", act, refusal)


def refusal(status: int, words: str) -> Response:
    """`words` are a code of FCM's, or those of whoever stands before it."""
    if words not in CODES:
        return Response(words, status)
    return _refusal(Refused(CODES[words][0], CODES[words][1], words))


def _refusal(error: Refused) -> Response:
    details: list[dict[str, Any]] = []
    if error.code is not None:
        details.append({"@type": f"{_TYPES}google.firebase.fcm.v1.FcmError", "errorCode": error.code})
    if error.wrong is not None:
        violations = [{"field": error.wrong, "description": "Invalid value"}]
        details.append({"@type": f"{_TYPES}google.rpc.BadRequest", "fieldViolations": violations})
    said = {"code": error.http, "message": "Refused.", "status": error.status, "details": details}
    headers = {"retry-after": "60"} if error.http == 429 else None
    return JSONResponse({"error": said}, error.http, headers)


async def exchange(request: Request) -> Response:
    """Google's token endpoint: an access token for a signed assertion."""
    firebase = firebase_of(request)
    form = {name: str(value) for name, value in (await request.form()).items()}

    async def act() -> Response:
        try:
            uri = _token_uri(request)
            return JSONResponse(firebase.exchange(form.get("grant_type", ""), form.get("assertion", ""), uri))
        except ValueError:
            return JSONResponse({"error": "invalid_grant", "error_description": "Invalid JWT."}, 400)

    return await scripted.struck(firebase.faults, "token-endpoint", act, lambda status, words: Response(words, status))


async def get_service_account(request: Request) -> Response:
    return JSONResponse(firebase_of(request).service_account(_token_uri(request)))


async def get_tokens(request: Request) -> Response:
    """How many access tokens were asked for."""
    return JSONResponse({"issued": firebase_of(request).issued})


async def revoke_tokens(request: Request) -> Response:
    """None of them is good any more."""
    firebase_of(request).revoke()
    return Response(status_code=204)


async def change_terms(request: Request) -> Response:
    """How long new access tokens are good."""
    firebase_of(request).expires_in = Terms.model_validate_json(await request.body()).expires_in
    return Response(status_code=204)


async def create_device(request: Request) -> Response:
    """A program is installed: 201 with its registration token."""
    return JSONResponse({"token": firebase_of(request).register()}, 201)


async def delete_device(request: Request) -> Response:
    """It is gone."""
    firebase_of(request).devices[request.path_params["token"]] = False
    return Response(status_code=204)


async def list_pushes(request: Request) -> Response:
    """Newest first; `to` is part of a registration token."""
    listing = Listing.model_validate(dict(request.query_params))
    found = firebase_of(request).newest_first(listing.to)
    return JSONResponse({"results": [each.as_json() for each in found[: listing.limit]], "total": len(found)})


async def show_pushes(request: Request) -> Response:
    """What phones have shown, and a button for a new one."""
    firebase = firebase_of(request)
    found = [
        Arrival(each.device[:22], json.dumps(each.message.get("notification"), ensure_ascii=False), each.id, each.at)
        for each in firebase.newest_first()
    ]
    installed = [token for token, here in firebase.devices.items() if here]
    button = tag("form", tag("button", "New phone"), method="post", action="/fcm/new")
    known = (tag("pre", token) for token in installed[-5:])
    return page("FCM", found, button, *known, empty="No message yet. What phones show appears here.")


async def new_device(request: Request) -> Response:
    """The button of the page."""
    firebase_of(request).register()
    return RedirectResponse("/fcm", status_code=303)


def routes() -> Sequence[Route]:
    return [
        Route(_PATH, send, methods=["POST"]),
        Route("/fcm/token", exchange, methods=["POST"]),
        Route("/fcm/service-account.json", get_service_account, methods=["GET"]),
        Route("/fcm/tokens", get_tokens, methods=["GET"]),
        Route("/fcm/tokens", revoke_tokens, methods=["DELETE"]),
        Route("/fcm/terms", change_terms, methods=["PUT"]),
        Route("/fcm/devices", create_device, methods=["POST"]),
        Route("/fcm/devices/{token}", delete_device, methods=["DELETE"]),
        Route("/fcm/messages", list_pushes, methods=["GET"]),
        Route("/fcm", show_pushes, methods=["GET"]),
        Route("/fcm/new", new_device, methods=["POST"]),
        *scripted.routes("/fcm/faults", lambda request: firebase_of(request).faults),
    ]


def firebase_of(request: Request) -> Firebase:
    found: Firebase = request.app.state.firebase
    return found


def _token_uri(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}/fcm/token"


async def _object(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.body())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
