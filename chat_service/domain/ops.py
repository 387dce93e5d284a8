"""What a client can ask for over a socket. A handler answers at once, or returns what is to be awaited."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chat_service.domain import content_ops, following, frames, state_ops, sync, thread_ops
from chat_service.domain.drafts import Draft, Stored, extras_of
from chat_service.domain.messages import check_content, may_be_blank, moment_ms
from chat_service.domain.requests import Handler, Request, UnknownOperation, text_of, uuid_of
from chat_service.errors import invalid
from libs.errors import InvalidToken, ServiceError, TokenExpired

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session


def unknown(_session: "Session", _request: Request) -> None:
    raise UnknownOperation


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
    extras = extras_of(data)
    blank = may_be_blank(extras)
    content = "" if blank and "content" not in data else text_of(data, "content")
    check_content(content, context.message_max_bytes, may_be_blank=blank)
    client_msg_id = uuid_of(data, "client_msg_id")
    reply_to = uuid_of(data, "reply_to")
    context.send_allowed(session.user_id, conversation_id)
    session.began()

    def done(outcome: Stored | ServiceError) -> None:
        if isinstance(outcome, Stored):
            if request.number is not None and not session.closed:
                session.push(_acknowledgement(request.number, outcome))
        else:
            session.refuse(request, outcome)
        session.ended()

    context.writer.submit(Draft(conversation_id, session.user_id, content, client_msg_id, reply_to, done, extras))


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
            session.forget_stream(stream.key)
    session.reply(request, {})


def focus(session: "Session", request: Request) -> None:
    session.focus = following.parse_focus(request.data.get("streams"))
    session.reply(request, {})


def ping(session: "Session", request: Request) -> None:
    if request.number is None:
        session.push(_PONG)
    session.reply(request, {})


_PONG = frames.notice("pong")
_OWN: dict[str, Handler] = {
    "send": send,
    "sub": sub,
    "unsub": unsub,
    "focus": focus,
    "ping": ping,
    "auth": auth,
}
OPS: dict[str, Handler] = {**_OWN, **content_ops.OPS, **state_ops.OPS, **thread_ops.OPS, **sync.OPS}
