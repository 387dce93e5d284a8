"""Pinned messages: for everybody in the conversation, some of them for a while."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, messages, rights, targets, visibility
from chat_service.domain.context import Context
from chat_service.errors import CannotPin, NoMessage, TooManyPins, invalid
from libs.clock import Clock
from libs.db import Database

MOST = 100
_BATCH = 50

# What has run out counts no more, whether or not the worker has taken it away.
_STANDING = """
SELECT count(*) FILTER (WHERE message_id <> :id) AS others,
       count(*) FILTER (
           WHERE message_id = :id AND expires_at IS NOT DISTINCT FROM CAST(:expires AS timestamptz)) AS same
FROM pin WHERE conversation_id = :conversation AND (expires_at IS NULL OR expires_at > :now)
"""
_PIN = """
INSERT INTO pin (conversation_id, message_id, pinned_by, pinned_at, expires_at)
VALUES (:conversation, :id, :me, :now, :expires)
ON CONFLICT (conversation_id, message_id)
    DO UPDATE SET pinned_by = :me, pinned_at = :now, expires_at = excluded.expires_at
"""
_UNPIN = "DELETE FROM pin WHERE conversation_id = :conversation AND message_id = :id RETURNING message_id"
_LISTED = f"""
SELECT {messages.COLUMNS}, pin.pinned_by, pin.pinned_at, pin.expires_at,
       b.username AS by_username, b.display_name AS by_display_name, b.avatar_url AS by_avatar_url
FROM pin JOIN message AS m ON m.conversation_id = pin.conversation_id AND m.id = pin.message_id
{messages.JOINS} {visibility.mine("$2")}
LEFT JOIN profile AS b ON b.user_id = pin.pinned_by
WHERE pin.conversation_id = $1 AND (pin.expires_at IS NULL OR pin.expires_at > $3)
ORDER BY pin.pinned_at DESC, pin.message_id DESC
"""  # noqa: S608  -- constants
_EXPIRED = """
SELECT conversation_id, message_id, pinned_by FROM pin WHERE expires_at <= :now
ORDER BY conversation_id LIMIT :batch
"""
_LOCK = "SELECT id FROM conversation WHERE id = :conversation FOR UPDATE"
_UNPIN_EXPIRED = f"{_UNPIN.partition(' RETURNING')[0]} AND expires_at <= :now RETURNING message_id"


async def pin(
    context: Context, db: AsyncSession, me: UUID, place: tuple[UUID, UUID], *, until: datetime | None, now: datetime
) -> None:
    """`place`: the conversation and the message. Again with another `until` changes it.

    Raises NoMessage, CannotPin, MessageDeleted, TooManyPins, Invalid, Throttled.
    """
    context.change_allowed(me)
    if until is not None and until <= now:
        raise invalid("expires_at", "This must lie in the future.")
    row = await _held(db, me, place)
    where = {"conversation": row["conversation_id"], "id": row["id"]}
    standing = (await db.execute(text(_STANDING), {**where, "expires": until, "now": now})).one()
    if standing.same:
        return
    if standing.others >= MOST:
        raise TooManyPins
    await db.execute(text(_PIN), {**where, "me": me, "expires": until, "now": now})
    data = {"message_id": str(row["id"]), "by": str(me), "expires_at": until}
    await changes.record(db, context.hub, place[0], "message.pinned", actor_id=me, data=data, now=now)


async def unpin(context: Context, db: AsyncSession, me: UUID, place: tuple[UUID, UUID], *, now: datetime) -> None:
    """Raises NoMessage, CannotPin, Throttled."""
    context.change_allowed(me)
    row = await _held(db, me, place, alive=False)
    gone = await db.scalar(text(_UNPIN), {"conversation": row["conversation_id"], "id": row["id"]})
    if gone is not None:
        data = {"message_id": str(row["id"]), "by": str(me)}
        await changes.record(db, context.hub, place[0], "message.unpinned", actor_id=me, data=data, now=now)


async def _held(db: AsyncSession, me: UUID, place: tuple[UUID, UUID], *, alive: bool = True) -> messages.Row:
    hold = targets.hold_alive if alive else targets.hold
    row = await hold(db, targets.Actor(me), place[1])
    if row["conversation_id"] != place[0]:
        raise NoMessage
    if row["barred"] or row["status"] != "active" or not rights.may_pin(row["role"], row["conversation_type"]):
        raise CannotPin
    return row


async def listed(context: Context, me: UUID, conversation_id: UUID, *, now: datetime) -> list[dict[str, Any]]:
    """The last pinned first. The caller has made sure that the conversation is visible."""
    rows = await context.lanes.fetch(_LISTED, conversation_id, me, now)
    return [
        {
            "message": messages.shape(row),
            "pinned_by": {
                "id": str(row["pinned_by"]),
                "username": row["by_username"],
                "display_name": row["by_display_name"],
                "avatar_url": row["by_avatar_url"],
            },
            "pinned_at": row["pinned_at"],
            "expires_at": row["expires_at"],
        }
        for row in rows
    ]


async def expire(database: Database, clock: Clock) -> None:
    """One turn of the worker: says of what has run out that it is pinned no more."""
    async with database.transaction() as db:
        found = await db.execute(text(_EXPIRED), {"now": clock.now(), "batch": _BATCH})
        expired = found.all()
    for row in expired:
        async with database.transaction() as db:
            await _expire_one(db, row, clock.now())


async def _expire_one(db: AsyncSession, row: messages.Row, now: datetime) -> None:
    where = {"conversation": row.conversation_id, "id": row.message_id}
    await db.execute(text(_LOCK), {"conversation": row.conversation_id})
    if await db.scalar(text(_UNPIN_EXPIRED), {**where, "now": now}) is None:
        return
    data = {"message_id": str(row.message_id), "by": None}
    await changes.note(db, row.conversation_id, "message.unpinned", actor_id=row.pinned_by, data=data, now=now)
