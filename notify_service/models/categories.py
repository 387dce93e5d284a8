from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Index, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Category(Base):
    """What administrators have decided for all messages of a category. No row: each is sent as it comes."""

    __tablename__ = "category"

    name: Mapped[str] = mapped_column(primary_key=True)
    throttle: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """`domain.categories.Throttle`."""
    digest: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """`domain.categories.Digest`."""
    updated_at: Mapped[datetime]


class Digest(Base):
    """What one reader gets together, while it is open. Its messages are the deliveries that name it."""

    __tablename__ = "digest"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """Will be the id of the delivery that says it."""
    bucket: Mapped[bytes]
    """Hash of what keeps digests apart: one of each is open."""
    owner: Mapped[str]
    user_id: Mapped[UUID | None]
    channel: Mapped[str]
    account: Mapped[str]
    address: Mapped[str]
    category: Mapped[str]
    closes_at: Mapped[datetime]

    __table_args__ = (
        Index("uq_digest_bucket", "bucket", unique=True),
        Index("ix_digest_closes_at", "closes_at"),
        Index("ix_digest_account", "account"),
        Index("ix_digest_user", "user_id", postgresql_where=text("user_id IS NOT NULL")),
    )


class Throttle(Base):
    """When an address got messages of a category lately."""

    __tablename__ = "throttle"

    key: Mapped[bytes] = mapped_column(primary_key=True)
    """Hash of channel, address and category."""
    times: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=True)))
    left_out: Mapped[int]
    """How many were not sent since the last that was."""
    until: Mapped[datetime]
    """After it none of the times counts any more."""

    __table_args__ = (Index("ix_throttle_until", "until"),)
