"""Signing in with an account elsewhere."""

import re
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Cookie, Request, Response, status
from fastapi.responses import RedirectResponse

from auth_service.deps import Device, Tools
from auth_service.domain import social, visits
from auth_service.domain.oauth import Grant
from auth_service.domain.visits import ComingBack
from auth_service.errors import UnknownVisit
from auth_service.routes.answers import signed_in
from auth_service.routes.cookies import Cookies
from auth_service.schemas.providers import (
    ProviderGrant,
    ProviderList,
    ProviderShown,
    VisitBegin,
    VisitBegun,
    VisitExchange,
)
from auth_service.schemas.tokens import CookieTokens, Tokens
from libs.deps import made

router = APIRouter(prefix="/api/v1/auth/providers", tags=["providers"])

# The one path that takes a form: browsers post it, sent by a provider.
FORMS = re.compile(r"/api/v1/auth/providers/[a-z0-9-]+/callback")
# `__Host-`: set by this host over TLS and by nobody else, for the whole of it.
COOKIE = "__Host-flow"
Browser = Annotated[str | None, Cookie(alias=COOKIE, max_length=100, include_in_schema=False)]
_FIELDS = ("state", "code", "error", "iss", "user")
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "Not begun in this browser, over, or refused by the provider."},
    403: {"description": "A second factor is required, or this country is not allowed."},
    502: {"description": "The provider gave no proper answer."},
}


def remember(response: Response, browser: str) -> None:
    response.set_cookie(
        COOKIE,
        browser,
        max_age=int(visits.LIFETIME.total_seconds()),
        secure=True,
        httponly=True,
        # Sent along when the provider leads back, and with no request that another site's page makes.
        samesite="lax",
    )


@router.get("")
async def list_providers(kit: Tools) -> ProviderList:
    """With whom one can sign in here."""
    shown = [each.config for each in kit.providers.all()]
    return ProviderList(results=[ProviderShown(name=c.name, kind=c.kind, label=c.shown) for c in shown])


@router.post("/{provider_id}/begin", responses={502: _REFUSALS[502]})
async def begin_sign_in(
    *, provider_id: str, body: VisitBegin, kit: Tools, response: Response, browser: Browser = None
) -> VisitBegun:
    """Begins a visit to a provider: send the browser to `authorization_url`, within ten minutes."""
    begun = await visits.begin(kit, provider_id, body.return_to, browser=browser)
    remember(response, begun.browser)
    return VisitBegun(authorization_url=begun.authorization_url)


@router.get(
    "/{provider_id}/callback",
    status_code=status.HTTP_303_SEE_OTHER,
    response_class=RedirectResponse,
    responses={200: {"description": "Never; the answer is a redirect."}, 400: _REFUSALS[400]},
)
async def come_back(
    provider_id: str, answer: Annotated[ComingBack, made(ComingBack)], kit: Tools, browser: Browser = None
) -> RedirectResponse:
    """Where the provider leads the browser; it goes on to `return_to`, with `#code=` or `#error=`."""
    page = await visits.come_back(kit, provider_id, answer, browser)
    return RedirectResponse(page, status.HTTP_303_SEE_OTHER, {"Cache-Control": "no-store"})


@router.post(
    "/{provider_id}/callback",
    status_code=status.HTTP_303_SEE_OTHER,
    response_class=RedirectResponse,
    responses={200: {"description": "Never; the answer is a redirect."}, 400: _REFUSALS[400]},
)
async def come_back_by_form(provider_id: str, kit: Tools, request: Request) -> RedirectResponse:
    """The same for providers that make the browser post a form, as Apple does.

    Such a request comes from another site and without the cookie; the redirect makes it a plain visit, which has it.
    """
    name = kit.providers.get(provider_id).config.name
    try:
        form = parse_qs((await request.body()).decode(), max_num_fields=20)
    except ValueError:
        raise UnknownVisit from None
    kept = {field: form[field][0][:4000] for field in _FIELDS if field in form}
    return RedirectResponse(f"{kit.providers.callback(name)}?{urlencode(kept)}", status.HTTP_303_SEE_OTHER)


@router.post("/exchange", responses=_REFUSALS)
async def exchange_visit(
    *, body: VisitExchange, kit: Tools, device: Device, jar: Cookies, browser: Browser = None
) -> Tokens | CookieTokens:
    """Ends a visit: the code from the fragment, in the browser that began it, for a pair of tokens. Once, within two
    minutes.

    With `cookie` the tokens come as cookies that no script can read, and a session that the browser had before ends.
    """
    if body.cookie:
        jar.require_own_page()
    return await jar.opened(await social.sign_in_with_visit(kit, body.code, browser, device, cookie=body.cookie))


@router.post("/{provider_id}/token", responses=_REFUSALS)
async def exchange_grant(
    *, provider_id: str, body: ProviderGrant, kit: Tools, device: Device, response: Response
) -> Tokens:
    """For apps without cookies that visited the provider themselves. `redirect_uri` is one of the pages that the
    deployment names; OpenID providers also want the `nonce`."""
    grant = Grant(
        code=body.code, redirect_uri=body.redirect_uri, verifier=body.code_verifier, nonce=body.nonce, iss=body.iss
    )
    return signed_in(await social.sign_in_with_code(kit, provider_id, grant, device), response)
