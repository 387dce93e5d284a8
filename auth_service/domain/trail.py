"""Reading the audit log: all of it for administrators, what concerns themselves for everybody."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.models import AuditEvent

SHOWN_TO_OWNER = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a row must have; None: anything."""

    action: str | None = None
    result: str | None = None
    service: str | None = None
    actor_id: UUID | None = None
    subject_id: UUID | None = None
    ip: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def search(db: AsyncSession, wanted: Wanted, *, before: int | None, limit: int) -> Sequence[AuditEvent]:
    """The newest first; one more than `limit` when there are more."""
    query = select(AuditEvent)
    for name in ("action", "result", "service", "actor_id", "subject_id", "ip"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(getattr(AuditEvent, name) == value)
    if wanted.since is not None:
        query = query.where(AuditEvent.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEvent.at <= wanted.until)
    return await _page(db, query, before=before, limit=limit)


async def own(
    db: AsyncSession, user_id: UUID, *, now: datetime, before: int | None, limit: int
) -> Sequence[AuditEvent]:
    """What happened to one's own account in the last 90 days."""
    query = select(AuditEvent).where(AuditEvent.subject_id == user_id, AuditEvent.at > now - SHOWN_TO_OWNER)
    return await _page(db, query, before=before, limit=limit)


async def _page(db: AsyncSession, query: Select[AuditEvent], *, before: int | None, limit: int) -> Sequence[AuditEvent]:
    if before is not None:
        query = query.where(AuditEvent.id < before)
    return (await db.scalars(query.order_by(AuditEvent.id.desc()).limit(limit + 1))).all()
