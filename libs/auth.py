"""Who is calling: a user by an access token, in a header or a cookie, or by an API token; or another service."""

from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from redis.exceptions import RedisError
from starlette.datastructures import Headers

from libs import api_tokens, cookies, csrf
from libs.api_tokens import ApiTokens
from libs.contracts.callers import CALLERS
from libs.cookies import ACCESS_COOKIE
from libs.errors import BadRequest, Forbidden, InvalidToken, TokenStale, Unauthenticated
from libs.revocation import Refusal, Revocations
from libs.tokens import SERVICE_HEADER, Claims, Verifier

log = structlog.get_logger()


class TwoCredentials(BadRequest):
    code = "ambiguous_credentials"
    detail = "Send one credential: two that differ have no meaning."


class NotBearer(Unauthenticated):
    code = "invalid_token_format"
    detail = "Authorization header must be in format: Bearer <token>"


@dataclass(frozen=True, slots=True)
class Caller:
    """The user behind a request. By an API token, `session_id` is the token's id, which is no session's."""

    user_id: UUID
    session_id: UUID
    roles: tuple[str, ...]
    claims: Claims
    scopes: tuple[str, ...] | None = None
    """Of an API token; None: somebody who signed in, and may do all that their roles allow."""

    @property
    def acting_id(self) -> UUID | None:
        """Who of the staff acts in the user's place."""
        act = self.claims.values.get("act")
        return UUID(act["sub"]) if isinstance(act, dict) else None


@dataclass(frozen=True, slots=True)
class Credential:
    token: str
    by_cookie: bool


async def authenticate(token: str, verifier: Verifier, revocations: Revocations) -> Caller:
    """Raises InvalidToken, TokenExpired, WrongTokenType, TokenRevoked or TokenStale."""
    claims = verifier.verify(token)
    if refusal := await revoked(claims, revocations):
        raise refusal
    return _caller(claims)


async def authenticate_program(token: str, tokens: ApiTokens, revocations: Revocations) -> Caller:
    """For `pat_...`. Raises InvalidToken, and TokenRevoked at once when it ended while it was remembered."""
    claims = await tokens.claims(token)
    refusal = await revoked(claims, revocations)
    if refusal is TokenStale:
        # Something about its owner has changed since auth was asked.
        claims = await tokens.claims(token, anew=True)
        refusal = await revoked(claims, revocations)
    if refusal:
        raise refusal
    return _caller(claims, tuple(cast(list[str], claims.values["scopes"])))


def _caller(claims: Claims, scopes: tuple[str, ...] | None = None) -> Caller:
    try:
        return Caller(UUID(claims.sub), UUID(claims.sid), claims.roles, claims, scopes)
    except ValueError:
        raise InvalidToken from None


async def revoked(claims: Claims, revocations: Revocations) -> Refusal | None:
    """Why valid claims count no more; None: they do."""
    if revocations.fresh:
        return revocations.refusal(claims)
    try:
        return await revocations.ask(claims)
    except RedisError:
        # Reads go on with what this process knows: ended sessions stay ended, new endings wait for Redis.
        log.warning("revocations_from_memory", lag=round(revocations.lag, 1))
        return revocations.refusal(claims)


def bearer(values: list[str]) -> str:
    """The token of the one Authorization header."""
    if not values:
        raise Unauthenticated
    if len(values) > 1:
        raise TwoCredentials
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotBearer
    return token.strip()


def credential(headers: Headers) -> Credential:
    """The header or the cookie. Both are one credential only if they are the same."""
    kept = cookies.values(headers.getlist("cookie"), ACCESS_COOKIE)
    given = headers.getlist("authorization")
    if not kept:
        return Credential(bearer(given), by_cookie=False)
    if len(kept) > 1 or (given and bearer(given) not in kept):
        raise TwoCredentials
    return Credential(kept.pop(), by_cookie=not given)


# Declared for the API description only; the dependencies below do the checking.
_scheme = HTTPBearer(auto_error=False, scheme_name="access_token", bearerFormat="JWT")


async def _current_user(request: Request, _described: Annotated[object, Depends(_scheme)]) -> Caller:
    state = request.app.state
    given = credential(request.headers)
    revocations = cast(Revocations, state.revocations)
    if given.token.startswith(api_tokens.PREFIX) and not given.by_cookie:
        caller = await authenticate_program(given.token, cast(ApiTokens, state.api_tokens), revocations)
        api_tokens.require_scope(caller.scopes or (), state.name, request.method, request.url.path)
    else:
        caller = await authenticate(given.token, cast(Verifier, state.verifier), revocations)
    if given.by_cookie and request.method not in csrf.SAFE_METHODS:
        require_own_page(request, session_id=str(caller.session_id))
    structlog.contextvars.bind_contextvars(user_id=str(caller.user_id))
    if caller.acting_id is not None:
        structlog.contextvars.bind_contextvars(acting_id=str(caller.acting_id))
    return caller


def require_own_page(request: Request, *, session_id: str) -> None:
    """For what a cookie authenticates. Raises CrossSite, CsrfTokenMissing or CsrfTokenInvalid."""
    state = request.app.state
    csrf.require_own_page(
        request.headers,
        state.settings.own_origins,
        cast(Verifier, state.csrf_verifier),
        session_id=session_id,
    )


async def _calling_service(request: Request) -> str:
    values = request.headers.getlist(SERVICE_HEADER)
    if not values and request.headers.getlist("authorization"):
        raise Forbidden("This route is for services.")
    claims = cast(Verifier, request.app.state.service_verifier).verify(bearer(values))
    asked = request.app.state.name, request.scope["route"].path
    if claims.sub not in CALLERS.get(asked, ()):
        raise Forbidden("This is not for that service.")
    return claims.sub


CurrentUser = Annotated[Caller, Depends(_current_user)]
CallingService = Annotated[str, Depends(_calling_service)]
