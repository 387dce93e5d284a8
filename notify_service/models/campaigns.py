from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Campaign(Base):
    """One content for all of an audience; `domain.campaign_states` has its life."""

    __tablename__ = "campaign"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    state: Mapped[str]
    fault: Mapped[str | None]
    """Why it did not begin at its time, or was paused by itself."""
    channel: Mapped[str]
    account: Mapped[str | None]
    """None: until it begins, whoever of the channel is well then."""
    content: Mapped[dict[str, Any]]
    audience_id: Mapped[UUID | None] = mapped_column(ForeignKey("audience.id", ondelete="SET NULL"))
    """Read once, when it begins; from then on its deliveries are what counts."""
    category: Mapped[str]
    missing: Mapped[str]
    """What becomes of recipients who lack a variable: `refuse`, nobody gets anything, or `skip`."""
    defaults: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """What stands for a variable that a recipient does not have."""
    send_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey("batch.id", ondelete="SET NULL"), unique=True)
    total: Mapped[int] = mapped_column(server_default="0")
    counts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """How many deliveries were in which state at `counted_at`."""
    counted_at: Mapped[datetime | None]
    stale: Mapped[bool] = mapped_column(server_default=text("false"))
    """Something became of a delivery after the campaign had ended: it is counted once more."""
    rate: Mapped[float] = mapped_column(server_default="0")
    """Messages a second that came to an end lately."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    """When nothing of it was open any more."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(server_default="1")

    __table_args__ = (
        CheckConstraint(
            "state IN ('draft', 'scheduled', 'running', 'paused', 'cancelled', 'finished')",
            name="state",
        ),
        CheckConstraint("missing IN ('refuse', 'skip')", name="missing"),
        Index("ix_campaign_owner", "owner", "id"),
        Index("ix_campaign_audience_id", "audience_id", postgresql_where=text("audience_id IS NOT NULL")),
        Index("ix_campaign_due", "send_at", postgresql_where=text("state = 'scheduled'")),
        Index(
            "ix_campaign_counted_at",
            "counted_at",
            postgresql_where=text("(started_at IS NOT NULL AND finished_at IS NULL) OR stale"),
        ),
    )
