from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from notify_service.models.declarative import Base


class ProviderTemplate(Base):
    """A template that a provider keeps for an account, and what has to be filled in."""

    __tablename__ = "provider_template"

    account: Mapped[str] = mapped_column(ForeignKey("account.name", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    language: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    """In the provider's words; only `APPROVED` may be sent."""
    category: Mapped[str]
    header: Mapped[str | None]
    """`text`, `image`, `video`, `document` or `location`, where there is something to fill in."""
    body: Mapped[int]
    """Values of its text."""
    buttons: Mapped[list[int]] = mapped_column(JSONB)
    """The places of those that have something to fill in."""
    beyond: Mapped[str | None]
    """What it needs that a content cannot say."""
    updated_at: Mapped[datetime]


class TemplateSync(Base):
    """When an account's templates were, and will be, asked for."""

    __tablename__ = "template_sync"

    account: Mapped[str] = mapped_column(ForeignKey("account.name", ondelete="CASCADE"), primary_key=True)
    next_at: Mapped[datetime]
    synced_at: Mapped[datetime | None]
    """None: never yet, so nobody knows which there are."""
    fault: Mapped[str | None]
    """Why the last try has failed."""
