"""Work that is still to be done, and what was done already."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, LargeBinary, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from chat_service.models.declarative import Base, Moment


class Erasure(Base):
    """Somebody whose account is gone, while the worker erases what they wrote: up to which conversation it came."""

    __tablename__ = "erasure"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    done_to: Mapped[UUID]
    asked_at: Mapped[datetime] = mapped_column(Moment)


class Dispatch(Base):
    """Events that the worker has not looked at yet: were they published, and who was away?"""

    __tablename__ = "dispatch"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    conversation_id: Mapped[UUID]
    event_seq: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Moment, server_default=func.now())


class IdempotencyKey(Base):
    """The answer of a request that carried an `Idempotency-Key`, for a day."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index(None, "created_at"),)

    owner_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    answer: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(Moment)
