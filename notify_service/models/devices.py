from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Device(Base):
    """A browser or a phone on which a user wants to be told. Each address is one user's at a time."""

    __tablename__ = "device"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    channel: Mapped[str]
    account: Mapped[str] = mapped_column(ForeignKey("account.name", ondelete="CASCADE"))
    """Whose messages it takes: an address is good for the keys of one account."""
    address: Mapped[str]
    name: Mapped[str | None]
    """What its user calls it."""
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    """When it was registered last."""

    __table_args__ = (
        Index("uq_device_address", "channel", "address", unique=True),
        Index("ix_device_user", "user_id", "channel", "seen_at"),
        # Removed with its account.
        Index("ix_device_account", "account"),
    )
