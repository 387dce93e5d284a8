"""Friend requests."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from chat_service.schemas.people import Person
from libs.shapes import Body, Moment, Resource, Text

InterestStatus = Literal["pending", "accepted", "declined", "withdrawn", "expired"]
Direction = Literal["all", "sent", "received"]


class Interest(Resource):
    """`conversation_id` is the direct conversation of the two, if they have one."""

    id: UUID
    from_user: Person
    to_user: Person
    status: InterestStatus
    message: str
    conversation_id: UUID | None
    created_at: Moment
    responded_at: Moment | None
    expires_at: Moment


class InterestCreate(Body):
    to_user: UUID
    message: Annotated[Text, Field(max_length=200)] = ""
