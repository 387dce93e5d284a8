"""Messages of all conversations in one list."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chat_service.schemas.fields import ConversationType, When
from chat_service.schemas.messages import Message
from libs.paging import Page


class SeenMessage(Message):
    """A message, and what it is to the caller. `status` of one's own message is what all others have done with it."""

    status: Literal["sent", "delivered", "read"]
    is_read: bool
    my_reactions: list[str]
    saved: bool


class MessageFilters(BaseModel):
    model_config = ConfigDict(extra="ignore")

    conversation: UUID | None = None
    sender: UUID | None = None
    message_type: Literal["text", "image", "file", "audio", "video", "system"] | None = None
    is_read: bool | None = None
    is_important: bool | None = None
    created_at__gte: When | None = None
    created_at__lte: When | None = None
    created_at__date: date | None = None
    conversation__conversation_type: ConversationType | None = None
    count: Annotated[bool, Field(description="Also says how many there are.")] = False


class MessagePage(Page[SeenMessage]):
    """`anchor` is the `seq` in the middle, where a message or the first unread was asked for and is there."""

    anchor: int | None = None
