"""Threads: the replies to one message, who follows them, and how far each has read there.

Replies count from 1 in their thread, beside their number in the conversation. Who writes one follows the thread from
then on, and so does who is named in one, and whoever wrote the message that it began with; sending sees to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import messages, unread, visibility
from chat_service.errors import NoMessage

if TYPE_CHECKING:
    from chat_service.domain.context import Context

_STATE = f"""
    root.conversation_id, root.id AS root_id, root.reply_seq AS last_seq,
    coalesce(follower.following, false) AS following, coalesce(follower.last_read_seq, 0) AS last_read_seq,
    CASE WHEN follower.user_id IS NULL THEN 0 ELSE {unread.THREAD} END AS unread_count
"""
# A message stands for the thread that it began, or is in.
_ROOT = f"""
    SELECT root.id, root.conversation_id, root.reply_seq FROM message AS m {visibility.MINE}
    JOIN message AS root ON root.conversation_id = m.conversation_id AND root.id = coalesce(m.thread_root_id, m.id)
    WHERE m.id = :id
"""  # noqa: S608  -- constants
_ONE = text(f"""
    SELECT {_STATE} FROM ({_ROOT}) AS root
    LEFT JOIN thread_member AS follower ON follower.conversation_id = root.conversation_id
        AND follower.root_id = root.id AND follower.user_id = :user
""")  # noqa: S608  -- constants
_CHANGED = """
WITH root AS MATERIALIZED ({root}),
follower AS (
    INSERT INTO thread_member (conversation_id, root_id, user_id, following, last_read_seq)
    SELECT conversation_id, id, $2, {new} FROM root
    ON CONFLICT (conversation_id, root_id, user_id) DO UPDATE SET {change}
    RETURNING *
)
SELECT {state} FROM root CROSS JOIN follower
"""
_NUMBERED = _ROOT.replace(":id", "$1").replace(":user", "$2")
_FOLLOW = _CHANGED.format(
    root=_NUMBERED, state=_STATE, new="$3::boolean, reply_seq", change="following = EXCLUDED.following"
)
_READ = _CHANGED.format(
    root=_NUMBERED,
    state=_STATE,
    new="false, least($3::bigint, reply_seq)",
    change="last_read_seq = greatest(thread_member.last_read_seq, EXCLUDED.last_read_seq)",
)
_LIST = f"""
SELECT state.*, {messages.COLUMNS} FROM (
    SELECT {_STATE}, root.last_reply_at AS replied_at FROM {{threads}}
    ORDER BY root.last_reply_at DESC, root.id DESC LIMIT :limit
) AS state
JOIN message AS m ON m.conversation_id = state.conversation_id AND m.id = state.root_id {messages.JOINS}
ORDER BY state.replied_at DESC, state.root_id DESC
"""  # noqa: S608  -- constants
_BEFORE = "AND (root.last_reply_at, root.id) < (:at, :id)"
_OF_CONVERSATION = """
    message AS root LEFT JOIN thread_member AS follower
        ON follower.conversation_id = root.conversation_id AND follower.root_id = root.id AND follower.user_id = :user
    WHERE root.conversation_id = :conversation AND root.reply_seq > 0 AND root.seq > :floor
"""
_FOLLOWED = f"""
    thread_member AS follower
    JOIN message AS root ON root.conversation_id = follower.conversation_id AND root.id = follower.root_id
    JOIN conversation AS c ON c.id = root.conversation_id AND c.deleted_at IS NULL
    JOIN member AS me ON me.conversation_id = c.id AND me.user_id = follower.user_id
        AND {visibility.VISIBLE.replace("m.", "root.")}
    WHERE follower.user_id = :user AND follower.following AND root.reply_seq > 0
"""


# When a thread was last replied to, and its id: where a list goes on.
Key = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class State:
    """What a thread is to one user."""

    root_id: UUID
    conversation_id: UUID
    last_seq: int
    """Of the last reply, counted in the thread."""
    following: bool
    last_read_seq: int
    unread_count: int

    @classmethod
    def of(cls, row: Any) -> "State":
        found = {name: row[name] for name in cls.__slots__}
        # asyncpg has a class of its own for them, which JSON does not know.
        ids = {name: UUID(bytes=row[name].bytes) for name in ("root_id", "conversation_id")}
        return cls(**{**found, **ids})


async def state(db: AsyncSession, me: UUID, message_id: UUID) -> State:
    """Of the thread that the message began, or is in. Raises NoMessage."""
    row = (await db.execute(_ONE, {"id": message_id, "user": me})).mappings().first()
    if row is None:
        raise NoMessage
    return State.of(row)


async def replies(
    db: AsyncSession, me: UUID, thread: State, where: messages.Around, *, limit: int
) -> tuple[dict[str, Any], messages.Found]:
    """The message that the thread began with, and replies, newest first, by their numbers in the thread."""
    sight = await visibility.sight(db, me, thread.conversation_id)
    root = await messages.read(db, me, thread.root_id)
    return root, await messages.page(db, sight, where, limit, line=messages.line_of_thread(thread.root_id))


async def follow(context: "Context", me: UUID, message_id: UUID, *, on: bool) -> State:
    """Raises NoMessage. What was there before somebody followed counts as read."""
    return _told(context, me, await context.lanes.fetch(_FOLLOW, message_id, me, on))


async def read(context: "Context", me: UUID, message_id: UUID, *, seq: int) -> State:
    """Moves the user's mark in the thread up to `seq`, never back nor beyond the last reply. Raises NoMessage."""
    return _told(context, me, await context.lanes.fetch(_READ, message_id, me, seq))


def _told(context: "Context", me: UUID, rows: Sequence[Any]) -> State:
    if not rows:
        raise NoMessage
    changed = State.of(rows[0])
    context.hub.publish_to_user(me, "thread", {name: getattr(changed, name) for name in State.__slots__})
    return changed


async def of_conversation(
    db: AsyncSession, me: UUID, conversation_id: UUID, *, limit: int, before: Key | None
) -> list[dict[str, Any]]:
    """All threads of a conversation, the last replied to first. Raises NoConversation."""
    sight = await visibility.sight(db, me, conversation_id)
    values = {"conversation": conversation_id, "floor": sight.above}
    return await _listed(db, _OF_CONVERSATION, {"user": me, "limit": limit, **values}, before)


async def followed(db: AsyncSession, me: UUID, *, limit: int, before: Key | None) -> list[dict[str, Any]]:
    """Those that the user follows, in all conversations, the last replied to first."""
    return await _listed(db, _FOLLOWED, {"user": me, "limit": limit}, before)


async def _listed(db: AsyncSession, threads: str, values: dict[str, Any], before: Key | None) -> list[dict[str, Any]]:
    if before is not None:
        threads += _BEFORE
        values |= {"at": before[0], "id": before[1]}
    rows = (await db.execute(text(_LIST.format(threads=threads)), values)).mappings()
    return [{"root": messages.shape(row), **{name: row[name] for name in State.__slots__}} for row in rows]
