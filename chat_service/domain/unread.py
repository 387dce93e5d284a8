"""How much somebody has not read. All counts come from here, so that no two of them disagree.

The numbers of messages are subtracted; what counts no more, or never did, lies in a partial index and is counted only
where something is unread at all. Conversations in which everything is read cost nothing.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

if TYPE_CHECKING:
    from libs.lanes import Lanes


def count(*, conversation: str = "c.id", top: str = "c.message_seq", user: str = "me.user_id", read: str) -> str:
    """SQL: the messages above `read` that are neither deleted, nor shown in a thread alone, nor hidden by the user."""
    return f"""
    CASE WHEN {top} > {read} THEN {top} - {read} - (
        SELECT count(*) FROM message AS gone
        WHERE gone.conversation_id = {conversation} AND gone.uncounted AND gone.seq > {read}
    ) - (
        SELECT count(*) FROM hidden_message AS h
        JOIN message AS own ON own.conversation_id = h.conversation_id AND own.id = h.message_id
        WHERE h.user_id = {user} AND h.conversation_id = {conversation} AND own.seq > {read} AND NOT own.uncounted
    ) ELSE 0 END"""  # noqa: S608  -- names of columns


def mentions(*, conversation: str = "c.id", top: str = "c.message_seq", user: str = "me.user_id", read: str) -> str:
    """SQL: how often the messages above `read` name the user."""
    return f"""
    CASE WHEN {top} > {read} THEN (
        SELECT count(*) FROM mention AS named
        WHERE named.user_id = {user} AND named.conversation_id = {conversation} AND named.seq > {read}
    ) ELSE 0 END"""  # noqa: S608  -- names of columns


COUNT = count(read="me.last_read_seq")
"""Beside `member AS me` and `conversation AS c`."""
MENTIONS = mentions(read="me.last_read_seq")

THREAD = """
    root.reply_seq - follower.last_read_seq - (
        SELECT count(*) FROM message AS gone
        WHERE gone.conversation_id = root.conversation_id AND gone.thread_root_id = root.id
            AND gone.thread_seq > follower.last_read_seq AND gone.deleted_at IS NOT NULL
    )"""
"""Of a thread, beside `message AS root` and `thread_member AS follower`."""

_TOTAL = f"""
WITH mine AS MATERIALIZED (
    SELECT {COUNT} AS unread, {MENTIONS} AS named,
           me.notify = 'none' OR coalesce(me.muted_until > $2, false) AS muted
    FROM member AS me JOIN conversation AS c ON c.id = me.conversation_id
    WHERE me.user_id = $1 AND c.message_seq > me.last_read_seq AND c.deleted_at IS NULL
)
SELECT coalesce(sum(unread) FILTER (WHERE NOT muted), 0)::bigint AS total_unread,
       count(*) FILTER (WHERE NOT muted AND unread > 0) AS conversations_with_unread,
       coalesce(sum(named), 0)::bigint AS mentions,
       coalesce(sum(unread) FILTER (WHERE muted), 0)::bigint AS muted_unread
FROM mine
"""  # noqa: S608  -- constants


async def total(lanes: "Lanes", user_id: UUID, now: datetime) -> Mapping[str, Any]:
    """Over all conversations. What is muted stays out of the total; whoever is named there is told."""
    rows = await lanes.fetch(_TOTAL, user_id, now)
    return dict(rows[0])


async def of(db: AsyncSession, user_id: UUID, conversation_id: UUID) -> int:
    """Of one conversation; 0 for who is not a member."""
    query = text(
        f"SELECT {COUNT} FROM member AS me JOIN conversation AS c ON c.id = me.conversation_id"  # noqa: S608  -- constants
        " WHERE me.conversation_id = :id AND me.user_id = :user"
    )
    return await db.scalar(query, {"id": conversation_id, "user": user_id}) or 0
