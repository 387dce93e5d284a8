"""Events of chat."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from libs.contracts.events import EventData


class MessageSent(EventData):
    """A message that some members could not see at once. One event names at most 500 of them.

    Left out is who wants to hear nothing of it: who has muted the conversation, asked for mentions alone and is not
    mentioned, does not follow the thread that it is in, or has blocked its sender.
    """

    type: ClassVar[str] = "MessageSent"
    message_id: UUID
    conversation_id: UUID
    conversation_type: str
    conversation_name: str
    seq: int
    sender_id: UUID
    sender_name: str
    excerpt: str
    """The first 200 characters; of a message without words the name of its first file."""
    sent_at: datetime
    away: list[UUID]
    """Members without a live connection at the time of sending."""
    mentioned: list[UUID] = Field(default_factory=list)
    """Those of them whom the message names, or reaches with `all`."""
