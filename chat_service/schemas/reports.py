"""Reports of messages."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from chat_service.schemas.fields import ConversationType
from chat_service.schemas.messages import Message
from chat_service.schemas.people import Person
from libs.shapes import Body, Moment, Resource, Text

Reason = Literal["spam", "harassment", "hate", "violence", "sexual", "self_harm", "illegal", "other"]
ReportStatus = Literal["open", "resolved", "dismissed"]
Action = Literal["none", "delete_message", "remove_member"]
Words = Annotated[Text, Field(max_length=1000)]


class ReportCreate(Body):
    reason: Reason
    comment: Words = ""


class Report(Resource):
    """What the one who reported is told."""

    id: UUID
    message_id: UUID
    reason: Reason
    status: ReportStatus
    created_at: Moment


class Snapshot(Resource):
    """The message as it was when it was reported, whatever became of it since."""

    message: Message
    conversation_type: ConversationType
    conversation_name: str


class ReportedMessage(Resource):
    """`reporter` is for staff alone; `snapshot` is null once the message was deleted beyond recovery."""

    id: UUID
    message_id: UUID
    conversation_id: UUID
    reporter: Person | None
    reason: Reason
    comment: str
    snapshot: Snapshot | None
    status: ReportStatus
    created_at: Moment
    resolved_by: UUID | None
    resolved_at: Moment | None
    action: Action | None
    note: str | None


class Resolution(Body):
    action: Action = Field(description="`none` dismisses the report; the others are done at once.")
    note: Words = ""
