"""Conversations."""

from datetime import date
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AliasChoices, AwareDatetime, BaseModel, Field, model_validator

from chat_service.errors import NotSupported
from chat_service.schemas.fields import (
    MAX_PARTICIPANTS,
    ConversationType,
    Description,
    History,
    ImageUrl,
    Name,
    Notify,
    Role,
    SlowSeconds,
    Status,
    When,
)
from chat_service.schemas.messages import Message
from chat_service.schemas.people import Person
from libs.shapes import Body, Moment, Resource

_UNSUPPORTED = ("message_retention_days", "expires_at")
_NULLABLE = {"image_url", *_UNSUPPORTED}
_FLAGS = {*("name", "description", "image_url", "status", "is_private", "allow_file_sharing")} | {
    *("allow_voice_messages", "history", "slow_seconds")
}


class Participant(Person):
    role: Role


class Filters(BaseModel):
    """Which of one's conversations to list; all that are given must hold."""

    conversation_type: ConversationType | None = None
    status: Status | None = None
    is_active: bool | None = Field(None, description="Whether `status` is `active`.")
    created_at__gte: When | None = None
    created_at__lte: When | None = None
    created_at__date: date | None = Field(None, description="By UTC.")
    last_message_at__gte: When | None = None
    last_message_at__lte: When | None = None


class Permissions(Resource):
    """What the caller may do here."""

    can_post: bool
    can_react: bool
    can_pin: bool
    can_mention_all: bool
    can_add_members: bool
    can_moderate: bool
    can_manage: bool


class Conversation(Resource):
    """`event_seq` and `epoch` are the position to follow the conversation from over a socket.

    `participants` are the first ones only, 100 here and 10 in a list; `member_count` says how many there are.
    """

    id: UUID
    number: int
    conversation_type: ConversationType
    name: str
    description: str
    image_url: str | None
    status: Status
    is_private: bool
    allow_file_sharing: bool
    allow_voice_messages: bool
    history: History
    slow_seconds: int
    version: int
    member_count: int
    participants: list[Participant]
    role: Role
    permissions: Permissions
    muted_until: Moment | None
    notify: Notify
    unread_count: int
    mention_count: int
    delivered_to_all_seq: int | None = Field(
        description="Own messages up to here have reached all others; null beyond 100 members, and alone."
    )
    read_by_all_seq: int | None = Field(
        description="And up to here all others have read them, as far as they let it be known."
    )
    last_read_seq: int
    last_message: Message | None
    event_seq: int
    epoch: int
    created_by: UUID
    created_at: Moment
    updated_at: Moment
    last_active_at: Moment


class Flags(Body):
    """What a conversation is set to, as far as it is said."""

    name: Name | None = None
    description: Description | None = None
    image_url: ImageUrl | None = Field(None, validation_alias=AliasChoices("image_url", "image"))
    is_private: bool | None = Field(None, description="False: anybody may find and join it. Not for `direct`.")
    allow_file_sharing: bool | None = None
    allow_voice_messages: bool | None = None
    history: History | None = Field(None, description="What newcomers see of the time before they came.")
    slow_seconds: SlowSeconds | None = Field(None, description="Seconds between two messages of one member.")
    message_retention_days: int | None = Field(None, description="Not supported yet.")
    expires_at: AwareDatetime | None = Field(None, description="Not supported yet.")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        """What is not there must not look as if it were."""
        wanted = [name for name in _UNSUPPORTED if getattr(self, name) is not None]
        if wanted:
            raise NotSupported(*wanted)
        if any(getattr(self, name) is None for name in self.model_fields_set - _NULLABLE):
            raise ValueError("A field that is sent cannot be null.")
        return self

    def flags(self) -> dict[str, Any]:
        """What was said."""
        return self.model_dump(exclude_unset=True, include=_FLAGS)


class ConversationCreate(Flags):
    conversation_type: ConversationType
    participants: Annotated[list[UUID], Field(max_length=MAX_PARTICIPANTS)] = Field(
        description="The others; the caller is always in. Exactly one for `direct`."
    )

    @model_validator(mode="after")
    def _two_people_have_none(self) -> Self:
        if self.conversation_type == "direct" and self.is_private is False:
            raise ValueError("A direct conversation is private.")
        return self


class ConversationChange(Flags):
    """Only what is sent is changed."""

    status: Status | None = Field(None, description="Nobody writes unless it is `active`.")
    version: int | None = Field(None, description="The version that was read; 409 when there is a newer one.")


class Public(Resource):
    """A conversation that anybody may join."""

    id: UUID
    number: int
    conversation_type: ConversationType
    name: str
    description: str
    image_url: str | None
    member_count: int
    created_at: Moment
