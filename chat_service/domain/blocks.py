"""Who wants nothing of whom. Whoever is blocked is not told: to them, the other is as if not there."""

from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, interests, messages, pairs, profiles, sightings, typing
from chat_service.domain.hub import Hub
from chat_service.errors import NoPerson, invalid
from libs import audits, outbox
from libs.contracts.people import BlockChanged

_INSERT = text(
    "INSERT INTO block (user_id, blocked_id, created_at) VALUES (:me, :other, :now)"
    " ON CONFLICT DO NOTHING RETURNING blocked_id"
)
_DELETE = text("DELETE FROM block WHERE user_id = :me AND blocked_id = :other RETURNING blocked_id")
# Under the lock of the conversation: a message that is being sent is in before, or refused after.
_HOLD = text("SELECT id FROM conversation WHERE id = :id FOR UPDATE")
_BAR = text("UPDATE member SET barred = :barred WHERE conversation_id = :id AND user_id = :other")
_LISTED = text(
    """
    SELECT b.blocked_id, b.created_at, p.username, p.display_name, p.avatar_url
    FROM block AS b LEFT JOIN profile AS p ON p.user_id = b.blocked_id
    WHERE b.user_id = :me AND b.blocked_id > :after ORDER BY b.blocked_id LIMIT :limit
    """
)


async def put(db: AsyncSession, hub: Hub, me: UUID, other: UUID, *, ask: profiles.Ask, now: datetime) -> None:
    """Bars the other from the direct conversation, and ends what the two were to each other.

    Raises NoPerson, Invalid.
    """
    if other == me:
        raise invalid("user_id", "This is yourself.")
    if not await profiles.exists(db, other, ask):
        raise NoPerson
    await pairs.lock(db, me, other)
    if await db.scalar(_INSERT, {"me": me, "other": other, "now": now}) is None:
        return
    await interests.part(db, hub, me, other, now=now)
    await _bar(db, hub, me, other, barred=True, now=now)


async def lift(db: AsyncSession, hub: Hub, me: UUID, other: UUID, *, now: datetime) -> None:
    """What was ended does not come back."""
    await pairs.lock(db, me, other)
    if await db.scalar(_DELETE, {"me": me, "other": other}) is not None:
        await _bar(db, hub, me, other, barred=False, now=now)


async def listed(db: AsyncSession, me: UUID, *, limit: int, after: UUID | None) -> list[dict[str, Any]]:
    rows = await db.execute(_LISTED, {"me": me, "limit": limit, "after": after or UUID(int=0)})
    return [
        {"user": messages.person(row["blocked_id"], row), "created_at": row["created_at"]} for row in rows.mappings()
    ]


async def _bar(db: AsyncSession, hub: Hub, me: UUID, other: UUID, *, barred: bool, now: datetime) -> None:
    """In their conversation, if there is one; and tells whatever goes by it."""
    conversation_id = await pairs.conversation_of(db, me, other)
    if conversation_id is not None:
        await db.execute(_HOLD, {"id": conversation_id})
        await db.execute(_BAR, {"id": conversation_id, "other": other, "barred": barred})
        changes.after_commit(db, partial(typing.forget_everywhere, hub, conversation_id))
    await sightings.doubt(db, me, other)
    await outbox.add(db, BlockChanged(user_id=me, blocked_id=other, blocked=barred), now)
    await audits.tell(db, "block.added" if barred else "block.removed", me, other, now=now)
