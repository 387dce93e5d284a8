"""Friend requests: asking somebody to become a contact, and what becomes of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, conversations, frames, hub, messages, pairs, profiles, sightings
from chat_service.domain.hub import Hub
from chat_service.errors import InterestAnswered, InterestExists, NoInterest, NoPerson, NotReceiver, invalid
from libs import outbox
from libs.clock import Clock
from libs.contracts.people import InterestChanged
from libs.db import Database
from libs.errors import RateLimited
from libs.ids import uuid7

A_DAY = 50
_DAY = timedelta(days=1)
_AFTER_DECLINE = timedelta(days=7)
_KEEP = timedelta(days=30)
_BATCH = 500

# A request that nobody has answered in time is shown as expired even before the worker comes by.
_SELECT = """
    SELECT i.id, i.from_user_id, i.to_user_id, i.message, i.created_at, i.responded_at, i.expires_at,
        CASE WHEN i.status = 'pending' AND i.expires_at <= :now THEN 'expired' ELSE i.status END AS status,
        d.conversation_id,
        f.username AS from_username, f.display_name AS from_display_name, f.avatar_url AS from_avatar_url,
        t.username AS to_username, t.display_name AS to_display_name, t.avatar_url AS to_avatar_url
    FROM interest AS i
    LEFT JOIN profile AS f ON f.user_id = i.from_user_id
    LEFT JOIN profile AS t ON t.user_id = i.to_user_id
    LEFT JOIN direct_pair AS d ON d.user_low = least(i.from_user_id, i.to_user_id)
        AND d.user_high = greatest(i.from_user_id, i.to_user_id)
"""
_ONE = text(_SELECT + " WHERE i.id = :id AND :me IN (i.from_user_id, i.to_user_id)")
_LISTED = text(
    f"""
    SELECT * FROM ({_SELECT}
        WHERE (i.from_user_id = :me AND :sent OR i.to_user_id = :me AND :received)
            AND (CAST(:after AS uuid) IS NULL OR i.id < :after)
    ) AS i
    WHERE CAST(:status AS text) IS NULL OR i.status = :status
    ORDER BY i.id DESC LIMIT :limit
    """  # noqa: S608  -- constants
)
_OPEN = text(
    "SELECT id, from_user_id, status FROM interest WHERE status IN ('pending', 'accepted')"
    " AND least(from_user_id, to_user_id) = least(CAST(:one AS uuid), :two)"
    " AND greatest(from_user_id, to_user_id) = greatest(CAST(:one AS uuid), :two)"
)
_DECLINED = text(
    "SELECT max(responded_at) FROM interest"
    " WHERE from_user_id = :me AND to_user_id = :other AND status = 'declined' AND created_at > :since"
)
_SENT = text(
    "SELECT count(*) AS sent, min(created_at) AS first FROM ("
    " SELECT created_at FROM interest WHERE from_user_id = :me AND created_at > :since"
    " ORDER BY created_at DESC LIMIT :most) AS i"
)
_INSERT = text(
    "INSERT INTO interest (id, from_user_id, to_user_id, message, created_at, expires_at)"
    " VALUES (:id, :me, :other, :message, :now, :expires)"
)
_SET = text("UPDATE interest SET status = :status, responded_at = :now WHERE id = :id")
_EXPIRE = text(
    """
    UPDATE interest SET status = 'expired' WHERE id IN (
        SELECT id FROM interest WHERE status = 'pending' AND expires_at <= :now
        ORDER BY expires_at LIMIT :batch FOR UPDATE SKIP LOCKED)
    RETURNING id, from_user_id, to_user_id
    """
)
_EXPIRE_PAIR = text(
    "UPDATE interest SET status = 'expired' WHERE status = 'pending' AND expires_at <= :now"
    " AND least(from_user_id, to_user_id) = least(CAST(:one AS uuid), :two)"
    " AND greatest(from_user_id, to_user_id) = greatest(CAST(:one AS uuid), :two)"
    " RETURNING id, from_user_id, to_user_id"
)
_LOCK_SENDER = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests to list; `after`: the id of the last one seen."""

    limit: int
    direction: str = "all"
    status: str | None = None
    after: UUID | None = None


async def ask(
    db: AsyncSession, hub: Hub, me: UUID, other: UUID, *, message: str, known: profiles.Ask, now: datetime
) -> tuple[dict[str, Any], bool]:
    """The request, and whether it is new: it accepts the other's, where there is one.

    Raises Invalid, NoPerson (also for who has blocked me), InterestExists, RateLimited.
    """
    if other == me:
        raise invalid("to_user", "This is yourself.")
    if other not in await profiles.known(db, [me, other], known):
        raise NoPerson
    # One after the other, of one sender and of one pair: neither limits nor requests that cross are miscounted.
    await db.execute(_LOCK_SENDER, {"key": f"interest:{me}"})
    await pairs.lock(db, me, other)
    if await pairs.blocked(db, me, other):
        raise NoPerson
    await _expire_pair(db, me, other, now=now)
    there = (await db.execute(_OPEN, {"one": me, "two": other})).first()
    if there is not None:
        if there.status == "accepted" or there.from_user_id == me:
            raise InterestExists
        return await _settle(db, hub, me, there.id, status="accepted", now=now), False
    await _require_moderation(db, me, other, now=now)
    interest_id = uuid7()
    values = {"id": interest_id, "me": me, "other": other, "message": message}
    await db.execute(_INSERT, {**values, "now": now, "expires": now + _KEEP})
    return await _told(db, hub, me, interest_id, action="received", now=now), True


async def accept(db: AsyncSession, hub: Hub, me: UUID, interest_id: UUID, *, now: datetime) -> dict[str, Any]:
    """Opens the direct conversation of the two. Raises NoInterest, NotReceiver, InterestAnswered."""
    await _require_answer(db, me, interest_id, now=now)
    return await _settle(db, hub, me, interest_id, status="accepted", now=now)


async def decline(db: AsyncSession, hub: Hub, me: UUID, interest_id: UUID, *, now: datetime) -> dict[str, Any]:
    """Raises NoInterest, NotReceiver, InterestAnswered."""
    await _require_answer(db, me, interest_id, now=now)
    return await _settle(db, hub, me, interest_id, status="declined", now=now)


async def withdraw(db: AsyncSession, hub: Hub, me: UUID, interest_id: UUID, *, now: datetime) -> None:
    """Takes back what is pending, or ends a friendship. Raises NoInterest, NotReceiver."""
    found = await _locked(db, me, interest_id, now=now)
    if found["status"] not in ("pending", "accepted"):
        raise NoInterest
    if found["status"] == "pending" and found["from_user"]["id"] != str(me):
        raise NotReceiver
    await _settle(db, hub, me, interest_id, status="withdrawn", now=now)


async def part(db: AsyncSession, hub: Hub, me: UUID, other: UUID, *, now: datetime) -> None:
    """Ends whatever there is between a locked pair."""
    there = (await db.execute(_OPEN, {"one": me, "two": other})).first()
    if there is not None:
        await _settle(db, hub, me, there.id, status="withdrawn", now=now)


async def listed(db: AsyncSession, me: UUID, wanted: Wanted, *, now: datetime) -> list[dict[str, Any]]:
    """Newest first."""
    values = {
        "me": me,
        "sent": wanted.direction != "received",
        "received": wanted.direction != "sent",
        "status": wanted.status,
        "after": wanted.after,
        "limit": wanted.limit,
        "now": now,
    }
    return [_shape(row) for row in (await db.execute(_LISTED, values)).mappings()]


async def expire(database: Database, redis: Redis, clock: Clock) -> None:
    """One turn of the worker."""
    while True:
        now = clock.now()
        async with database.transaction() as db:
            rows = (await db.execute(_EXPIRE, {"now": now, "batch": _BATCH})).all()
            await outbox.add_all(db, [_changed(row) for row in rows], now)
        for row in rows:
            said = {"action": "expired", "interest": {"id": str(row.id), "status": "expired"}}
            for user_id in (row.from_user_id, row.to_user_id):
                await redis.publish(hub.user_channel(user_id), frames.push(f"u:{user_id}", "interest", said))
        if len(rows) < _BATCH:
            return


async def _locked(db: AsyncSession, me: UUID, interest_id: UUID, *, now: datetime) -> dict[str, Any]:
    """As it stands, of a pair that is locked from here on. Raises NoInterest."""
    found = await _read(db, me, interest_id, now=now)
    await pairs.lock(db, UUID(found["from_user"]["id"]), UUID(found["to_user"]["id"]))
    return await _read(db, me, interest_id, now=now)


async def _read(db: AsyncSession, me: UUID, interest_id: UUID, *, now: datetime) -> dict[str, Any]:
    row = (await db.execute(_ONE, {"id": interest_id, "me": me, "now": now})).mappings().first()
    if row is None:
        raise NoInterest
    return _shape(row)


async def _require_answer(db: AsyncSession, me: UUID, interest_id: UUID, *, now: datetime) -> None:
    found = await _locked(db, me, interest_id, now=now)
    if found["to_user"]["id"] != str(me):
        raise NotReceiver
    if found["status"] != "pending":
        raise InterestAnswered


async def _require_moderation(db: AsyncSession, me: UUID, other: UUID, *, now: datetime) -> None:
    declined = await db.scalar(_DECLINED, {"me": me, "other": other, "since": now - _KEEP - _AFTER_DECLINE})
    if declined is not None and declined + _AFTER_DECLINE > now:
        raise RateLimited(_seconds(declined + _AFTER_DECLINE - now))
    row = (await db.execute(_SENT, {"me": me, "since": now - _DAY, "most": A_DAY})).one()
    if row.sent >= A_DAY:
        raise RateLimited(_seconds(row.first + _DAY - now))


def _seconds(wait: timedelta) -> int:
    return max(1, round(wait.total_seconds()))


async def _settle(
    db: AsyncSession, hub: Hub, me: UUID, interest_id: UUID, *, status: str, now: datetime
) -> dict[str, Any]:
    await db.execute(_SET, {"id": interest_id, "status": status, "now": now})
    if status == "accepted":
        found = await _read(db, me, interest_id, now=now)
        other = next(UUID(found[side]["id"]) for side in ("from_user", "to_user") if found[side]["id"] != str(me))
        await conversations.open_pair(db, hub, me, other, now=now)
    return await _told(db, hub, me, interest_id, action=status, now=now)


async def _told(
    db: AsyncSession, hub: Hub, me: UUID, interest_id: UUID, *, action: str, now: datetime
) -> dict[str, Any]:
    """Other services hear of it, and the sockets of both; of a new one its receiver's."""
    found = await _read(db, me, interest_id, now=now)
    one, two = UUID(found["from_user"]["id"]), UUID(found["to_user"]["id"])
    event = InterestChanged(interest_id=interest_id, from_user_id=one, to_user_id=two, status=found["status"])
    await outbox.add(db, event, now)
    # Contacts may see more of each other.
    await sightings.doubt(db, one, two)

    def tell() -> None:
        for user_id in (two,) if action == "received" else (one, two):
            hub.publish_to_user(user_id, "interest", {"action": action, "interest": found})

    changes.after_commit(db, tell)
    return found


async def _expire_pair(db: AsyncSession, me: UUID, other: UUID, *, now: datetime) -> None:
    row = (await db.execute(_EXPIRE_PAIR, {"one": me, "two": other, "now": now})).first()
    if row is not None:
        await outbox.add(db, _changed(row), now)


def _changed(row: Any) -> InterestChanged:
    return InterestChanged(
        interest_id=row.id, from_user_id=row.from_user_id, to_user_id=row.to_user_id, status="expired"
    )


def _shape(row: messages.Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "from_user": _person(row, "from"),
        "to_user": _person(row, "to"),
        "status": row["status"],
        "message": row["message"],
        "conversation_id": str(row["conversation_id"]) if row["conversation_id"] else None,
        "created_at": row["created_at"],
        "responded_at": row["responded_at"],
        "expires_at": row["expires_at"],
    }


def _person(row: messages.Row, side: str) -> dict[str, Any]:
    shown = {name: row[f"{side}_{name}"] for name in ("username", "display_name", "avatar_url")}
    return messages.person(row[f"{side}_user_id"], shown)
