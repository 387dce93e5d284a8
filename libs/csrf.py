"""Whether a request that brings cookies was meant by the page's own user, or made by a page of somebody else.

A browser says where a request comes from: an `Origin` that is allowed or `Sec-Fetch-Site: same-origin` is enough, and a
foreign one is refused. A program that keeps cookies and says neither repeats the value of the cookie `csrf-token` in
`x-csrf-token`; it is signed, and bound to the session. Credentials in `Authorization` need none of this: no browser
sends them by itself.
"""

import hmac
from collections.abc import Collection
from typing import TYPE_CHECKING
from uuid import uuid4

from libs import cookies
from libs.clock import Clock
from libs.cookies import CSRF_COOKIE
from libs.errors import Forbidden, Unauthenticated
from libs.keys import KeyRing
from libs.tokens import AUDIENCE, ISSUER, Issuer, Verifier

if TYPE_CHECKING:
    from starlette.datastructures import Headers

CSRF = "csrf+jwt"
CSRF_SECONDS = 86_400
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


class CrossSite(Forbidden):
    code = "cross_site_request"
    detail = "This request comes from a page of another site."


class CsrfTokenMissing(Forbidden):
    code = "csrf_token_missing"
    detail = "Repeat the cookie csrf-token in the header x-csrf-token."


class CsrfTokenInvalid(Forbidden):
    code = "csrf_token_invalid"
    detail = "This CSRF token is not valid for your session."


def make_token(ring: KeyRing, clock: Clock, *, user_id: str, session_id: str) -> str:
    """Empty ids for somebody who is not signed in: it opens nothing."""
    now = int(clock.seconds())
    times = {"iat": now, "nbf": now, "exp": now + CSRF_SECONDS}
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": user_id, "sid": session_id, "jti": str(uuid4()), **times}
    return Issuer(ring, typ=CSRF).sign(claims)


def is_foreign(headers: "Headers", origins: Collection[str]) -> bool:
    """Whether a browser says that a page of somebody else opens a socket. Without origins nobody's is foreign.

    Programs send no `Origin`, or that of the very host they call.
    """
    given = headers.get("origin")
    if given is None or not origins or given in origins:
        return False
    return given.partition("://")[2] not in (headers.get("host"), headers.get("x-forwarded-host"))


def from_own_page(headers: "Headers", origins: Collection[str]) -> bool | None:
    """Raises CrossSite. None: the browser did not say, or it is none."""
    given = headers.getlist("origin")
    if len(given) == 1 and given[0] in origins:
        return True
    site = headers.get("sec-fetch-site")
    if site in ("same-origin", "none"):
        return True
    if site is not None or given:
        raise CrossSite
    return None


def require_own_page(headers: "Headers", origins: Collection[str], verifier: Verifier, *, session_id: str) -> None:
    """For what changes something and is authenticated by a cookie. Raises CrossSite, CsrfTokenMissing or
    CsrfTokenInvalid."""
    if from_own_page(headers, origins):
        return
    sent = headers.getlist("x-csrf-token")
    kept = cookies.values(headers.getlist("cookie"), CSRF_COOKIE)
    if not sent or not kept:
        raise CsrfTokenMissing
    if len(sent) > 1 or len(kept) > 1 or not hmac.compare_digest(sent[0].encode(), next(iter(kept)).encode()):
        raise CsrfTokenInvalid
    try:
        claims = verifier.verify(sent[0])
    except Unauthenticated:
        raise CsrfTokenInvalid from None
    if not session_id or claims.sid != session_id:
        raise CsrfTokenInvalid
