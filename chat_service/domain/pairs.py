"""Two people: their one direct conversation, and whether one may write to the other."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.errors import InterestRequired

# What two people do to each other happens one after the other: a block, a request, a first conversation. Taken before
# the row of a conversation.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:pair, 0))")
_FIND = text("SELECT conversation_id FROM direct_pair WHERE user_low = :low AND user_high = :high")
_TAKE = text("INSERT INTO direct_pair (user_low, user_high, conversation_id) VALUES (:low, :high, :id)")
_BLOCKED = text("SELECT EXISTS (SELECT 1 FROM block WHERE (user_id, blocked_id) IN ((:one, :other), (:other, :one)))")
_WANTED = text(
    """
    SELECT p.direct_messages = 'contacts' AND NOT EXISTS (
        SELECT 1 FROM interest WHERE status = 'accepted'
            AND least(from_user_id, to_user_id) = :low AND greatest(from_user_id, to_user_id) = :high)
    FROM profile AS p WHERE p.user_id = :other
    """
)

# Whom a block keeps from being found: to whoever is blocked, the other does not exist.
_BLOCKERS = text("SELECT user_id FROM block WHERE blocked_id = :me AND user_id = ANY (:users)")


async def lock(db: AsyncSession, one: UUID, other: UUID) -> None:
    low, high = sorted((one, other))
    await db.execute(_LOCK, {"pair": f"{low}{high}"})


async def conversation_of(db: AsyncSession, one: UUID, other: UUID) -> UUID | None:
    found: UUID | None = await db.scalar(_FIND, _sorted(one, other))
    return found


async def take(db: AsyncSession, one: UUID, other: UUID, conversation_id: UUID) -> None:
    """Of a locked pair that has no conversation yet."""
    await db.execute(_TAKE, {**_sorted(one, other), "id": conversation_id})


async def blocked(db: AsyncSession, one: UUID, other: UUID) -> bool:
    """Whether either has blocked the other."""
    return bool(await db.scalar(_BLOCKED, {"one": one, "other": other}))


async def reachable(db: AsyncSession, me: UUID, users: set[UUID]) -> set[UUID]:
    """Without those who have blocked me."""
    blockers = await db.scalars(_BLOCKERS, {"me": me, "users": list(users)})
    return users - set(blockers)


async def require_welcome(db: AsyncSession, me: UUID, other: UUID) -> None:
    """Raises InterestRequired for a first message to somebody who wants to hear from contacts alone."""
    if await db.scalar(_WANTED, {**_sorted(me, other), "other": other}):
        raise InterestRequired


def _sorted(one: UUID, other: UUID) -> dict[str, Any]:
    low, high = sorted((one, other))
    return {"low": low, "high": high}
