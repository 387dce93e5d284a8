"""What reading a notification makes of the delivery that has brought it. They have one id."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs import outbox
from libs.contracts.notifications import DeliveryChanged
from notify_service.domain import campaign_progress, happenings


def _statement(lock: str) -> TextClause:
    """Whatever its sender knows of it: what is in the inbox has arrived."""
    return text(
        f"""
        UPDATE delivery SET state = 'read', reason = NULL, error_class = NULL, error_code = NULL, lease_until = NULL,
            sent_at = coalesce(sent_at, :now), delivered_at = coalesce(delivered_at, :now), read_at = :now,
            updated_at = now()
        WHERE id IN (
            SELECT id FROM delivery WHERE id = ANY(:ids) AND channel = 'inapp' AND state <> 'read' FOR UPDATE {lock})
        RETURNING id, owner, batch_id
        """  # noqa: S608  -- constants
    )


_READ = _statement("")
# Their sender writes to several at a time: waiting for it here could mean that each waits for the other. Whose row it
# has at this very moment stays `sent`, and whoever asks whether to go on looks into the inbox as well.
_READ_MANY = _statement("SKIP LOCKED")


async def mark(db: AsyncSession, notifications: Sequence[UUID], now: datetime) -> None:
    """Their deliveries are read, where they have come by any."""
    if not notifications:
        return
    statement = _READ if len(notifications) == 1 else _READ_MANY
    rows: Sequence[Any] = (await db.execute(statement, {"ids": list(notifications), "now": now})).all()
    await happenings.ended(db, [row.id for row in rows])
    await outbox.add_all(db, [DeliveryChanged(delivery_id=row.id, owner=row.owner, state="read") for row in rows], now)
    await campaign_progress.touch(db, [row.id for row in rows if row.batch_id is not None])
