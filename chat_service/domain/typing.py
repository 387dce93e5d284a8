"""Who is typing: told to who follows the conversation now, written down nowhere, over after six seconds.

Whether somebody may post here is asked of the database and remembered for ten seconds: typing is frequent, and worth
little. `forget` ends the memory, as when one of two people blocks the other.
"""

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prometheus_client import Counter

from chat_service.domain import frames, rights
from chat_service.domain.receipts import QUIET

if TYPE_CHECKING:
    from chat_service.domain.context import Context
    from chat_service.domain.hub import Hub
    from chat_service.domain.streams import Stream

EXPIRY_SECONDS = 6.0
CONTROL = "typing"
FORGET = "forget"
_REMEMBER_SECONDS = 10.0

_MAY = f"""
SELECT m.role, c.type, c.status = 'active' AND NOT m.barred AND NOT ({QUIET}) AS open, c.member_count
FROM conversation AS c JOIN member AS m ON m.conversation_id = c.id AND m.user_id = $2
WHERE c.id = $1
"""  # noqa: S608  -- constants

TOLD = Counter("parley_chat_typing_total", "Times that somebody was said to type, or to have stopped.", ["outcome"])


class Typists:
    """Of one stream: who may type, and who does."""

    __slots__ = ("may", "timers")

    def __init__(self) -> None:
        self.may: dict[UUID, tuple[bool, float]] = {}
        self.timers: dict[str, asyncio.TimerHandle] = {}


def of(stream: "Stream") -> Typists:
    if stream.typists is None:
        stream.typists = Typists()
    typists: Typists = stream.typists
    return typists


async def say(context: "Context", stream: "Stream", user_id: UUID, *, on: bool) -> None:
    """Tells the others, if the user may post and there are not too many of them; otherwise nobody hears anything."""
    now = asyncio.get_running_loop().time()
    typists = of(stream)
    allowed, until = typists.may.get(user_id, (False, 0.0))
    if until <= now:
        allowed = await _may(context, stream.conversation_id, user_id)
        typists.may = {user: known for user, known in typists.may.items() if known[1] > now}
        typists.may[user_id] = (allowed, now + _REMEMBER_SECONDS)
    TOLD.labels("told" if allowed else "kept").inc()
    if allowed:
        context.hub.publish_control(stream.conversation_id, CONTROL, {"user_id": user_id, "on": on})


async def _may(context: "Context", conversation_id: UUID, user_id: UUID) -> bool:
    rows = await context.lanes.fetch(_MAY, conversation_id, user_id)
    if not rows or not rows[0]["open"] or rows[0]["member_count"] > context.typing_max_members:
        return False
    return rights.may_post(rows[0]["role"], rows[0]["type"])


def arrived(stream: "Stream", said: Any) -> None:
    """To the sockets of this process. Who does not say that he stopped has stopped after six seconds."""
    timers = of(stream).timers
    user_id, on = said["user_id"], said["on"]
    timer = timers.pop(user_id, None)
    if timer is not None:
        timer.cancel()
    if on:
        stopped = {"user_id": user_id, "on": False}
        timers[user_id] = asyncio.get_running_loop().call_later(EXPIRY_SECONDS, arrived, stream, stopped)
    stream.send_ephemeral(frames.packet(frames.push(stream.key, "typing", {"user_id": user_id, "on": on})))


def forget(stream: "Stream", _said: Any) -> None:
    of(stream).may.clear()


def forget_everywhere(hub: "Hub", conversation_id: UUID) -> None:
    """To be called after the commit of what changes who may post: a block, a role."""
    hub.publish_control(conversation_id, FORGET, None)
