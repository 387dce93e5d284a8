"""Messages and what people do with them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from chat_service.models.declarative import Base, Moment


class Message(Base):
    """No foreign key to the conversation: the statement that inserts holds its row, and each check would cost."""

    __tablename__ = "message"
    __table_args__ = (
        # Every index of this table is paid for by each message. Ids are made here and are unique by that.
        PrimaryKeyConstraint("conversation_id", "seq"),
        UniqueConstraint("conversation_id", "sender_id", "client_msg_id"),
        Index(None, "id"),
        # For names that are to be forgotten.
        Index("ix_message_forwarded", "conversation_id", postgresql_where=text("forwarded_from IS NOT NULL")),
        # Unread messages are counted by subtraction; these do not count.
        Index("ix_message_uncounted", "conversation_id", "seq", postgresql_where=text("uncounted")),
        Index(
            "ix_message_thread",
            "conversation_id",
            "thread_root_id",
            "thread_seq",
            postgresql_where=text("thread_root_id IS NOT NULL"),
        ),
        Index(
            "ix_message_threads",
            "conversation_id",
            text("last_reply_at DESC"),
            text("id DESC"),
            postgresql_where=text("reply_seq > 0"),
        ),
        CheckConstraint("importance IN ('normal', 'important', 'urgent')", name="importance"),
        CheckConstraint("priority IN ('low', 'normal', 'high')", name="priority"),
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
    # A reply in a thread: the message that began it, and the number among its replies.
    thread_root_id: Mapped[UUID | None]
    thread_seq: Mapped[int | None] = mapped_column(BigInteger)
    # Shown in its thread alone, not in the conversation.
    thread_only: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    # Of a message that began a thread: the number of its last reply.
    reply_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    last_reply_at: Mapped[datetime | None] = mapped_column(Moment)
    # Deleted, or `thread_only`.
    uncounted: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    importance: Mapped[str] = mapped_column(Text, server_default=text("'normal'"))
    priority: Mapped[str] = mapped_column(Text, server_default=text("'normal'"))
    # What the message showed when it was sent: files, names of whom it mentions, where it came from.
    attachments: Mapped[list[dict[str, object]] | None] = mapped_column(JSONB)
    mentions: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    forwarded_from: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    # From emoji to the number of people; the rows of `reaction` say who.
    reactions: Mapped[dict[str, int] | None] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(Moment)
    edited_at: Mapped[datetime | None] = mapped_column(Moment)
    deleted_at: Mapped[datetime | None] = mapped_column(Moment)


class MessageSearch(Base):
    """What a message can be found by. Of a deleted message there is no row."""

    __tablename__ = "message_search"
    __table_args__ = (
        PrimaryKeyConstraint("conversation_id", "message_id"),
        Index(None, "tokens", postgresql_using="gin"),
    )

    conversation_id: Mapped[UUID]
    message_id: Mapped[UUID]
    # Of the message, when it was indexed.
    version: Mapped[int] = mapped_column(Integer)
    seq: Mapped[int] = mapped_column(BigInteger)
    sent_at: Mapped[datetime] = mapped_column(Moment)
    tokens: Mapped[str] = mapped_column(TSVECTOR)


class Revision(Base):
    """What a message said before an edit."""

    __tablename__ = "revision"
    __table_args__ = (PrimaryKeyConstraint("conversation_id", "message_id", "version"),)

    conversation_id: Mapped[UUID]
    message_id: Mapped[UUID]
    version: Mapped[int] = mapped_column(Integer)
    content: Mapped[str] = mapped_column(Text)
    # Who wrote these words, and when.
    editor_id: Mapped[UUID]
    written_at: Mapped[datetime] = mapped_column(Moment)


class Reaction(Base):
    __tablename__ = "reaction"
    __table_args__ = (
        PrimaryKeyConstraint("conversation_id", "message_id", "user_id", "emoji"),
        {"postgresql_partition_by": "HASH (conversation_id)"},
    )

    conversation_id: Mapped[UUID]
    message_id: Mapped[UUID]
    user_id: Mapped[UUID]
    emoji: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Moment)


class Pin(Base):
    __tablename__ = "pin"
    __table_args__ = (Index("ix_pin_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),)

    conversation_id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    pinned_by: Mapped[UUID]
    pinned_at: Mapped[datetime] = mapped_column(Moment)
    expires_at: Mapped[datetime | None] = mapped_column(Moment)


class SavedMessage(Base):
    __tablename__ = "saved_message"
    # For the day on which the message is deleted.
    __table_args__ = (Index(None, "message_id"),)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID]
    saved_at: Mapped[datetime] = mapped_column(Moment)


class HiddenMessage(Base):
    """Deleted for one person alone."""

    __tablename__ = "hidden_message"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    hidden_at: Mapped[datetime] = mapped_column(Moment)


class Mention(Base):
    """Rows for whom a message names, or reaches with `all` or `here`: counted above what each has read."""

    __tablename__ = "mention"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class ThreadMember(Base):
    """Who follows a thread, or has read in it."""

    __tablename__ = "thread_member"
    __table_args__ = (PrimaryKeyConstraint("conversation_id", "root_id", "user_id"), Index(None, "user_id"))

    conversation_id: Mapped[UUID]
    root_id: Mapped[UUID]
    user_id: Mapped[UUID]
    following: Mapped[bool] = mapped_column(Boolean)
    last_read_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class Attachment(Base):
    """A file. Its bytes lie in the object store; a message shows a copy of what is here."""

    __tablename__ = "attachment"
    __table_args__ = (
        Index("ix_attachment_owner_id", "owner_id"),
        Index("ix_attachment_message", "conversation_id", "message_id"),
        # Rows that share their bytes after forwarding.
        Index("ix_attachment_store_key", "store_key"),
        Index(
            "ix_attachment_unused", "created_at", postgresql_where=text("message_id IS NULL AND released_at IS NULL")
        ),
        Index("ix_attachment_released", "released_at", postgresql_where=text("released_at IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    # Null until a message shows it.
    conversation_id: Mapped[UUID | None]
    message_id: Mapped[UUID | None]
    # Where the bytes lie; several rows may share them after forwarding.
    store_key: Mapped[str] = mapped_column(Text)
    thumbnail_key: Mapped[str | None] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int | None] = mapped_column(Integer)
    height: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Moment)
    # Nobody may have it any more; the worker takes away row and bytes.
    released_at: Mapped[datetime | None] = mapped_column(Moment)


class Report(Base):
    """A message that somebody reported, as it was then: what is deleted later can still be judged."""

    __tablename__ = "report"
    __table_args__ = (
        UniqueConstraint("message_id", "reporter_id"),
        CheckConstraint("status IN ('open', 'resolved', 'dismissed')", name="status"),
        Index("ix_report_open", "id", postgresql_where=text("status = 'open'")),
        Index(None, "reporter_id", "created_at"),
        Index(None, "conversation_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID]
    message_id: Mapped[UUID]
    reporter_id: Mapped[UUID]
    reason: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    snapshot: Mapped[dict[str, object]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default=text("'open'"))
    created_at: Mapped[datetime] = mapped_column(Moment)
    resolved_by: Mapped[UUID | None]
    resolved_at: Mapped[datetime | None] = mapped_column(Moment)
    # What was done, and why.
    resolution: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
