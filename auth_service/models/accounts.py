"""People, what they sign in with, and what was sent to them to prove an address."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, false, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from auth_service.models.declarative import Base

ROLES = ("user", "support", "moderator", "admin")


class User(Base):
    """A person. What one signs in with is in `identifiers` and `passwords`."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'active', 'suspended', 'deleted')", name="status"),
        CheckConstraint(f"roles <@ ARRAY{list(ROLES)}::text[]", name="roles"),
        # Registrations that nobody confirmed; the worker looks for old ones.
        Index("ix_users_pending", "created_at", postgresql_where=text("status = 'pending'")),
        CheckConstraint("direct_messages IN ('everyone', 'contacts')", name="direct_messages"),
        Index("ix_users_deletion_at", "deletion_at", postgresql_where=text("deletion_at IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    # pending: registered where addresses must be confirmed first, and not confirmed yet. No service knows it so far.
    status: Mapped[str]
    roles: Mapped[list[str]]
    first_name: Mapped[str] = mapped_column(server_default="")
    last_name: Mapped[str] = mapped_column(server_default="")
    bio: Mapped[str] = mapped_column(server_default="")
    avatar_url: Mapped[str | None]
    date_of_birth: Mapped[date | None]
    language: Mapped[str] = mapped_column(server_default="en")
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    # `privacy` says who sees what, `preferences` how the client looks; their shapes are in the schemas.
    privacy: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    preferences: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    direct_messages: Mapped[str] = mapped_column(server_default="everyone")
    # Countries that its owner or an administrator lets this account be used from; None: all.
    allowed_countries: Mapped[list[str] | None]
    must_change_password: Mapped[bool] = mapped_column(server_default=false())
    suspended_reason: Mapped[str | None]
    # When the account and everything about it is erased, if nobody signs in before.
    deletion_at: Mapped[datetime | None]
    # Grows with every change of the profile or of an identifier; it is the ETag and orders the events.
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    identifiers: Mapped[list["Identifier"]] = relationship(lazy="raise", passive_deletes=True)

    def identifier(self, kind: str) -> "Identifier | None":
        return next((i for i in self.identifiers if i.kind == kind), None)

    def _value(self, kind: str) -> str | None:
        found = self.identifier(kind)
        return found.value if found else None

    def _verified(self, kind: str) -> bool:
        found = self.identifier(kind)
        return found is not None and found.verified_at is not None

    @property
    def username(self) -> str:
        return self._value("username") or ""

    @property
    def email(self) -> str | None:
        return self._value("email")

    @property
    def email_verified(self) -> bool:
        return self._verified("email")

    @property
    def phone_number(self) -> str | None:
        return self._value("phone")

    @property
    def phone_verified(self) -> bool:
        return self._verified("phone")

    @property
    def is_verified(self) -> bool:
        return self.email_verified or self.phone_verified

    @property
    def display_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.username


class Identifier(Base):
    """A name that its owner can sign in with.

    `value_norm` is unique over all kinds, so that one sign-in field for any of them is never ambiguous.
    """

    __tablename__ = "identifiers"
    __table_args__ = (CheckConstraint("kind IN ('username', 'email', 'phone')", name="kind"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    value_norm: Mapped[str] = mapped_column(unique=True)
    verified_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class Password(Base):
    __tablename__ = "passwords"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    hash: Mapped[str]
    changed_at: Mapped[datetime]


class OneTimeToken(Base):
    """A link that was sent to somebody. Only its SHA-256 is kept: who reads this table can use none of them."""

    __tablename__ = "one_time_tokens"
    __table_args__ = (
        Index("ix_one_time_tokens_user_id", "user_id", "created_at"),
        Index("ix_one_time_tokens_expires_at", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[str]
    hash: Mapped[bytes] = mapped_column(unique=True)
    # What the link proves, as the address that it went to: a link for an address that was replaced proves nothing.
    target: Mapped[str]
    # What the link does besides, as the address that an undo link brings back.
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ExternalIdentity(Base):
    """An account elsewhere that its owner signs in with. Known by the provider's own id, never by an address."""

    __tablename__ = "identities"
    __table_args__ = (
        UniqueConstraint("provider", "subject"),
        Index("ix_identities_user_id", "user_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    provider: Mapped[str]
    subject: Mapped[str]
    # As the provider said at the last sign-in; shown to the owner, proof of nothing.
    email: Mapped[str | None]
    linked_at: Mapped[datetime]
    last_used_at: Mapped[datetime]


class Export(Base):
    """A copy of everything that an account has, made by the worker, encrypted, and kept for a week."""

    __tablename__ = "exports"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'ready', 'failed')", name="state"),
        Index("ix_exports_user_id", "user_id", "id"),
        Index("ix_exports_waiting", "id", postgresql_where=text("state = 'waiting'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    state: Mapped[str]
    document: Mapped[str | None]
    requested_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]
