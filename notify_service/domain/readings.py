"""What reading a notification makes of the delivery that has brought it. They have one id."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs import outbox
from libs.contracts.notifications import DeliveryChanged
from notify_service.domain import campaign_progress, happenings

# Whatever its sender knows of it: what is in the inbox has arrived. In their order: whoever else marks some of them
# waits, and holds none that this waits for.
_READ = text(
    """
    UPDATE delivery SET state = 'read', reason = NULL, error_class = NULL, error_code = NULL, lease_until = NULL,
        sent_at = coalesce(sent_at, :now), delivered_at = coalesce(delivered_at, :now), read_at = :now,
        updated_at = now()
    WHERE id IN (
        SELECT id FROM delivery WHERE id = ANY(:ids) AND channel = 'inapp' AND state <> 'read'
        ORDER BY id FOR UPDATE)
    RETURNING id, owner, batch_id
    """
)


async def mark(db: AsyncSession, notifications: Sequence[UUID], now: datetime) -> None:
    """Their deliveries are read, where they have come by any."""
    if not notifications:
        return
    rows: Sequence[Any] = (await db.execute(_READ, {"ids": list(notifications), "now": now})).all()
    await happenings.ended(db, [row.id for row in rows])
    await outbox.add_all(db, [DeliveryChanged(delivery_id=row.id, owner=row.owner, state="read") for row in rows], now)
    await campaign_progress.touch(db, [row.id for row in rows if row.batch_id is not None])
