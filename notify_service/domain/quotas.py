"""How many messages an account may send in a sliding day.

Counted by the minute in PostgreSQL, in the transaction that says a message is about to leave, so that no crash forgets
one. What the provider did not take is given back to its minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock

_LOAD = text(
    """
    SELECT minute, used FROM quota_use
    WHERE account = :account AND minute > CAST(:since AS timestamptz) - interval '1 minute'
    """
)
_ADD = text(
    """
    INSERT INTO quota_use AS q (account, minute, used) VALUES (:account, :minute, :used)
    ON CONFLICT (account, minute) DO UPDATE SET used = q.used + excluded.used
    """
)
_FORGET = text("DELETE FROM quota_use WHERE minute < :before")
_LONGEST = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left, and when it grows again."""

    limit: int
    used: int
    more_at: datetime | None

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


class Quota:
    """One account's, in the memory of its owner and in the database."""

    def __init__(self, account: str, *, limit: int, hours: int, clock: Clock) -> None:
        self._account = account
        self._limit = limit
        self._length = timedelta(hours=hours)
        self._clock = clock
        self._counts: dict[datetime, int] = {}

    async def load(self, db: AsyncSession) -> None:
        """What was used before this worker came."""
        found = await _uses(db, self._account, self._clock.now() - self._length)
        self._counts = dict(found)

    async def change(self, db: AsyncSession, changes: Mapping[datetime, int]) -> None:
        """Writes uses down, or with a negative number takes them back. `note` does so in memory, after the commit."""
        for minute, used in sorted(changes.items()):
            if used:
                await db.execute(_ADD, {"account": self._account, "minute": minute, "used": used})

    def minute(self) -> datetime:
        return self._clock.now().replace(second=0, microsecond=0)

    def note(self, minute: datetime, used: int) -> None:
        self._counts[minute] = self._counts.get(minute, 0) + used

    @property
    def standing(self) -> Standing:
        return _standing(self._counts, self._limit, self._clock.now() - self._length, self._length)


async def standing(db: AsyncSession, account: str, *, limit: int, hours: int, now: datetime) -> Standing:
    """For those who do not own the account and only look."""
    length = timedelta(hours=hours)
    return _standing(dict(await _uses(db, account, now - length)), limit, now - length, length)


@dataclass(frozen=True, slots=True)
class Room:
    """When an account may send more, as far as its sliding day is concerned. `uses`: by the minute, oldest first."""

    limit: int
    length: timedelta
    uses: Sequence[tuple[datetime, int]]

    @property
    def left(self) -> int:
        return max(0, self.limit - sum(used for _, used in self.uses))

    def wait(self, count: int, now: datetime) -> float | None:
        """Seconds until the last of so many may leave; None: never."""
        if count <= 0:
            return 0.0
        if not self.limit:
            return None
        # Whole days, after each of which what was sent in it gives room again, and the rest.
        days, rest = divmod(count - 1, self.limit)
        free = self.limit - sum(used for _, used in self.uses)
        again = now
        for minute, used in self.uses:
            if free > rest:
                break
            free, again = free + used, minute + timedelta(minutes=1) + self.length
        return days * self.length.total_seconds() + max(0.0, (again - now).total_seconds())


async def room(db: AsyncSession, account: str, *, limit: int, hours: int, now: datetime) -> Room:
    length = timedelta(hours=hours)
    return Room(limit, length, sorted(await _uses(db, account, now - length)))


async def forget(db: AsyncSession, now: datetime) -> None:
    await db.execute(_FORGET, {"before": now - _LONGEST})


async def _uses(db: AsyncSession, account: str, since: datetime) -> list[tuple[datetime, int]]:
    rows = await db.execute(_LOAD, {"account": account, "since": since})
    return [(row.minute, row.used) for row in rows]


def _standing(counts: dict[datetime, int], limit: int, since: datetime, length: timedelta) -> Standing:
    """Forgets, in `counts`, what lies too far back. A minute counts until its last second is out of the day."""
    whole = timedelta(minutes=1)
    for minute in [minute for minute in counts if minute + whole <= since]:
        del counts[minute]
    used = sum(counts.values())
    more_at = min((minute for minute, each in counts.items() if each > 0), default=None)
    return Standing(limit, used, more_at + whole + length if more_at and used >= limit else None)
