"""The audit log: only ever appended to, sealed into a chain of hashes by one worker."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from auth_service.models.declarative import Base


class AuditEvent(Base):
    """Partitioned by month. A trigger refuses every change but the sealing, which fills the last three columns once."""

    __tablename__ = "audit"
    __table_args__ = (
        # An event of another service may be told twice; its id and time come with it.
        UniqueConstraint("event_id", "at"),
        Index("ix_audit_subject_id", "subject_id", "id"),
        Index("ix_audit_actor_id", "actor_id", "id"),
        Index("ix_audit_action", "action", "id"),
        Index("ix_audit_unsealed", "id", postgresql_where=text("position IS NULL")),
        Index("ix_audit_position", "position"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    event_id: Mapped[UUID]
    service: Mapped[str]
    action: Mapped[str]
    result: Mapped[str]
    reason: Mapped[str | None]
    # Ids without foreign keys: the log outlives the people in it.
    actor_id: Mapped[UUID | None]
    subject_id: Mapped[UUID | None]
    session_id: Mapped[UUID | None]
    ip: Mapped[str | None]
    country: Mapped[str | None]
    user_agent: Mapped[str | None]
    request_id: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)

    position: Mapped[int | None] = mapped_column(BigInteger)
    prev_hash: Mapped[bytes | None]
    hash: Mapped[bytes | None]
