"""What services tell auth's audit log: who did what to whom and where, never what anybody wrote."""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from libs import outbox
from libs.contracts.audit import Audited, Detail


async def tell(
    db: AsyncSession,
    action: str,
    actor_id: UUID,
    subject_id: UUID | None = None,
    *,
    now: datetime,
    **data: Detail | UUID,
) -> None:
    """In the transaction that makes it true. What staff does in a user's place, staff has done."""
    context = structlog.contextvars.get_contextvars()
    acting: str | None = context.get("acting_id")
    entry = Audited(
        action=action,
        actor_id=UUID(acting) if acting else actor_id,
        subject_id=subject_id,
        request_id=context.get("request_id"),
        data={name: str(value) if isinstance(value, UUID) else value for name, value in data.items()},
    )
    await outbox.add(db, entry, now)
