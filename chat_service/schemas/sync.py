"""What changed while a client was away."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from libs.shapes import Body, Moment, Text


class Since(Body):
    since: dict[Annotated[Text, Field(max_length=64)], Annotated[list[int], Field(min_length=2, max_length=2)]] = Field(
        default_factory=dict,
        max_length=1000,
        description="From stream (`c:<conversation id>`) to epoch and number of the last event that the client has.",
    )
    token: Annotated[Text, Field(max_length=512)] | None = Field(None, description="Of the last answer.")


class Last(BaseModel):
    """The last message, cut after 200 characters."""

    id: UUID
    seq: int
    sender_id: UUID
    sender_name: str | None
    message_type: Literal["text", "image", "file", "audio", "video", "system"]
    content: str
    created_at: Moment
    deleted: bool


class Changed(BaseModel):
    """`n` messages are unread. `last` is null where there is none that the caller may see."""

    s: str
    top: int
    epoch: int
    n: int
    mentions: int
    last_read_seq: int
    last: Last | None


class Changes(BaseModel):
    """`gone` are streams of `since` that are not the caller's any more, `hidden` the messages that the caller deleted
    for themselves, on any device. `more`: there are over a thousand."""

    changed: list[Changed]
    gone: list[str]
    hidden: list[UUID]
    more: bool
    token: str
