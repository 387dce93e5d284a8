"""What was read, what arrived, and what is left to read."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from chat_service.schemas.fields import Seq
from chat_service.schemas.people import Person
from libs.shapes import Body, Resource


class Read(Body):
    seq: Annotated[Seq, Field(description="The last message that was read.")]
    private: bool = Field(default=False, description="Others are not told.")


class Unread(Body):
    seq: Annotated[Seq, Field(description="The first message that shall be unread.")]


class Delivered(Body):
    seq: Annotated[Seq, Field(description="The last message that arrived.")]


class Watermark(Resource):
    """How far the caller has read."""

    conversation_id: UUID
    last_read_seq: int
    unread_count: int
    mention_count: int


class UnreadTotal(Resource):
    total_unread: int
    conversations_with_unread: int
    mentions: int
    muted_unread: Annotated[int, Field(description="Unread messages of muted conversations.")]


class MessageReceipts(Resource):
    """`total` counts who was a member when the message was sent and is still; its sender is not among them."""

    message_id: UUID
    seq: int
    status: Annotated[Literal["sent", "delivered", "read"], Field(description="What holds for all of them.")]
    total: int
    delivered_count: int
    read_count: int
    readers: list[Person]
    next: str | None
