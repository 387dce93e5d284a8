"""Second factors, codes that were sent, and what slows down who guesses."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from auth_service.models.declarative import Base


class Totp(Base):
    """An authenticator app. The secret is encrypted for `totp:<user>`; a code counts once."""

    __tablename__ = "totp"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    secret: Mapped[str]
    # The time step of the last code that was accepted: the same and earlier ones are spent.
    last_counter: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]


class RecoveryCode(Base):
    __tablename__ = "recovery_codes"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    # The first part of the code in the clear, so that one hash is computed and not ten.
    lookup: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[str]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Passkey(Base):
    """A WebAuthn credential. `user_handle`, which authenticators store, is the user's id."""

    __tablename__ = "passkeys"
    __table_args__ = (Index("ix_passkeys_user_id", "user_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    credential_id: Mapped[bytes] = mapped_column(unique=True)
    public_key: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)
    transports: Mapped[list[str]]
    aaguid: Mapped[str]
    backup_eligible: Mapped[bool]
    backed_up: Mapped[bool]
    name: Mapped[str]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class Ceremony(Base):
    """Something that was begun and must be ended by the same person, once and soon: a passkey challenge, or a visit to
    a sign-in provider. `data` has what the end is compared with."""

    __tablename__ = "ceremonies"
    __table_args__ = (Index("ix_ceremonies_expires_at", "expires_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    purpose: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # SHA-256 of the secret that the browser which began it holds.
    hash: Mapped[bytes | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class PhoneCode(Base):
    """A code that was asked for. `code` is a keyed hash; None: nothing was sent, and no code opens it."""

    __tablename__ = "phone_codes"
    __table_args__ = (
        Index("ix_phone_codes_phone", "phone", "created_at"),
        Index("ix_phone_codes_ip", "ip", "created_at"),
        Index("ix_phone_codes_created_at", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    phone: Mapped[str]
    purpose: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    code: Mapped[bytes | None]
    failures: Mapped[int]
    # The country calling code, by which spending is bounded.
    prefix: Mapped[str]
    ip: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Throttle(Base):
    """Failures in a row of one kind for one key, and until when the next try must wait."""

    __tablename__ = "throttles"
    __table_args__ = (Index("ix_throttles_last_at", "last_at"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime]
    until: Mapped[datetime]


class Quota(Base):
    """How often something was done in a window of time that began with its first use."""

    __tablename__ = "quotas"
    __table_args__ = (Index("ix_quotas_ends_at", "ends_at"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    used: Mapped[int]
    ends_at: Mapped[datetime]
