"""What a client can say over a socket of itself: what it has read and got, that it types, and whether it is here."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chat_service.domain import following, frames, receipts, typing, watching
from chat_service.domain.presence import AWAY, ONLINE
from chat_service.domain.requests import Handler, NotSubscribed, Request, required_uuid, seq_of
from chat_service.errors import invalid

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session
    from chat_service.domain.streams import Stream


async def read(session: "Session", request: Request) -> object:
    conversation_id = following.conversation_of(request.stream)
    seq, private = seq_of(request), _flag(request, "private", default=False)
    mark = await receipts.advance(session.context, session.user_id, conversation_id, seq=seq, private=private)
    return _answer(mark)


async def unread(session: "Session", request: Request) -> object:
    conversation_id = following.conversation_of(request.stream)
    mark = await receipts.mark_unread(session.context, session.user_id, conversation_id, seq=seq_of(request))
    return _answer(mark)


def delivered(session: "Session", request: Request) -> None:
    """Noted, and written within a second: of all that devices say this is the most frequent and the least urgent."""
    session.context.receipts.deliver(_followed(session, request).conversation_id, session.user_id, seq_of(request))
    session.reply(request, {})


def type_(session: "Session", request: Request) -> Coroutine[Any, Any, object] | None:
    """Too often: dropped without a word."""
    stream = _followed(session, request)
    on = _flag(request, "on", default=True)
    if session.context.typing_limit.wait((session.user_id, stream.conversation_id, on), session.heard):
        session.reply(request, {})
        return None
    return _type(session, stream, on=on)


async def _type(session: "Session", stream: "Stream", *, on: bool) -> object:
    await typing.say(session.context, stream, session.user_id, on=on)
    return {}


def presence(session: "Session", request: Request) -> None:
    """Whether somebody looks at this client."""
    state = request.data.get("state")
    if state not in (ONLINE, AWAY):
        raise invalid("state", "This must be online or away.")
    session.context.presence.report(session.id, session.user_id, idle=state == AWAY)
    session.reply(request, {})


def watch(session: "Session", request: Request) -> Coroutine[Any, Any, object]:
    """Replaces the list of users that this socket is told of."""
    listed = request.data.get("user_ids")
    if not isinstance(listed, list) or len(listed) > watching.MOST:
        raise invalid("user_ids", f"This must be a list of at most {watching.MOST} users.")
    user_ids = list(dict.fromkeys(required_uuid({"user_ids": user}, "user_ids") for user in listed))
    wait = session.context.watch_limit.wait(session.user_id, session.heard, 1 + len(user_ids))
    if wait:
        raise frames.Throttled(wait)
    return _watch(session, user_ids)


async def _watch(session: "Session", user_ids: list[UUID]) -> object:
    return {"users": await session.context.watching.watch(session, user_ids)}


def _followed(session: "Session", request: Request) -> "Stream":
    stream = session.streams.get(request.stream) if type(request.stream) is str else None
    if stream is None:
        raise NotSubscribed
    return stream


def _flag(request: Request, field: str, *, default: bool) -> bool:
    value = request.data.get(field, default)
    if type(value) is not bool:
        raise invalid(field, "This must be true or false.")
    return value


def _answer(mark: receipts.Watermark) -> dict[str, int]:
    return {
        "last_read_seq": mark.last_read_seq,
        "unread_count": mark.unread_count,
        "mention_count": mark.mention_count,
    }


OPS: dict[str, Handler] = {
    "read": read,
    "unread": unread,
    "delivered": delivered,
    "typing": type_,
    "presence": presence,
    "watch": watch,
}
