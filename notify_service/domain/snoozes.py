"""Notifications that come back when their time is over."""

from collections.abc import Callable

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.db import Database
from notify_service.models import Notification

_MOST = 500
Tell = Callable[[AsyncSession, Notification], None]
"""Shows a notification to whoever has the inbox open, after the commit."""


async def work(database: Database, tell: Tell, clock: Clock) -> int:
    """One turn of the worker. They come as if they were new, whatever was read meanwhile. Returns how many."""
    due = select(Notification.id).where(Notification.snoozed_until <= clock.now()).order_by(Notification.snoozed_until)
    back = (
        update(Notification)
        .where(Notification.id.in_(due.limit(_MOST).with_for_update(skip_locked=True)))
        .values(created_at=Notification.snoozed_until, snoozed_until=None, read_at=None, seen_at=None)
        .returning(Notification)
        .execution_options(synchronize_session=False)
    )
    async with database.transaction() as db:
        found = (await db.scalars(back)).all()
        for each in found:
            tell(db, each)
    return len(found)
