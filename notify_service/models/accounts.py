from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Account(Base):
    """A provider with somebody's credentials: the unit of connections, limits and outages."""

    __tablename__ = "account"

    name: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str]
    provider: Mapped[str]
    source: Mapped[str]
    """`settings`: its credentials are in the environment, and only its limits are changed here; or `api`."""
    config: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    secrets: Mapped[str | None]
    """JSON, encrypted for `account:<name>`."""
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    fault: Mapped[str | None]
    """Why the provider refuses it until somebody looks."""
    down_until: Mapped[datetime | None]
    """While the provider is left alone; others of its channel stand in meanwhile."""
    rank: Mapped[int] = mapped_column(SmallInteger, server_default="100")
    """Of the accounts of a channel the lowest sends, and the next stands in for it."""
    rate: Mapped[float | None]
    """Messages a second, where it shall be less than the provider takes."""
    daily_limit: Mapped[int | None]
    """Messages in a sliding day; none: the provider's own."""
    told: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """What the provider has told of it, by subject, with `at`."""
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("source IN ('settings', 'api')", name="source"),
        CheckConstraint("rate > 0", name="rate"),
        CheckConstraint("daily_limit >= 0", name="daily_limit"),
        Index("ix_account_channel", "channel", "rank", "name"),
        # Whether anybody listens is asked by every statement that ends a delivery.
        Index("ix_account_listening", "name", postgresql_where=text("config ? 'events'")),
    )


class QuotaUse(Base):
    """How many messages an account has offered in a minute: what a sliding day is counted from."""

    __tablename__ = "quota_use"

    account: Mapped[str] = mapped_column(primary_key=True)
    minute: Mapped[datetime] = mapped_column(primary_key=True)
    used: Mapped[int]


class QuotaPool(Base):
    """People who were written to first of late, together, by all accounts that share a limit of them."""

    __tablename__ = "quota_pool"

    name: Mapped[str] = mapped_column(primary_key=True)
    used: Mapped[int] = mapped_column(server_default="0")
    """How many have a `QuotaRecipient`."""


class QuotaRecipient(Base):
    """A message that counts in a pool. Its person counts until the last one of theirs is too old."""

    __tablename__ = "quota_recipient"

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True)
    pool: Mapped[str]
    person: Mapped[bytes]
    """The address as a hash: who it was is nobody's business here."""
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_quota_recipient_person", "pool", "person", "at"),
        Index("ix_quota_recipient_at", "pool", "at"),
    )


class Suppression(Base):
    """An address that gets nothing more: at all (`*`), or of one category."""

    __tablename__ = "suppression"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    channel: Mapped[str]
    address: Mapped[str]
    category: Mapped[str]
    reason: Mapped[str]
    """`bounce`, `complaint`, `unsubscribe`, `provider` or `manual`."""
    until: Mapped[datetime | None]
    user_id: Mapped[UUID | None]
    """Whose link has said so, of a message to a user of ours: by their preferences they take it back."""
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("reason IN ('bounce', 'complaint', 'unsubscribe', 'provider', 'manual')", name="reason"),
        Index("uq_suppression_address", "channel", "address", "category", unique=True),
        Index("ix_suppression_created_at", "created_at", "id"),
        Index("ix_suppression_user", "user_id", postgresql_where=text("user_id IS NOT NULL")),
    )
