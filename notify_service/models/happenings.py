from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Happening(Base):
    """Something that customers' endpoints listen to, until it is in their queues: seconds."""

    __tablename__ = "happening"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    """Given while the row that it is about is locked, so it orders what happens to one thing."""
    type: Mapped[str]
    delivery_id: Mapped[UUID | None]
    """What it is about, if that is a delivery. If that is erased first, nobody hears of it."""
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime]
