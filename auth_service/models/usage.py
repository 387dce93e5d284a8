"""How often the API was called, as the gateway counted it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from auth_service.models.declarative import Base


class ApiUsage(Base):
    """Calls of one user below one route in one hour. `latency` has the calls of each class of answer times, whose
    bounds are those of `libs.contracts.usage`; `micros` is the sum of all answer times."""

    __tablename__ = "api_usage"
    __table_args__ = (Index("ix_api_usage_hour", "hour"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[int] = mapped_column(BigInteger)
    micros: Mapped[int] = mapped_column(BigInteger)
    latency: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))


class CountedBatch(Base):
    """A batch of the gateway that is in `api_usage` already."""

    __tablename__ = "counted_batches"
    __table_args__ = (Index("ix_counted_batches_counted_at", "counted_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    counted_at: Mapped[datetime]
