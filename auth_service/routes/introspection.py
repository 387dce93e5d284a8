"""Asking what a token is worth, and ending it, in the words of OAuth 2 (RFC 7662, RFC 7009): for services that are
written in other languages, and for clients that know the standards."""

import re
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request, Response

from auth_service.deps import Device, Tools
from auth_service.domain import introspection
from auth_service.domain.kit import Kit
from auth_service.errors import NotOneToken
from auth_service.schemas.introspection import Introspection
from libs.api_tokens import PREFIX
from libs.auth import CurrentUser, authenticate
from libs.errors import Forbidden, Unauthenticated

router = APIRouter(prefix="/api/v1/auth", tags=["tokens"])
FORMS = re.compile(r"/api/v1/auth/(introspect|revoke)")
_LONGEST = 4096
_TOKEN = {"type": "string", "minLength": 1, "maxLength": _LONGEST}
_HINT = {"type": "string", "description": "Accepted and not needed: tokens are told apart by what they look like."}
_SCHEMA = {"type": "object", "required": ["token"], "properties": {"token": _TOKEN, "token_type_hint": _HINT}}
_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": _SCHEMA}}}
}
_REFUSALS: dict[int | str, dict[str, Any]] = {400: {"description": "There is not exactly one `token` in the form."}}


async def _token(request: Request) -> str:
    try:
        found = parse_qs((await request.body()).decode(), max_num_fields=20).get("token", [])
    except ValueError:
        raise NotOneToken from None
    if len(found) != 1 or len(found[0]) > _LONGEST:
        raise NotOneToken
    return found[0]


Shown = Annotated[str, Depends(_token)]


@router.post(
    "/introspect",
    responses={**_REFUSALS, 403: {"description": "This needs an API token with the scope `introspect`."}},
    response_model_exclude_none=True,
    openapi_extra=_BODY,
)
async def introspect_token(
    *, request: Request, program: CurrentUser, token: Shown, kit: Tools, response: Response
) -> Introspection:
    """What an access token, a refresh token or an API token is worth right now (RFC 7662).

    For services that check no signatures themselves: they call with an API token that has the scope `introspect`.
    """
    if program.scopes is None:
        raise Forbidden
    response.headers["Cache-Control"] = "no-store"
    told = await _told(request, kit, token)
    return Introspection(active=False) if told is None else Introspection.model_validate({"active": True, **told})


async def _told(request: Request, kit: Kit, token: str) -> dict[str, object] | None:
    if token.startswith(PREFIX):
        return await introspection.of_api_token(kit, token)
    state = request.app.state
    try:
        caller = await authenticate(token, state.verifier, state.revocations)
    except Unauthenticated:
        return await introspection.of_refresh_token(kit, token)
    return introspection.of_access_token(caller.claims)


@router.post("/revoke", responses=_REFUSALS, openapi_extra=_BODY)
async def revoke_token(request: Request, token: Shown, kit: Tools, device: Device) -> dict[str, str]:
    """Ends what a token stands for, whoever shows it (RFC 7009): its session with all tokens of it, or the API token.

    A token that is worth nothing gets the same answer.
    """
    await introspection.end(kit, request.app.state.verifier, token, device)
    return {}
