"""Conversations and who is in them.

Everything of a conversation is keyed and, where it grows with use, hash-partitioned by its id: a message, its event and
its members lie in partitions of the same number, and each unique key contains the partition key. `conversation` itself
is one table, for its `number` is unique over all.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Identity, Index, Integer, PrimaryKeyConstraint, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from chat_service.models.declarative import Base, Moment


class Conversation(Base):
    """Two counters under one row lock: `event_seq` counts every durable change, `message_seq` messages alone.

    No index holds a counter or `last_message_at`, so the update of every message stays on its page (HOT).
    """

    __tablename__ = "conversation"
    __table_args__ = (
        CheckConstraint("type IN ('direct', 'group', 'channel')", name="type"),
        CheckConstraint("status IN ('active', 'archived', 'closed')", name="status"),
        CheckConstraint("history IN ('all', 'since_joining')", name="history"),
        # What anybody may find and join.
        Index("ix_conversation_public", "number", postgresql_where=text("NOT is_private AND deleted_at IS NULL")),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    event_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    message_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # Changes when the history was restored from a backup or cut: positions of another epoch mean nothing.
    epoch: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    member_count: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    type: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text, server_default=text("''"))
    description: Mapped[str] = mapped_column(Text, server_default=text("''"))
    image_url: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[UUID]
    status: Mapped[str] = mapped_column(Text, server_default=text("'active'"))
    is_private: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    allow_file_sharing: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    allow_voice_messages: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    # What somebody sees of the time before joining.
    history: Mapped[str] = mapped_column(Text, server_default=text("'all'"))
    # Seconds between two messages of one member; 0: no slow mode.
    slow_seconds: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    last_message_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime] = mapped_column(Moment)
    deleted_at: Mapped[datetime | None] = mapped_column(Moment)


class Member(Base):
    __tablename__ = "member"
    __table_args__ = (
        PrimaryKeyConstraint("conversation_id", "user_id"),
        Index(None, "user_id"),
        CheckConstraint("notify IN ('all', 'mentions', 'none')", name="notify"),
        CheckConstraint("role IN ('owner', 'admin', 'moderator', 'member', 'guest', 'read_only')", name="role"),
        {"postgresql_partition_by": "HASH (conversation_id)"},
    )

    conversation_id: Mapped[UUID]
    user_id: Mapped[UUID]
    role: Mapped[str] = mapped_column(Text)
    # The conversation's message_seq on joining: what came before is not unread.
    joined_seq: Mapped[int] = mapped_column(BigInteger)
    # The same in events: where the history of somebody who sees none from before begins.
    joined_event_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    last_read_seq: Mapped[int] = mapped_column(BigInteger)
    # What others are told: behind `last_read_seq` for who reads in private, before it after "mark as unread".
    shown_read_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    last_delivered_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    last_sent_at: Mapped[datetime | None] = mapped_column(Moment)
    # The other one of a direct conversation has blocked this member.
    barred: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    muted_until: Mapped[datetime | None] = mapped_column(Moment)
    notify: Mapped[str] = mapped_column(Text, server_default=text("'all'"))
    joined_at: Mapped[datetime] = mapped_column(Moment)
    # When something last changed that is this member's alone: for devices that were off.
    touched_at: Mapped[datetime | None] = mapped_column(Moment)


class Event(Base):
    """The log that clients resume from. A message's events have no payload: the message is read, as it is by then."""

    __tablename__ = "event"
    __table_args__ = (
        PrimaryKeyConstraint("conversation_id", "seq"),
        {"postgresql_partition_by": "HASH (conversation_id)"},
    )

    conversation_id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str] = mapped_column(Text)
    message_id: Mapped[UUID | None]
    actor_id: Mapped[UUID]
    payload: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(Moment)


class DirectPair(Base):
    """Makes the direct conversation of two people unique."""

    __tablename__ = "direct_pair"
    __table_args__ = (CheckConstraint("user_low < user_high", name="order"),)

    user_low: Mapped[UUID] = mapped_column(primary_key=True)
    user_high: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID]
