"""The first thing that is said over a socket: who is there, where they left off, and what they look at."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from chat_service.domain import following, frames, tickets
from chat_service.domain.closing import EXPIRED, INTERNAL, MALFORMED, REVOKED, TOO_MANY, VERSION, Close
from chat_service.domain.requests import Request
from chat_service.errors import invalid
from libs.errors import (
    Forbidden,
    Invalid,
    InvalidToken,
    ServiceError,
    TokenRevoked,
    Unauthenticated,
    Unavailable,
)
from libs.tokens import Claims

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session

MAX_FRAME = 65_536
_MOST_DEVICE = 64

log = structlog.get_logger()


async def hello(session: "Session", request: Request) -> object:
    """Who is there. Answers with welcome, or closes."""
    if request.data.get("v") != 1:
        session.close(VERSION)
        return None
    resume, looked_at = request.data.get("resume"), request.data.get("focus")
    try:
        wanted = following.parse(resume) if resume else {}
        session.focus = None if looked_at is None else following.parse_focus(looked_at)
        device = _device(request.data)
        claims = await identify(session, request.data)
    except Invalid as error:
        session.close(MALFORMED, reason=f"malformed frame: {error.errors[0].message}")
    except (Unauthenticated, Forbidden) as error:
        session.refuse(request, error)
        session.close(_close_of(error), reason=error.detail)
    except Unavailable:
        session.close(INTERNAL, retry_ms=1000)
    else:
        log.debug("socket_greeted", conn=session.id, user_id=claims.sub, device=device)
        await _let_in(session, request, claims, wanted)
    return None


def _device(data: dict[str, Any]) -> str:
    device = data.get("device")
    if device is not None and (type(device) is not str or len(device) > _MOST_DEVICE):
        raise invalid("device", f"A device is a text of at most {_MOST_DEVICE} characters.")
    return device or ""


async def admit(session: "Session", claims: Claims) -> bool:
    """Opens the socket for the user of the claims; false: it was closed instead."""
    context = session.context
    user_id = UUID(claims.sub)
    if len(context.hub.users.get(user_id, ())) >= context.sockets_per_user:
        session.close(TOO_MANY)
        return False
    session.welcomed(claims)
    await context.hub.welcome(session)
    if session.closed:
        return False
    context.presence.arrive(session.id, user_id)
    return True


async def _let_in(session: "Session", request: Request, claims: Claims, wanted: following.Wanted) -> None:
    if not await admit(session, claims):
        return
    try:
        await following.follow(session, wanted, lambda streams: _greet(session, request, streams))
    except ServiceError:
        # Nothing was promised yet: the client comes back, to a better moment or another process.
        session.close(INTERNAL, retry_ms=1000)
    session.take_early()


def _greet(session: "Session", request: Request, streams: dict[str, Any]) -> None:
    context, claims = session.context, session.claims
    welcome = {
        "conn": session.id,
        "user": session.user_id,
        "hb_ms": int(context.heartbeat_seconds * 1000),
        "max_frame": MAX_FRAME,
        "limits": {"streams": context.streams_per_socket, "idle_ms": int(context.idle_seconds * 1000)},
        "exp": claims.exp if claims else 0,
        "streams": streams,
    }
    if request.number is None:
        session.push(frames.notice("welcome", **welcome))
    else:
        session.reply(request, welcome)


async def identify(session: "Session", data: dict[str, Any]) -> Claims:
    """Raises Unauthenticated or Forbidden. What hello says counts before what the handshake said."""
    token, ticket = data.get("token"), data.get("ticket")
    kind, text = session.credential or ("", "")
    session.credential = None
    if token is not None or ticket is not None:
        kind, text = ("token", token) if token is not None else ("ticket", ticket)  # type: ignore[assignment]
    if not kind:
        raise Unauthenticated
    if type(text) is not str:
        raise InvalidToken
    if kind == "token":
        return await session.context.authenticate(text)
    claims = await tickets.redeem(session.context.redis, text)
    # The ticket is as good as the session behind it was half a minute ago: that may have ended since.
    if refusal := await session.context.refused(claims):
        raise refusal
    return claims


def _close_of(error: ServiceError) -> Close:
    return REVOKED if isinstance(error, TokenRevoked) else EXPIRED
