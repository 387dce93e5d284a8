"""Where people are and whom they know: what finding others needs. Presence, contacts and blocks are chat's; auth keeps
what chat has told."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Double, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from auth_service.models.declarative import Base


class Location(Base):
    """Where somebody said they are, to three decimals (about 100 m), for a day."""

    __tablename__ = "locations"
    __table_args__ = (
        Index("ix_locations_place", "latitude", "longitude"),
        Index("ix_locations_expires_at", "expires_at"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    latitude: Mapped[float] = mapped_column(Double)
    longitude: Mapped[float] = mapped_column(Double)
    shared_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Names(Base):
    """What people are found by, folded, beside `users` so that a sign-in does not read it. `grams` are all runs of two
    and three characters: with an index on them any part of a name is found without an extension of PostgreSQL."""

    __tablename__ = "names"
    __table_args__ = (
        Index("ix_names_username", "username"),
        Index("ix_names_grams", "grams", postgresql_using="gin"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    # Compared byte by byte, so that the index finds beginnings.
    username: Mapped[str] = mapped_column(Text(collation="C"))
    full_name: Mapped[str]
    grams: Mapped[list[str]]


class Presence(Base):
    __tablename__ = "presence"
    __table_args__ = (
        Index("ix_presence_last_seen_at", "last_seen_at"),
        Index("ix_presence_online", "user_id", postgresql_where=text("online")),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    online: Mapped[bool]
    last_seen_at: Mapped[datetime]


class Contact(Base):
    """Two people who accepted each other. One row each way."""

    __tablename__ = "contacts"
    __table_args__ = (Index("ix_contacts_contact_id", "contact_id"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)


class Block(Base):
    """Who wants to see nothing of whom."""

    __tablename__ = "blocks"
    __table_args__ = (Index("ix_blocks_blocked_id", "blocked_id"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    blocked_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
