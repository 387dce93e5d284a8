from datetime import datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Preference(Base):
    """A user's switch for a channel: for one category, or for all (`*`). No row: on."""

    __tablename__ = "preference"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    category: Mapped[str] = mapped_column(primary_key=True)
    enabled: Mapped[bool]
    updated_at: Mapped[datetime]


class QuietHours(Base):
    """Hours, by the clock of the user's place, in which nothing that can wait is sent. No row: none."""

    __tablename__ = "quiet_hours"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    start: Mapped[time]
    end: Mapped[time]


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
