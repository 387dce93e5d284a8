"""What chat tells of people: who is here, who are contacts, who has blocked whom. Kept, never decided here."""

from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.consumer import Handler, handles
from libs.contracts.events import Event
from libs.contracts.people import BlockChanged, InterestChanged, PresenceChanged

# Of people who exist: an event may come after the person has been erased.
_SEEN = text(
    """
    INSERT INTO presence (user_id, online, last_seen_at) SELECT id, :online, :at FROM users
    WHERE id = :user AND status <> 'deleted'
    ON CONFLICT (user_id) DO UPDATE SET online = excluded.online, last_seen_at = excluded.last_seen_at
    """
)
_PAIR = """
    INSERT INTO {table} SELECT one.id, two.id FROM users AS one, users AS two
    WHERE one.id = :one AND two.id = :two AND one.status <> 'deleted' AND two.status <> 'deleted'
    ON CONFLICT DO NOTHING
"""
_BEFRIEND = text(_PAIR.format(table="contacts"))
_PART = text("DELETE FROM contacts WHERE (user_id, contact_id) IN ((:one, :two), (:two, :one))")
_BLOCK = text(_PAIR.format(table="blocks"))
_UNBLOCK = text("DELETE FROM blocks WHERE user_id = :one AND blocked_id = :two")


def handlers() -> dict[str, Handler]:
    return dict(
        [
            handles(PresenceChanged, on_presence),
            handles(InterestChanged, on_interest),
            handles(BlockChanged, on_block),
        ]
    )


async def on_presence(db: AsyncSession, data: PresenceChanged, _event: Event) -> None:
    await db.execute(_SEEN, {"user": data.user_id, "online": data.online, "at": data.last_seen_at})


async def on_interest(db: AsyncSession, data: InterestChanged, _event: Event) -> None:
    one, two = data.from_user_id, data.to_user_id
    if data.status == "accepted":
        await _pair(db, _BEFRIEND, one, two)
        await _pair(db, _BEFRIEND, two, one)
    elif data.status == "withdrawn":
        await _pair(db, _PART, one, two)


async def on_block(db: AsyncSession, data: BlockChanged, _event: Event) -> None:
    await _pair(db, _BLOCK if data.blocked else _UNBLOCK, data.user_id, data.blocked_id)


async def _pair(db: AsyncSession, statement: TextClause, one: UUID, two: UUID) -> None:
    values: dict[str, Any] = {"one": one, "two": two}
    await db.execute(statement, values)
