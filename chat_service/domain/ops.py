"""What a client can ask for over a socket. A handler answers at once, or returns what is to be awaited."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from chat_service.domain import following, frames, receipts, tickets
from chat_service.domain.closing import EXPIRED, INTERNAL, MALFORMED, REVOKED, TOO_MANY, VERSION, Close
from chat_service.domain.messages import check_content, moment_ms
from chat_service.domain.sending import Draft, Stored
from chat_service.errors import invalid
from libs.errors import (
    BadRequest,
    Forbidden,
    Invalid,
    InvalidToken,
    ServiceError,
    TokenExpired,
    TokenRevoked,
    Unauthenticated,
    Unavailable,
)
from libs.tokens import Claims

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session

MAX_FRAME = 65_536
_MOST_REQUESTS = 1 << 32
_MOST_SEQ = 1 << 62


class Malformed(ValueError):
    """Not a frame of this protocol; the socket is closed."""


class UnknownOperation(BadRequest):
    code = "unknown_op"
    detail = "There is no such operation."


class NotSubscribed(BadRequest):
    code = "not_subscribed"
    detail = "This socket does not follow the stream."


class Request(NamedTuple):
    number: int | None
    """None: the client wants no answer."""
    op: str
    stream: object
    data: dict[str, Any]


def parse(line: bytes) -> Request:
    """Raises Malformed."""
    try:
        frame = frames.load(line)
    except ValueError:
        raise Malformed("not JSON") from None
    if type(frame) is not dict:
        raise Malformed("not an object")
    number = frame.get("i")
    if number is not None and (type(number) is not int or not 0 <= number < _MOST_REQUESTS):
        raise Malformed("i is no request number")
    op = frame.get("op")
    if type(op) is not str:
        raise Malformed("op is missing")
    data = frame.get("d")
    if data is None:
        data = {}
    if type(data) is not dict:
        raise Malformed("d is not an object")
    return Request(number, op, frame.get("s"), data)


Handler = Callable[["Session", Request], Coroutine[Any, Any, object] | None]


def unknown(_session: "Session", _request: Request) -> None:
    raise UnknownOperation


async def hello(session: "Session", request: Request) -> object:
    """Who is there. Answers with welcome, or closes."""
    if request.data.get("v") != 1:
        session.close(VERSION)
        return None
    resume = request.data.get("resume")
    try:
        wanted = following.parse(resume) if resume else {}
        claims = await _claims(session, request.data)
    except Invalid as error:
        session.close(MALFORMED, reason=f"malformed frame: {error.errors[0].message}")
    except (Unauthenticated, Forbidden) as error:
        session.refuse(request, error)
        session.close(_close_of(error), reason=error.detail)
    except Unavailable:
        session.close(INTERNAL, retry_ms=1000)
    else:
        await _let_in(session, request, claims, wanted)
    return None


async def _let_in(session: "Session", request: Request, claims: Claims, wanted: following.Wanted) -> None:
    context = session.context
    user_id = UUID(claims.sub)
    if len(context.hub.users.get(user_id, ())) >= context.sockets_per_user:
        session.close(TOO_MANY)
        return
    session.welcomed(claims)
    await context.hub.welcome(session)
    if session.closed:
        return
    context.presence.arrive(session.id, user_id)
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


async def _claims(session: "Session", data: dict[str, Any]) -> Claims:
    """Raises Unauthenticated. What hello says counts before what the handshake said."""
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


async def auth(session: "Session", request: Request) -> object:
    """A newer token of the same user, so that the socket may stay."""
    token = request.data.get("token")
    if type(token) is not str:
        raise invalid("token", "This field is required.")
    claims = await session.context.authenticate(token)
    if UUID(claims.sub) != session.user_id:
        raise InvalidToken("The token is another user's.")
    if session.claims is not None and claims.exp < session.claims.exp:
        raise TokenExpired("The token expires before the one in use.")
    session.renew(claims)
    return {"exp": claims.exp}


def send(session: "Session", request: Request) -> None:
    """Stores a message. The answer comes after the commit, from the writer's callback: no task, no wait."""
    context = session.context
    conversation_id = following.conversation_of(request.stream)
    data = request.data
    content = data.get("content")
    if type(content) is not str:
        raise invalid("content", "This field is required.")
    if "\x00" in content:
        raise invalid("content", "Null characters are not allowed.")
    check_content(content, context.message_max_bytes)
    client_msg_id = _uuid(data, "client_msg_id")
    reply_to = _uuid(data, "reply_to")
    context.send_allowed(session.user_id, conversation_id)
    session.began()

    def done(outcome: Stored | ServiceError) -> None:
        if isinstance(outcome, Stored):
            if request.number is not None and not session.closed:
                session.push(_acknowledgement(request.number, outcome))
        else:
            session.refuse(request, outcome)
        session.ended()

    context.writer.submit(Draft(conversation_id, session.user_id, content, client_msg_id, reply_to, done))


def _acknowledgement(number: int, stored: Stored) -> bytes:
    return frames.packet(
        b'{"i":%d,"ok":{"id":"%b","q":%d,"seq":%d,"ts":%d,"dup":%b}}'
        % (
            number,
            str(stored.id).encode(),
            stored.event_seq,
            stored.seq,
            moment_ms(stored.created_at),
            b"true" if stored.dup else b"false",
        )
    )


def _uuid(data: dict[str, Any], field: str) -> UUID | None:
    value = data.get(field)
    if value is None:
        return None
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise invalid(field, "This must be a UUID.") from None


async def _subscribe(session: "Session", request: Request, wanted: following.Wanted) -> None:
    await following.follow(session, wanted, lambda streams: session.reply(request, {"streams": streams}))


def sub(session: "Session", request: Request) -> Coroutine[Any, Any, object]:
    wanted = following.parse(request.data.get("streams"))
    wait = session.context.subscribe_limit.wait(session.id, session.heard, len(wanted))
    if wait:
        raise frames.Throttled(wait)
    return _subscribe(session, request, wanted)


def unsub(session: "Session", request: Request) -> None:
    streams = request.data.get("streams")
    if not isinstance(streams, list | dict):
        raise invalid("streams", "This must be a list of streams.")
    for key in streams:
        stream = session.streams.pop(key, None) if isinstance(key, str) else None
        if stream is not None:
            session.context.hub.unfollow(session, stream)
    session.reply(request, {})


async def read(session: "Session", request: Request) -> object:
    seq = request.data.get("seq")
    if type(seq) is not int or not 0 <= seq < _MOST_SEQ:
        raise invalid("seq", "This must be the number of a message.")
    conversation_id = following.conversation_of(request.stream)
    context = session.context
    mark = await receipts.advance(context.lanes, context.hub, session.user_id, conversation_id, seq=seq)
    return {"last_read_seq": mark.last_read_seq, "unread_count": mark.unread_count}


def typing(session: "Session", request: Request) -> None:
    """Goes to who follows the conversation now, and is remembered nowhere. Too often: dropped without a word."""
    stream = session.streams.get(request.stream) if type(request.stream) is str else None
    if stream is None:
        raise NotSubscribed
    on = request.data.get("on", True)
    if type(on) is not bool:
        raise invalid("on", "This must be true or false.")
    if not session.context.typing_limit.wait((session.user_id, stream.conversation_id, on), session.heard):
        line = frames.push(stream.key, "typing", {"user_id": session.user_id, "on": on})
        session.context.hub.publish_ephemeral(stream.conversation_id, line)
    session.reply(request, {})


def ping(session: "Session", request: Request) -> None:
    if request.number is None:
        session.push(_PONG)
    session.reply(request, {})


_PONG = frames.notice("pong")
OPS: dict[str, Handler] = {
    "send": send,
    "sub": sub,
    "unsub": unsub,
    "read": read,
    "typing": typing,
    "ping": ping,
    "auth": auth,
}
