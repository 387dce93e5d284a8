"""Who is calling: the access token of a user, or the token of another service."""

from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from redis.exceptions import RedisError

from libs.errors import BadRequest, Forbidden, InvalidToken, Unauthenticated
from libs.revocation import Refusal, Revocations
from libs.tokens import SERVICE_HEADER, Claims, Verifier

log = structlog.get_logger()


class TwoCredentials(BadRequest):
    code = "ambiguous_credentials"
    detail = "Send one Authorization header."


class NotBearer(Unauthenticated):
    code = "invalid_token_format"
    detail = "Authorization header must be in format: Bearer <token>"


@dataclass(frozen=True, slots=True)
class Caller:
    """The user behind a request."""

    user_id: UUID
    session_id: UUID
    roles: tuple[str, ...]
    claims: Claims


async def authenticate(token: str, verifier: Verifier, revocations: Revocations) -> Caller:
    """Raises InvalidToken, TokenExpired, WrongTokenType, TokenRevoked or TokenStale."""
    claims = verifier.verify(token)
    if refusal := await revoked(claims, revocations):
        raise refusal
    try:
        return Caller(UUID(claims.sub), UUID(claims.sid), claims.roles, claims)
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


# Declared for the API description only; the dependencies below do the checking.
_scheme = HTTPBearer(auto_error=False, scheme_name="access_token", bearerFormat="JWT")


async def _current_user(request: Request, _described: Annotated[object, Depends(_scheme)]) -> Caller:
    state = request.app.state
    token = bearer(request.headers.getlist("authorization"))
    caller = await authenticate(token, cast(Verifier, state.verifier), cast(Revocations, state.revocations))
    structlog.contextvars.bind_contextvars(user_id=str(caller.user_id))
    return caller


async def _calling_service(request: Request) -> str:
    values = request.headers.getlist(SERVICE_HEADER)
    if not values and request.headers.getlist("authorization"):
        raise Forbidden("This route is for services.")
    claims = cast(Verifier, request.app.state.service_verifier).verify(bearer(values))
    return claims.sub


CurrentUser = Annotated[Caller, Depends(_current_user)]
CallingService = Annotated[str, Depends(_calling_service)]
