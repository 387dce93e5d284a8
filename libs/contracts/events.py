"""The envelope of an event, and the base of what it carries."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class EventData(BaseModel):
    """A fact, in the past tense. Unknown fields are ignored: a producer may be newer than its consumer."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    type: ClassVar[str]


class Event(BaseModel):
    """`position` counts the events of one producer: 1, 2, 3 ... without holes, in the order of their relaying."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: UUID
    type: str
    producer: str
    position: int
    occurred_at: datetime
    data: dict[str, object]


class EventPage(BaseModel):
    """Answer of `/internal/events?after=`. `head` is the position of the newest event."""

    events: list[Event]
    head: int
