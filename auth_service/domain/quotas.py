"""How often something may be done in a window of time. Kept in PostgreSQL: a flushed Redis must not open the gates."""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import RateLimited

_ENDLESS = (1 << 31) - 1
_TAKE = text(
    """
    INSERT INTO quotas AS q (key, used, ends_at) VALUES (:key, 1, :ends_at)
    ON CONFLICT (key) DO UPDATE SET
        used = CASE WHEN q.ends_at > :now THEN q.used + 1 ELSE 1 END,
        ends_at = CASE WHEN q.ends_at > :now THEN q.ends_at ELSE excluded.ends_at END
    WHERE q.ends_at <= :now OR q.used < :most
    RETURNING q.used
    """
)
_ENDS_AT = text("SELECT ends_at FROM quotas WHERE key = :key")


async def take(db: AsyncSession, key: str, *, most: int, window: timedelta, now: datetime) -> None:
    """Uses one of `most`, or raises RateLimited. Counts only if the transaction commits."""
    if not await allows(db, key, most=most, window=window, now=now):
        raise RateLimited(await seconds_left(db, key, now=now))


async def allows(db: AsyncSession, key: str, *, most: int, window: timedelta, now: datetime) -> bool:
    """The same for what is silently left undone: uses one, and says whether there was one."""
    return await _take(db, key, most=most, window=window, now=now) is not None


async def count(db: AsyncSession, key: str, *, window: timedelta, now: datetime) -> int:
    """Uses one of as many as there are, and says how many have been used."""
    return await _take(db, key, most=_ENDLESS, window=window, now=now) or _ENDLESS


async def _take(db: AsyncSession, key: str, *, most: int, window: timedelta, now: datetime) -> int | None:
    values = {"key": key, "most": most, "now": now, "ends_at": now + window}
    used: int | None = (await db.execute(_TAKE, values)).scalar_one_or_none()
    return used


async def seconds_left(db: AsyncSession, key: str, *, now: datetime) -> int:
    """Until there is one again, for a window that is used up."""
    ends_at: datetime = (await db.execute(_ENDS_AT, {"key": key})).scalar_one()
    return max(1, int((ends_at - now).total_seconds()) + 1)
