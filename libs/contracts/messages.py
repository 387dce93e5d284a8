"""Events of chat."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from libs.contracts.events import EventData


class MessageSent(EventData):
    """A message that some members could not see at once. One event names at most 500 of them."""

    type: ClassVar[str] = "MessageSent"
    message_id: UUID
    conversation_id: UUID
    conversation_type: str
    conversation_name: str
    seq: int
    sender_id: UUID
    sender_name: str
    excerpt: str
    """The first 200 characters."""
    sent_at: datetime
    away: list[UUID]
    """Members without a live connection at the time of sending."""
