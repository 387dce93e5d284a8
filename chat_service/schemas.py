"""The request and answer shapes of chat."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from libs.shapes import Body, Moment, Resource, Text

Name = Annotated[Text, Field(max_length=200)]
Description = Annotated[Text, Field(max_length=2000)]
MAX_PARTICIPANTS = 1000
_MOST_SEQ = 1 << 62


class Person(Resource):
    """`username` and `display_name` are null for somebody whose profile has not arrived yet."""

    id: UUID
    username: str | None
    display_name: str | None
    avatar_url: str | None


class Participant(Person):
    role: Literal["owner", "admin", "member"]


class Quote(Resource):
    """The message that was replied to; `content` is cut after 200 characters."""

    id: UUID
    seq: int
    sender_id: UUID
    content: str


class Message(Resource):
    """`seq` counts the messages of a conversation: 1, 2, 3 ... without holes."""

    id: UUID
    conversation_id: UUID
    seq: int
    sender: Person
    message_type: str
    content: str
    reply_to: Quote | None
    client_msg_id: UUID
    created_at: Moment


Seq = Annotated[int | None, Field(ge=0, lt=_MOST_SEQ)]


class Edges(BaseModel):
    """Which messages of a conversation: those before, after or on both sides of a `seq`."""

    before: Seq = None
    after: Seq = None
    around: Seq = None


class MessageCreate(Body):
    content: Annotated[
        Text,
        Field(min_length=1, max_length=10_000, description="Any text but blank.", examples=["Hello"]),
    ]
    message_type: Literal["text"] = "text"
    client_msg_id: UUID | None = Field(
        None, description="Sending the same one again stores nothing and gives the stored message, however much later."
    )
    reply_to: UUID | None = Field(None, description="A message of the same conversation to quote.")


class Conversation(Resource):
    """`event_seq` and `epoch` are the position to follow the conversation from over a socket.

    `participants` are the first ones only, 100 here and 10 in a list; `member_count` says how many there are.
    """

    id: UUID
    number: int
    conversation_type: Literal["direct", "group", "channel"]
    name: str
    description: str
    image_url: str | None
    status: Literal["active", "archived", "closed"]
    version: int
    member_count: int
    participants: list[Participant]
    role: Literal["owner", "admin", "member"]
    unread_count: int
    last_read_seq: int
    last_message: Message | None
    event_seq: int
    epoch: int
    created_by: UUID
    created_at: Moment
    updated_at: Moment


class ConversationCreate(Body):
    conversation_type: Literal["direct", "group", "channel"]
    participants: Annotated[list[UUID], Field(max_length=MAX_PARTICIPANTS)] = Field(
        description="The others; the caller is always in. Exactly one for `direct`."
    )
    name: Name = ""
    description: Description = ""


class ConversationChange(Body):
    """Only what is sent is changed."""

    name: Name | None = None
    description: Description | None = None
    version: int | None = Field(None, description="The version that was read; 409 when there is a newer one.")

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        if any(getattr(self, field) is None for field in self.model_fields_set):
            raise ValueError("A field that is sent cannot be null.")
        return self

    def changes(self) -> dict[str, str]:
        return self.model_dump(exclude_unset=True, exclude={"version"})


class Member(Resource):
    user: Person
    role: Literal["owner", "admin", "member"]
    joined_at: Moment
    last_read_seq: int


class MembersAdd(Body):
    user_ids: Annotated[list[UUID], Field(min_length=1, max_length=MAX_PARTICIPANTS)]


class Read(Body):
    seq: int = Field(ge=0, lt=_MOST_SEQ, description="The last message that was read.")


class Watermark(Resource):
    """How far the caller has read."""

    conversation_id: UUID
    last_read_seq: int
    unread_count: int


class Ticket(Resource):
    """Opens one socket within `expires_in` seconds."""

    ticket: str
    expires_in: int
