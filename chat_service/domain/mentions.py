"""Mentions: whom a message names, or reaches all at once.

Who is named has a row from the moment of sending. Those whom `all` and `here` reach get theirs from the worker, in the
transaction that also ends its work on the message: once, however often a worker dies.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain.messages import Row, loaded

_AT_ONCE = 500
# Not of a message that is being deleted at this moment: its mentions go with it.
_REACH = text("""
    INSERT INTO mention (user_id, conversation_id, seq)
    SELECT u.id, m.conversation_id, m.seq FROM unnest(CAST(:users AS uuid[])) AS u(id) CROSS JOIN (
        SELECT conversation_id, seq FROM message
        WHERE conversation_id = :conversation AND id = :message AND deleted_at IS NULL FOR SHARE
    ) AS m
    ON CONFLICT DO NOTHING
""")


def named(row: Row) -> set[UUID]:
    return {UUID(user_id) for user_id in _of(row).get("user_ids", ())}


def reached(row: Row, people: Collection[UUID], online: Collection[UUID]) -> set[UUID]:
    """Of the people those whom the message reaches without naming them."""
    mentions = _of(row)
    if mentions.get("all"):
        return set(people)
    return set(people) & set(online) if mentions.get("here") else set()


async def note(db: AsyncSession, row: Row, people: Collection[UUID]) -> None:
    """Counts the message as a mention for people whom it does not name."""
    everybody: Sequence[UUID] = sorted(people)
    for start in range(0, len(everybody), _AT_ONCE):
        about = {"conversation": row["conversation"], "message": row["id"]}
        await db.execute(_REACH, {**about, "users": everybody[start : start + _AT_ONCE]})


def _of(row: Row) -> Mapping[str, Any]:
    return loaded(row["mentions"]) or {}
