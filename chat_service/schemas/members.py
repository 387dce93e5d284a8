"""Who is in a conversation."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from chat_service.schemas.fields import MAX_PARTICIPANTS, Role
from chat_service.schemas.people import Person
from libs.shapes import Body, Moment, Resource


class Member(Resource):
    user: Person
    role: Role
    joined_at: Moment
    read_seq: Annotated[int, Field(description="How far this member has read, as others may know it.")]
    delivered_seq: Annotated[int, Field(description="How far the messages have reached a device of this member.")]


class MembersAdd(Body):
    user_ids: Annotated[list[UUID], Field(min_length=1, max_length=MAX_PARTICIPANTS)]
    role: Role = Field("member", description="Below one's own.")


class RoleChange(Body):
    role: Role
