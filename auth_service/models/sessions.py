"""Sign-ins, the devices they came from, their ends, and tokens for programs."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, false, text
from sqlalchemy.orm import Mapped, mapped_column

from auth_service.models.declarative import Base


class Device(Base):
    """A device that a user has signed in on before, known by a secret that it keeps. Only its SHA-256 is here."""

    __tablename__ = "devices"
    __table_args__ = (Index("ix_devices_user_id", "user_id", "last_seen_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]


class Session(Base):
    """One sign-in on one device. The refresh token is computed from this row and stored nowhere."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_id", "user_id", "id"),
        Index("ix_sessions_expires_at", "expires_at"),
        Index("ix_sessions_device_id", "device_id"),
        Index("ix_sessions_actor_id", "actor_id", postgresql_where=text("actor_id IS NOT NULL")),
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
    # When its owner proved last who they are; sensitive changes ask for a proof of the last five minutes.
    authenticated_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    # In cookie mode the tokens are never shown to scripts.
    cookie: Mapped[bool] = mapped_column(server_default=false())
    device_id: Mapped[UUID | None] = mapped_column(ForeignKey("devices.id", ondelete="SET NULL"))
    # The member of staff who acts as this user.
    actor_id: Mapped[UUID | None]
    ip: Mapped[str | None]
    country: Mapped[str | None]
    user_agent: Mapped[str]
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    idle_expires_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None]


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


class ApiToken(Base):
    """A token for programs, shown once. Only its SHA-256 is kept."""

    __tablename__ = "api_tokens"
    __table_args__ = (Index("ix_api_tokens_user_id", "user_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    hash: Mapped[bytes] = mapped_column(unique=True)
    # The last characters, by which its owner recognises it.
    ending: Mapped[str]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
