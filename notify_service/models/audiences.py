from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class Audience(Base):
    """A list of recipients on one channel. The counts are those of all that was given: `total` is the sum of the
    others, and `valid` the number of members."""

    __tablename__ = "audience"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    channel: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="open")
    """`open`: nothing was given yet. `ready`: somebody is in it. `failed`: of all that was given nothing was valid."""
    columns: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))
    """The names of the variables that members may have."""
    total: Mapped[int] = mapped_column(server_default="0")
    valid: Mapped[int] = mapped_column(server_default="0")
    invalid: Mapped[int] = mapped_column(server_default="0")
    duplicate: Mapped[int] = mapped_column(server_default="0")
    lines: Mapped[int] = mapped_column(server_default="0")
    """Of the file, and of what was added after it, one for each: where the next one is counted from."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("state IN ('open', 'ready', 'failed')", name="state"),
        Index("ix_audience_owner", "owner", "id"),
    )


class AudienceMember(Base):
    """A recipient, by the one form of the address; each address is once in an audience."""

    __tablename__ = "audience_member"

    audience_id: Mapped[UUID] = mapped_column(ForeignKey("audience.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Grows in the order in which they were given. There may be gaps."""
    address: Mapped[str]
    user_id: Mapped[UUID | None]
    """Who it is, when that is a user of ours."""
    variables: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))

    __table_args__ = (
        # Of a hash: the subscription of a browser may be longer than what fits into an index.
        Index("ix_audience_member_address", "audience_id", text("hashtextextended(address, 0)")),
        Index("ix_audience_member_user", "user_id", postgresql_where=text("user_id IS NOT NULL")),
    )


class AudienceProblem(Base):
    """Why something that was given is not a member; the first thousand of an audience."""

    __tablename__ = "audience_problem"

    audience_id: Mapped[UUID] = mapped_column(ForeignKey("audience.id", ondelete="CASCADE"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    field: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    """What was given, cut short."""
    code: Mapped[str]
    message: Mapped[str]
