"""Tokens in cookies: how a browser is signed in whose scripts must not read them, and its CSRF token."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from auth_service.deps import Ring, client_of, kit_of
from auth_service.domain import sessions
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.tokens import FAMILIES, IDLE, Pair
from auth_service.routes.answers import remember_device
from auth_service.schemas.tokens import CookieTokens, CsrfToken, Tokens
from libs import auth, cookies, csrf
from libs.auth import TwoCredentials
from libs.cookies import ACCESS_COOKIE, CSRF_COOKIE, REFRESH_COOKIE
from libs.deps import Now
from libs.errors import Unauthenticated
from libs.tokens import Verifier

router = APIRouter(tags=["cookies"])
_ACCESS_SECONDS = int(FAMILIES["canonical"].access.total_seconds())
_REFRESH_SECONDS = int(IDLE.total_seconds())


class Jar:
    """The cookies of one request and its answer, and what else a route needs that deals with them alone."""

    def __init__(self, request: Request, response: Response, kit: Kit, client: Client) -> None:
        self._request = request
        self._response = response
        self.kit = kit
        self.client = client

    @property
    def refresh(self) -> str | None:
        """Raises TwoCredentials."""
        found = cookies.values(self._request.headers.getlist("cookie"), REFRESH_COOKIE)
        if len(found) > 1:
            raise TwoCredentials
        return next(iter(found), None)

    def refresh_or(self, given: str | None) -> str | None:
        """The refresh token: `given` in the body, or that of the cookie, which must come from a page of ours."""
        kept = self.refresh
        if kept is None or kept == given:
            return given
        if given is not None:
            raise TwoCredentials
        presented = self.kit.mint.refresh.read(kept)
        auth.require_own_page(self._request, session_id=str(presented.session_id))
        return kept

    def require_own_page(self) -> None:
        """Nobody is signed in by a page of another site. Raises CrossSite."""
        csrf.from_own_page(self._request.headers, self._request.app.state.settings.own_origins)

    async def opened(self, pair: Pair) -> Tokens | CookieTokens:
        """The answer to a sign-in. A session that this browser had before is over: what was planted dies here."""
        remember_device(pair.device_token, self._response)
        if not pair.cookie:
            return Tokens.of(pair)
        self.require_own_page()
        old = self.refresh
        if old is not None:
            await sessions.end_by_refresh_token(self.kit, old, self.client)
        return self.continued(pair)

    def continued(self, pair: Pair) -> Tokens | CookieTokens:
        """The answer to a refresh."""
        if not pair.cookie:
            return Tokens.of(pair)
        self._set(cookies.kept(ACCESS_COOKIE, pair.access, seconds=_ACCESS_SECONDS))
        self._set(cookies.kept(REFRESH_COOKIE, pair.refresh, seconds=_REFRESH_SECONDS))
        return CookieTokens.of(pair)

    def clear(self) -> None:
        """Whoever sends none has none to lose."""
        sent = self._request.headers.getlist("cookie")
        for name in (ACCESS_COOKIE, REFRESH_COOKIE):
            if cookies.values(sent, name):
                self._set(cookies.kept(name, "", seconds=0))

    def _set(self, cookie: str) -> None:
        self._response.headers.append("set-cookie", cookie)


async def _jar(request: Request, response: Response) -> Jar:
    # Called, not declared: the framework takes longer to solve what depends on something else than a refresh may cost.
    return Jar(request, response, await kit_of(request), await client_of(request))


Cookies = Annotated[Jar, Depends(_jar)]


@router.get("/api/csrf-token")
@router.get("/api/csrf-token/", include_in_schema=False, operation_id="read_csrf_token_with_slash")
async def read_csrf_token(request: Request, response: Response, ring: Ring, clock: Now) -> CsrfToken:
    """A token for `x-csrf-token`, in the answer and in the cookie `csrf-token`, good for a day.

    Only programs need it that keep cookies and send neither `Origin` nor `Sec-Fetch-Site`. It is bound to the session
    of the cookies that come along: ask again after signing in.
    """
    user_id, session_id = _bound(request)
    token = csrf.make_token(ring, clock, user_id=user_id, session_id=session_id)
    cookie = f"{CSRF_COOKIE}={token}; Path=/; SameSite=Lax; Max-Age={csrf.CSRF_SECONDS}"
    response.headers.append("set-cookie", cookie)
    response.headers["Cache-Control"] = "no-store"
    return CsrfToken(csrfToken=token)


def _bound(request: Request) -> tuple[str, str]:
    """Of whom the cookies are; nobody when there is none that is good."""
    verifier: Verifier = request.app.state.verifier
    for token in cookies.values(request.headers.getlist("cookie"), ACCESS_COOKIE):
        try:
            claims = verifier.verify(token)
        except Unauthenticated:
            continue
        return claims.sub, claims.sid
    return "", ""
