from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Notification(Base):
    """Something to know, in a user's inbox."""

    __tablename__ = "notification"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """That of its delivery, if it came over `inapp`; made before it came."""
    user_id: Mapped[UUID]
    category: Mapped[str]
    priority: Mapped[str]
    title: Mapped[str]
    message: Mapped[str]
    action_url: Mapped[str | None]
    image_url: Mapped[str | None]
    actor: Mapped[dict[str, Any] | None]
    """Who did it: `id` and `name`, as they were then."""
    related_object_type: Mapped[str | None]
    related_object_id: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    dedupe_key: Mapped[str | None]
    """Names the occasion: a second notification of the same occasion is never made."""
    read_at: Mapped[datetime | None]
    archived_at: Mapped[datetime | None]
    clicked_at: Mapped[datetime | None]
    dismissed_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    snoozed_until: Mapped[datetime | None]
    """Until then it is in no list and no count; then it comes as if it were new, and this is none again."""
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("priority IN ('low', 'normal', 'high', 'urgent')", name="priority"),
        Index("ix_notification_inbox", "user_id", "created_at", "id"),
        Index(
            "ix_notification_unread",
            "user_id",
            postgresql_where=text("read_at IS NULL AND archived_at IS NULL AND snoozed_until IS NULL"),
        ),
        Index("ix_notification_snoozed", "snoozed_until", postgresql_where=text("snoozed_until IS NOT NULL")),
        Index(
            "uq_notification_dedupe",
            "user_id",
            "dedupe_key",
            unique=True,
            postgresql_where=text("dedupe_key IS NOT NULL"),
        ),
        Index("ix_notification_actor", text("(actor ->> 'id')"), postgresql_where=text("actor IS NOT NULL")),
    )

    @property
    def is_read(self) -> bool:
        return self.read_at is not None

    @property
    def is_seen(self) -> bool:
        """Who has read it has seen it."""
        return self.seen_at is not None or self.is_read

    @property
    def is_archived(self) -> bool:
        return self.archived_at is not None

    @property
    def is_clicked(self) -> bool:
        return self.clicked_at is not None

    @property
    def is_dismissed(self) -> bool:
        return self.dismissed_at is not None
