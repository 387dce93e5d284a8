"""The tables of auth."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from libs import outbox
from libs.db import new_metadata

ROLES = ("user", "support", "moderator", "admin")


class Base(DeclarativeBase):
    metadata = new_metadata()
    type_annotation_map = {datetime: TIMESTAMP(timezone=True), str: Text, list[str]: ARRAY(Text)}  # noqa: RUF012


class User(Base):
    """A person. What one signs in with is in `identifiers` and `passwords`."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'active', 'suspended', 'deleted')", name="status"),
        CheckConstraint(f"roles <@ ARRAY{list(ROLES)}::text[]", name="roles"),
        # Registrations that nobody confirmed; the worker looks for old ones.
        Index("ix_users_pending", "created_at", postgresql_where=text("status = 'pending'")),
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


class Session(Base):
    """One sign-in on one device. The refresh token is computed from this row and stored nowhere."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_id", "user_id", "id"),
        Index("ix_sessions_expires_at", "expires_at"),
        # Every refresh updates a row. With room left in its page no index has to be touched.
        {"postgresql_with": {"fillfactor": 80}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # Which family of clients it was opened through; that decides its lifetimes for good.
    family: Mapped[str]
    salt: Mapped[bytes]
    counter: Mapped[int] = mapped_column(BigInteger)
    rotated_at: Mapped[datetime]
    window_started_at: Mapped[datetime]
    window_count: Mapped[int]
    amr: Mapped[list[str]]
    aal: Mapped[int] = mapped_column(SmallInteger)
    ip: Mapped[str | None]
    country: Mapped[str | None]
    user_agent: Mapped[str]
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    idle_expires_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None]


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
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Revocation(Base):
    """A session that ended, or an epoch before which a user's (or everyone's) access tokens are refused.

    Written in the transaction that ends the session; Redis is told afterwards. `published_at` is empty until the
    worker knows that it was.
    """

    __tablename__ = "revocations"
    __table_args__ = (
        CheckConstraint("kind IN ('session', 'user', 'everyone')", name="kind"),
        Index("ix_revocations_unpublished", "id", postgresql_where=text("published_at IS NULL")),
        Index("ix_revocations_created_at", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    subject: Mapped[UUID | None]
    epoch_ms: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]


outbox.add_tables(Base.metadata)
