"""Passing messages on."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from chat_service.schemas.messages import Message
from libs.shapes import Body, Resource


class Forward(Body):
    """Either one conversation, whose message then begins with `Forwarded from`, or up to 20, whose messages keep their
    words and say in `forwarded_from` where they came from."""

    conversation_id: UUID | None = None
    conversation_ids: Annotated[list[UUID], Field(min_length=1, max_length=20)] | None = None


class Outcome(Resource):
    """`message`, or the `code` of why there is none."""

    conversation_id: UUID
    message: Message | None
    code: str | None


class Forwarded(Resource):
    results: list[Outcome]
