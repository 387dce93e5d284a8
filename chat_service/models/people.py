"""People: what chat knows of them, who is here, and who knows whom."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from chat_service.models.declarative import Base, Moment


class Profile(Base):
    """What chat shows of a user; a copy of auth's, never replaced by an older version."""

    __tablename__ = "profile"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    # What the Rooms client calls people by.
    number: Mapped[int] = mapped_column(BigInteger, index=True)
    username: Mapped[str] = mapped_column(Text)
    display_name: Mapped[str] = mapped_column(Text)
    first_name: Mapped[str] = mapped_column(Text, server_default=text("''"))
    last_name: Mapped[str] = mapped_column(Text, server_default=text("''"))
    email: Mapped[str | None] = mapped_column(Text)
    avatar_url: Mapped[str | None] = mapped_column(Text)
    # Who may open a direct conversation with this user: `everyone` or `contacts`.
    direct_messages: Mapped[str] = mapped_column(Text, server_default=text("'everyone'"))
    privacy: Mapped[dict[str, object]] = mapped_column(JSONB, server_default=text("'{}'"))
    # Suspended by staff.
    suspended: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
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
    # Here, but every client of theirs says that nobody looks at it.
    idle: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    last_seen_at: Mapped[datetime] = mapped_column(Moment)
    told_online: Mapped[bool | None] = mapped_column(Boolean)
    told_at: Mapped[datetime | None] = mapped_column(Moment)
    # When a change is to be told; null: nothing is.
    due_at: Mapped[datetime | None] = mapped_column(Moment)


class Invisible(Base):
    """People who are never shown as online."""

    __tablename__ = "invisible"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(Moment)


class Doubt(Base):
    """People of whom others may see more now, or less: those who watch them are to look again."""

    __tablename__ = "doubt"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)


class Block(Base):
    __tablename__ = "block"
    __table_args__ = (Index(None, "blocked_id"),)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    blocked_id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(Moment)


class Interest(Base):
    """A friend request."""

    __tablename__ = "interest"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'accepted', 'declined', 'withdrawn', 'expired')", name="status"),
        CheckConstraint("from_user_id <> to_user_id", name="two_people"),
        Index(None, "from_user_id", "created_at"),
        Index(None, "to_user_id", "created_at"),
        # Of two people one request is open, whoever made it, or they are friends.
        Index(
            "uq_interest_pair",
            text("least(from_user_id, to_user_id)"),
            text("greatest(from_user_id, to_user_id)"),
            unique=True,
            postgresql_where=text("status IN ('pending', 'accepted')"),
        ),
        Index("ix_interest_expires_at", "expires_at", postgresql_where=text("status = 'pending'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    from_user_id: Mapped[UUID]
    to_user_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(Text, server_default=text("'pending'"))
    message: Mapped[str] = mapped_column(Text, server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(Moment)
    responded_at: Mapped[datetime | None] = mapped_column(Moment)
    expires_at: Mapped[datetime] = mapped_column(Moment)
