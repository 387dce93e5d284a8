from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Told(Base):
    """Something that a provider has told us, kept before it is answered. Once for all the times that it is told."""

    __tablename__ = "told"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account: Mapped[str]
    dedupe_key: Mapped[str]
    event: Mapped[dict[str, Any] | None]
    """`domain.channels.inbound.Event`; gone once it has had its effect."""
    received_at: Mapped[datetime]
    next_at: Mapped[datetime | None]
    """When to look at it; none: it is done with."""
    attempts: Mapped[int] = mapped_column(server_default="0")
    outcome: Mapped[str | None]

    __table_args__ = (
        Index("uq_told_dedupe", "account", "dedupe_key", unique=True),
        Index("ix_told_due", "next_at", "id", postgresql_where=text("next_at IS NOT NULL")),
        Index("ix_told_received_at", "received_at"),
    )


class Thread(Base):
    """One account and one person who has written to it, or was written to."""

    __tablename__ = "thread"

    account: Mapped[str] = mapped_column(primary_key=True)
    peer: Mapped[str] = mapped_column(primary_key=True)
    """As the provider names the person."""
    alias: Mapped[str | None]
    """Another address of the same person, as a phone number beside an id that hides it."""
    name: Mapped[str | None]
    last_inbound_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_thread_alias", "account", "alias", postgresql_where=text("alias IS NOT NULL")),
        Index("ix_thread_last_inbound_at", "account", "last_inbound_at"),
    )


class InboundMessage(Base):
    """What somebody wrote to one of our accounts."""

    __tablename__ = "inbound_message"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account: Mapped[str]
    peer: Mapped[str]
    provider_id: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    media: Mapped[dict[str, Any] | None]
    text: Mapped[str | None]
    at: Mapped[datetime]
    received_at: Mapped[datetime]

    __table_args__ = (
        Index("uq_inbound_message_provider", "account", "provider_id", unique=True),
        Index("ix_inbound_message_thread", "account", "peer", "at", "id"),
    )


class Polling(Base):
    """How far an account has been asked what happened; stored together with what it said."""

    __tablename__ = "polling"

    account: Mapped[str] = mapped_column(primary_key=True)
    cursor: Mapped[str | None]
    """The provider's own; see its `Source`."""
    fault: Mapped[str | None]
    """Why the last look has failed; none: it has not."""
    polled_at: Mapped[datetime]


class InboundFile(Base):
    """A file of a message that somebody wrote: to be fetched from the provider, fetched, or given up."""

    __tablename__ = "inbound_file"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account: Mapped[str]
    peer: Mapped[str]
    message_id: Mapped[UUID]
    item: Mapped[dict[str, Any]]
    """What the provider said of it."""
    sha256: Mapped[str | None]
    """Of its content, once that is here."""
    reason: Mapped[str | None]
    """Why it was not to be had, last."""
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime | None]
    """When it is fetched; none: it is here, or was given up."""
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_inbound_file_due", "next_at", postgresql_where=text("next_at IS NOT NULL")),
        Index("ix_inbound_file_thread", "account", "peer", "id"),
        Index("ix_inbound_file_content", "sha256", postgresql_where=text("sha256 IS NOT NULL")),
    )


class InboundMedia(Base):
    """The content of files that people have sent: once, however often it was sent and to whom."""

    __tablename__ = "inbound_media"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    """By its bytes."""
    size: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary)
    kept_at: Mapped[datetime]
    """When somebody sent it last."""

    __table_args__ = (Index("ix_inbound_media_kept_at", "kept_at"),)
