from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Batch(Base):
    """One request to send something, to one recipient or ten thousand."""

    __tablename__ = "batch"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str]
    account: Mapped[str | None]
    """The account that its sender has named, for which no other stands in; none: whichever is well."""
    content: Mapped[dict[str, Any]]
    """`domain.content.Content`, for all its deliveries."""
    route: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    """What comes after the first channel, when that has not brought the message to its reader in time."""
    held: Mapped[bool] = mapped_column(server_default=text("false"))
    """Nothing of it leaves: it is paused, cancelled, or its content is refused."""
    hold_reason: Mapped[str | None]
    """Why nobody but a provider put it on hold: `refused` or `template`. None: somebody did, or it is not held."""
    test_of: Mapped[UUID | None]
    """The campaign that was tried out by this; it does not count it."""
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_batch_owner", "owner", "id"),
        Index("ix_batch_hold_reason", "hold_reason", postgresql_where=text("hold_reason IS NOT NULL")),
    )


class Delivery(Base):
    """One message to one address over one channel. The rows are the queue; `domain.deliveries` has their life."""

    __tablename__ = "delivery"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """Also what the provider is told, as the Message-ID of a mail."""
    owner: Mapped[str]
    """On whose behalf it is sent, a service or a user's id: nobody's mass may hold up somebody else's message."""
    queue: Mapped[str]
    """What it waits in line with: its owner, or `owner/batch`. Owners take turns, and so do the batches of one."""
    batch_id: Mapped[UUID | None]
    """Its batch, which stays as long as this does: `domain.retention` sees to that, and no foreign key."""
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
    template: Mapped[str | None]
    """One of our own; none: the content of its batch."""
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
    delivered_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]
    dedupe_key: Mapped[str | None]
    """Names the occasion: a second message of it to the same address is recorded as a duplicate, and not sent."""
    step: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Which of the channels of its batch's route; the first is 0."""
    follow_at: Mapped[datetime | None]
    """When to see whether the next channel has to try."""
    addresses: Mapped[dict[str, Any] | None]
    """Its recipient's addresses on the channels that follow, by channel."""
    digest_id: Mapped[UUID | None]
    """The digest that it waits for, and then the delivery that says it."""

    __table_args__ = (
        CheckConstraint(
            "state IN ('queued', 'claimed', 'sending', 'retry', 'sent', 'delivered', 'read', "
            "'suppressed', 'duplicate', 'cancelled', 'expired', 'failed', 'dead', 'unknown', "
            "'collected', 'digested')",
            name="state",
        ),
        CheckConstraint("(template IS NULL) <> (batch_id IS NULL)", name="content"),
        Index(
            "ix_delivery_due",
            "account",
            "lane",
            "queue",
            "next_at",
            "id",
            postgresql_where=text("state IN ('queued', 'retry')"),
        ),
        Index("ix_delivery_batch", "batch_id", "id", postgresql_where=text("batch_id IS NOT NULL")),
        Index("ix_delivery_provider", "account", "provider_id", postgresql_where=text("provider_id IS NOT NULL")),
        Index(
            "ix_delivery_direct",
            "owner",
            "channel",
            "created_at",
            postgresql_where=text("category = 'direct'"),
        ),
        Index("ix_delivery_follow", "follow_at", postgresql_where=text("follow_at IS NOT NULL")),
        Index(
            "ix_delivery_dedupe",
            "channel",
            "address",
            "category",
            "dedupe_key",
            "created_at",
            postgresql_where=text("dedupe_key IS NOT NULL"),
        ),
        Index("ix_delivery_collected", "digest_id", "id", postgresql_where=text("state = 'collected'")),
        Index("ix_delivery_dead", "updated_at", "id", postgresql_where=text("state IN ('dead', 'failed', 'unknown')")),
        # What comes back again and again.
        Index(
            "ix_delivery_returned",
            "channel",
            "address",
            postgresql_where=text("state = 'failed' AND error_class = 'transient'"),
        ),
        Index("ix_delivery_leased", "lease_until", postgresql_where=text("state IN ('claimed', 'sending')")),
        Index("ix_delivery_user", "user_id", "id", postgresql_where=text("user_id IS NOT NULL")),
        # To erase somebody of whom an endpoint was told.
        Index(
            "ix_delivery_event_user",
            text("(variables #>> '{data,user}')"),
            postgresql_where=text("template = 'event'"),
        ),
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
