from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, LargeBinary, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from libs import consumer, outbox
from libs.db import new_metadata


class Base(DeclarativeBase):
    metadata = new_metadata()
    type_annotation_map: ClassVar = {
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        bytes: LargeBinary,
    }


class Notification(Base):
    """Something to know, in a user's inbox."""

    __tablename__ = "notification"

    id: Mapped[UUID] = mapped_column(primary_key=True)
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
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("priority IN ('low', 'normal', 'high', 'urgent')", name="priority"),
        Index("ix_notification_inbox", "user_id", "id"),
        Index("ix_notification_unread", "user_id", postgresql_where=text("read_at IS NULL AND archived_at IS NULL")),
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
    def is_archived(self) -> bool:
        return self.archived_at is not None

    @property
    def is_clicked(self) -> bool:
        return self.clicked_at is not None

    @property
    def is_dismissed(self) -> bool:
        return self.dismissed_at is not None


class Delivery(Base):
    """One message to one address over one channel. The rows are the queue; `domain.deliveries` has their life."""

    __tablename__ = "delivery"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """Also what the provider is told, as the Message-ID of a mail."""
    owner: Mapped[str]
    """On whose behalf it is sent, a service or a user's id: nobody's mass may hold up somebody else's message."""
    user_id: Mapped[UUID | None]
    """Who receives it, when that is a user of ours."""
    notification_id: Mapped[UUID | None] = mapped_column(ForeignKey("notification.id", ondelete="SET NULL"))
    channel: Mapped[str]
    account: Mapped[str]
    """The sending account: the unit of connections, limits and outages."""
    address: Mapped[str]
    category: Mapped[str]
    lane: Mapped[int] = mapped_column(SmallInteger)
    """0 goes first (codes that somebody waits for), then 1 (single messages), then 2 (bulk)."""
    template: Mapped[str]
    variables: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    secret: Mapped[str | None]
    """A code or link, encrypted for `message:<id>`; erased when the delivery reaches an end."""
    at_least_once: Mapped[bool]
    """Whether a message that may have arrived is sent again (codes), or becomes `unknown` (everything else)."""
    expires_at: Mapped[datetime | None]

    state: Mapped[str]
    reason: Mapped[str | None]
    """Why it was suppressed or given up, for people and programs."""
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    next_at: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(server_default="0")
    """Grows with every claim: who was given up for dead cannot overwrite what came after."""
    provider_id: Mapped[str | None]
    error_class: Mapped[str | None]
    error_code: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(
            "state IN ('queued', 'claimed', 'sending', 'retry', "
            "'sent', 'suppressed', 'expired', 'failed', 'dead', 'unknown')",
            name="state",
        ),
        Index(
            "ix_delivery_due",
            "account",
            "lane",
            "next_at",
            "id",
            postgresql_where=text("state IN ('queued', 'retry')"),
        ),
        Index("ix_delivery_leased", "lease_until", postgresql_where=text("state IN ('claimed', 'sending')")),
        Index("ix_delivery_user", "user_id", "id", postgresql_where=text("user_id IS NOT NULL")),
        Index("ix_delivery_notification", "notification_id", postgresql_where=text("notification_id IS NOT NULL")),
        # Room on every page for the next version of its rows: each is updated four times within a second.
        {"postgresql_with": {"fillfactor": "80"}},
    )


class DeliveryAttempt(Base):
    """One try to send, and what was decided upon it."""

    __tablename__ = "delivery_attempt"

    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    milliseconds: Mapped[int | None]
    error_class: Mapped[str | None]
    error_code: Mapped[str | None]
    decision: Mapped[str]
    """The state that the delivery got."""


class Preference(Base):
    """A user's switch for a channel: for one category, or for all (`*`). No row: on."""

    __tablename__ = "preference"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    category: Mapped[str] = mapped_column(primary_key=True)
    enabled: Mapped[bool]
    updated_at: Mapped[datetime]


class Profile(Base):
    """What auth said last about a user: a projection, never written for any other reason."""

    __tablename__ = "profile"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]
    username: Mapped[str]
    first_name: Mapped[str]
    last_name: Mapped[str]
    email: Mapped[str | None]
    email_verified: Mapped[bool]
    phone_number: Mapped[str | None]
    phone_verified: Mapped[bool]
    avatar_url: Mapped[str | None]
    language: Mapped[str]
    timezone: Mapped[str]


class Erasure(Base):
    """Somebody whose account is gone; kept for a while, to erase what still comes about them."""

    __tablename__ = "erasure"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    asked_at: Mapped[datetime]


class IdempotencyKey(Base):
    """The answer that a request got, for whoever repeats the request within a day."""

    __tablename__ = "idempotency_key"

    owner_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]
    answer: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_idempotency_key_created_at", "created_at"),)


outbox.add_tables(Base.metadata)
consumer.add_tables(Base.metadata)
