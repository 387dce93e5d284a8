"""Messages."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from chat_service.schemas.fields import Seq
from chat_service.schemas.people import Person
from libs.shapes import Body, Moment, Resource, Text


class Quote(Resource):
    """The message that was replied to; `content` is cut after 200 characters, and empty once it is deleted."""

    id: UUID
    seq: int
    sender_id: UUID
    content: str
    deleted: bool


class Thread(Resource):
    """Of a reply: where its thread begins, and `seq`, its number there. Of the message that began it: `last_seq`."""

    root_id: UUID
    seq: int | None
    also_in_conversation: bool = Field(description="Of a reply: whether it is shown outside its thread, too.")
    last_seq: int
    last_reply_at: Moment | None


class ReactionCount(Resource):
    emoji: str
    count: int


class Mentions(Resource):
    """Whom the message names; `all` reaches every member, `here` those who are online."""

    user_ids: list[UUID]
    all: bool
    here: bool


class Origin(Resource):
    """Where a forwarded message came from, as it was then."""

    message_id: UUID
    conversation_id: UUID
    sender: Person
    sent_at: Moment


class File(Resource):
    """`url` and `thumbnail_url` need the token of somebody who may see the message."""

    id: UUID
    name: str
    content_type: str
    kind: Literal["image", "audio", "video", "file"]
    size: int
    width: int | None
    height: int | None
    url: str
    thumbnail_url: str | None


class Message(Resource):
    """`seq` counts the messages of a conversation: 1, 2, 3 ... without holes. Of a deleted message the words and files
    are gone and the number stays."""

    id: UUID
    conversation_id: UUID
    seq: int
    sender: Person
    message_type: Literal["text", "image", "file", "audio", "video", "system"]
    content: str
    attachments: list[File]
    reply_to: Quote | None
    thread: Thread | None
    reactions: list[ReactionCount]
    mentions: Mentions
    importance: Literal["normal", "important", "urgent"]
    priority: Literal["low", "normal", "high"]
    forwarded_from: Origin | None
    client_msg_id: UUID
    version: int
    created_at: Moment
    edited_at: Moment | None
    deleted_at: Moment | None


class Edges(BaseModel):
    """Which messages of a conversation: those before, after or on both sides of a `seq`."""

    before: Seq | None = None
    after: Seq | None = None
    around: Seq | None = None


class Mentioning(Body):
    """Members of the conversation to name; `all` and `here` are for who may mention everybody."""

    user_ids: list[UUID] = Field(default_factory=list, max_length=50)
    all: bool = False
    here: bool = False


class MessageCreate(Body):
    content: Annotated[
        Text,
        Field(max_length=10_000, description="Any text; blank only with attachments.", examples=["Hello"]),
    ] = ""
    message_type: Literal["text", "image", "file", "audio", "video"] | None = Field(
        None, description="That of the first attachment when it is not said; `file` fits every attachment."
    )
    client_msg_id: UUID | None = Field(
        None, description="Sending the same one again stores nothing and gives the stored message, however much later."
    )
    reply_to: UUID | None = Field(None, description="A message of the same conversation to quote.")
    thread_root_id: UUID | None = Field(
        None, description="Replies in the thread of this message, which must not be a reply in a thread itself."
    )
    thread: UUID | None = Field(None, description="Another name of `thread_root_id`.")
    also_in_conversation: bool = Field(
        default=False, description="Shows a reply in a thread in the conversation as well."
    )
    mentions: Mentioning | None = None
    attachments: list[UUID] = Field(
        default_factory=list, max_length=10, description="Files of one's own that are in no message yet."
    )
    importance: Literal["normal", "important", "urgent"] | None = None
    is_important: bool = Field(default=False, description="Another way to say `importance` `important`.")
    is_urgent: bool = Field(default=False, description="Another way to say `importance` `urgent`.")
    priority: Literal["low", "normal", "high"] | None = None
    expires_at: datetime | None = Field(None, description="Not supported: 422 `not_supported`.")

    @model_validator(mode="after")
    def _one_thread(self) -> Self:
        if None not in (self.thread, self.thread_root_id) and self.thread != self.thread_root_id:
            raise ValueError("Of thread and thread_root_id only one can be given.")
        return self

    def carried(self) -> dict[str, Any]:
        """What was said beyond words, without the other names."""
        said = self.model_dump(exclude_unset=True, exclude_none=True)
        if self.thread is not None:
            said.setdefault("thread_root_id", self.thread)
        if self.is_urgent or self.is_important:
            said.setdefault("importance", "urgent" if self.is_urgent else "important")
        return said


class Elsewhere(MessageCreate):
    """A message with the conversation that it is for."""

    conversation: UUID


class Reply(MessageCreate):
    """What replies. It quotes the message that it replies to."""
