"""Hours in which a person wants to be left alone. Messages wait for their end; none is dropped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.db import one_of
from notify_service.models import Profile
from notify_service.models import QuietHours as Row

REASON = "quiet_hours"
SILENT = frozenset({"inapp"})
"""Channels that make no noise: what is in the inbox waits there by itself."""
_AMONG = (
    select(Row.user_id, Row.start, Row.end, func.coalesce(Profile.timezone, "UTC").label("timezone"))
    .join(Profile, Profile.user_id == Row.user_id, isouter=True)
    .where(one_of(Row.user_id, "users"))
)
_AGAIN = text(
    """
    UPDATE delivery SET next_at = now(), updated_at = now()
    WHERE user_id = :user AND state IN ('queued', 'retry') AND reason = :reason
    """
)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` until `end` on the clock of the person's place; over midnight where the end comes first."""

    start: time
    end: time
    timezone: str

    def until(self, now: datetime) -> datetime | None:
        """When the hours that hold now are over; None: none do. Equal ends are no hours at all."""
        zone = zone_of(self.timezone)
        local = now.astimezone(zone)
        # Those that began yesterday may go on, over midnight or over a night in which the clock was turned.
        for day in (local.date() - timedelta(days=1), local.date()):
            begin, end = self._on(day, zone)
            if begin <= now < end:
                return end
        return None

    def _on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
        last = day if self.start <= self.end else day + timedelta(days=1)
        return instant(day, self.start, zone), instant(last, self.end, zone)


async def set_hours(db: AsyncSession, user_id: UUID, hours: tuple[time, time] | None) -> None:
    """What waits for the end of the hours that held before is looked at again."""
    if hours is None:
        await db.execute(delete(Row).where(Row.user_id == user_id))
    else:
        values = {"start": hours[0], "end": hours[1]}
        statement = insert(Row).values(user_id=user_id, **values)
        await db.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=values))
    await db.execute(_AGAIN, {"user": user_id, "reason": REASON})


async def hours_of(db: AsyncSession, user_id: UUID) -> QuietHours | None:
    """Of one user, by the clock of the place that their profile names."""
    return (await among(db, [user_id])).get(user_id)


async def among(db: AsyncSession, users: Iterable[UUID]) -> dict[UUID, QuietHours]:
    """Of those of these users who have any."""
    wanted: Sequence[UUID] = list(set(users))
    if not wanted:
        return {}
    rows = await db.execute(_AMONG, {"users": wanted})
    return {row.user_id: QuietHours(row.start, row.end, row.timezone) for row in rows}


def zone_of(name: str) -> ZoneInfo:
    """A place that nobody knows lies on the prime meridian."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def instant(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """When a clock shows this, in UTC: the first time where it does so twice, and where it is put forward over it, the
    moment at which it is."""
    wanted = datetime.combine(day, clock, tzinfo=zone)
    found = wanted.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wanted.replace(tzinfo=None):
        return found
    # The clock never shows it. Between these two it is put forward.
    early, late = wanted.replace(fold=1).astimezone(UTC), found
    before = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) / 2
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)
