"""The tables of chat.

Everything of a conversation is keyed and hash-partitioned by its id: a message, its event and its members lie in
partitions of the same number, and each unique key contains the partition key. `conversation` itself is one table, for
its `number` is unique over all.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from libs import consumer, outbox
from libs.db import new_metadata

Moment = DateTime(timezone=True)


class Base(DeclarativeBase):
    metadata = new_metadata()


class Conversation(Base):
    """Two counters under one row lock: `event_seq` counts every durable change, `message_seq` messages alone.

    No index holds a counter or `last_message_at`, so the update of every message stays on its page (HOT).
    """

    __tablename__ = "conversation"
    __table_args__ = (
        CheckConstraint("type IN ('direct', 'group', 'channel')", name="type"),
        CheckConstraint("status IN ('active', 'archived', 'closed')", name="status"),
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
    version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    last_message_at: Mapped[datetime | None] = mapped_column(Moment)
    created_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime] = mapped_column(Moment)


class Message(Base):
    """No foreign key to the conversation: the statement that inserts holds its row, and each check would cost."""

    __tablename__ = "message"
    __table_args__ = (
        PrimaryKeyConstraint("conversation_id", "id"),
        UniqueConstraint("conversation_id", "sender_id", "client_msg_id"),
        UniqueConstraint("conversation_id", "seq"),
        # For calls that know a message without its conversation.
        Index(None, "id"),
        CheckConstraint("octet_length(content) <= 40000", name="content"),
        {"postgresql_partition_by": "HASH (conversation_id)"},
    )

    conversation_id: Mapped[UUID]
    id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(BigInteger)
    event_seq: Mapped[int] = mapped_column(BigInteger)
    sender_id: Mapped[UUID]
    client_msg_id: Mapped[UUID]
    type: Mapped[str] = mapped_column(Text)
    content: Mapped[str] = mapped_column(Text)
    reply_to: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(Moment)


class Event(Base):
    """The log that clients resume from. A message's event has no payload: the message is read, as it is by then."""

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


class Member(Base):
    __tablename__ = "member"
    __table_args__ = (
        PrimaryKeyConstraint("conversation_id", "user_id"),
        Index(None, "user_id"),
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
        {"postgresql_partition_by": "HASH (conversation_id)"},
    )

    conversation_id: Mapped[UUID]
    user_id: Mapped[UUID]
    role: Mapped[str] = mapped_column(Text)
    # The conversation's message_seq on joining: what came before is not unread.
    joined_seq: Mapped[int] = mapped_column(BigInteger)
    last_read_seq: Mapped[int] = mapped_column(BigInteger)
    joined_at: Mapped[datetime] = mapped_column(Moment)


class DirectPair(Base):
    """Makes the direct conversation of two people unique."""

    __tablename__ = "direct_pair"
    __table_args__ = (CheckConstraint("user_low < user_high", name="order"),)

    user_low: Mapped[UUID] = mapped_column(primary_key=True)
    user_high: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID]


class Profile(Base):
    """What chat shows of a user; a copy of auth's, never replaced by an older version."""

    __tablename__ = "profile"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    username: Mapped[str] = mapped_column(Text)
    display_name: Mapped[str] = mapped_column(Text)
    avatar_url: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    # The account is gone: nobody makes a conversation with it, and a name of it stays nowhere.
    erased: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))


class Sighting(Base):
    """Whether somebody is here, and what of it auth was told."""

    __tablename__ = "sighting"
    __table_args__ = (
        Index("ix_sighting_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_sighting_online", "user_id", postgresql_where=text("online")),
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    online: Mapped[bool] = mapped_column(Boolean)
    last_seen_at: Mapped[datetime] = mapped_column(Moment)
    told_online: Mapped[bool | None] = mapped_column(Boolean)
    told_at: Mapped[datetime | None] = mapped_column(Moment)
    # When a change is to be told; null: nothing is.
    due_at: Mapped[datetime | None] = mapped_column(Moment)


class Erasure(Base):
    """Somebody whose account is gone, while the worker erases what they wrote: up to which conversation it came."""

    __tablename__ = "erasure"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    done_to: Mapped[UUID]
    asked_at: Mapped[datetime] = mapped_column(Moment)


class Dispatch(Base):
    """Events that the worker has not looked at yet: were they published, and who was away?"""

    __tablename__ = "dispatch"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    conversation_id: Mapped[UUID]
    event_seq: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Moment, server_default=func.now())


outbox.add_tables(Base.metadata)
consumer.add_tables(Base.metadata)
