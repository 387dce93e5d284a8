"""One-time tickets that open a socket where a token must not go: into the headers of a browser's handshake."""

import hashlib
import secrets
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from chat_service.domain import frames
from libs.errors import InvalidToken, Unavailable
from libs.tokens import Claims

SECONDS = 30


def _key(ticket: str) -> str:
    # Only the digest is stored: who reads Redis cannot open a socket with what is there.
    return "wt:" + hashlib.sha256(ticket.encode()).hexdigest()


async def issue(redis: Redis, claims: Claims) -> str:
    """Good for 30 seconds and one use, by whoever holds it."""
    ticket = secrets.token_urlsafe(32)
    fields = {"sub": claims.sub, "sid": claims.sid, "exp": claims.exp, "iat_ms": claims.iat_ms}
    await redis.set(_key(ticket), frames.dump({**fields, "roles": claims.roles}), nx=True, ex=SECONDS)
    return ticket


async def redeem(redis: Redis, ticket: str) -> Claims:
    """The claims of the token that the ticket was issued for. Raises InvalidToken, for the second use too."""
    try:
        found: Any = await redis.getdel(_key(ticket)) if len(ticket) < 100 else None
    except (RedisError, OSError) as error:
        raise Unavailable from error
    if not found:
        raise InvalidToken("This ticket is not valid any more.")
    fields = frames.load(found)
    return Claims(fields["sub"], fields["sid"], fields["exp"], fields["iat_ms"], tuple(fields["roles"]), fields)
