"""People who are never shown as here: to those who watch, over HTTP, and to the other services."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import sightings

# As if they had left at this moment. Auth hears of it as of any going, at most once a minute.
_HIDE = """
WITH hidden AS (
    INSERT INTO invisible (user_id, since) VALUES (:user, :now) ON CONFLICT DO NOTHING RETURNING user_id
)
UPDATE sighting AS s SET online = false, idle = false, last_seen_at = greatest(s.last_seen_at, :now),
    due_at = coalesce(s.due_at, greatest(CAST(:now AS timestamptz), s.told_at + interval '1 minute'))
FROM hidden WHERE s.user_id = hidden.user_id AND s.online
"""


async def since(db: AsyncSession, user_id: UUID) -> datetime | None:
    moment: datetime | None = await db.scalar(
        text("SELECT since FROM invisible WHERE user_id = :user"), {"user": user_id}
    )
    return moment


async def hide(db: AsyncSession, user_id: UUID, now: datetime) -> None:
    """The caller has the worker look again after the commit: it may be writing the opposite at this moment."""
    await db.execute(text(_HIDE), {"user": user_id, "now": now})
    await sightings.doubt(db, user_id)


async def show(db: AsyncSession, user_id: UUID) -> None:
    """The caller has the worker look again after the commit: it tells the others."""
    await db.execute(text("DELETE FROM invisible WHERE user_id = :user"), {"user": user_id})
