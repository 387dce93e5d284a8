"""How much one person may send in a sliding day, counted from what they have sent."""

from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import RateLimited

DIRECT = "direct"
"""The category of what one person writes to another through us."""
_DAY = timedelta(hours=24)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 5071885))")
_USED = text(
    """
    SELECT count(*) AS used, min(created_at) AS oldest FROM (
        SELECT created_at FROM delivery
        WHERE owner = :owner AND channel = :channel AND category = 'direct' AND created_at > :since
        ORDER BY created_at DESC LIMIT :most) AS counted
    """
)


async def take(db: AsyncSession, owner: str, channel: str, *, most: int, now: datetime) -> None:
    """Room for one more, held until the transaction ends. Raises RateLimited, which says when there is room again."""
    # Two requests at the limit: the second one waits until the first one's row can be counted.
    await db.execute(_LOCK, {"key": f"{owner}:{channel}"})
    values = {"owner": owner, "channel": channel, "since": now - _DAY, "most": most}
    found = (await db.execute(_USED, values)).one()
    if most == 0 or found.used >= most:
        again = found.oldest + _DAY if found.oldest else now + _DAY
        wait = max(1, ceil((again - now).total_seconds()))
        raise RateLimited(wait, allowed=(most, int(_DAY.total_seconds())))
