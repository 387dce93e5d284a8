"""Pinned messages."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from chat_service.schemas.fields import When
from chat_service.schemas.messages import Message
from chat_service.schemas.people import Person
from libs.shapes import Body, Moment, Resource


class PinCreate(Body):
    expires_at: Annotated[When, Field(description="Until when; without it for ever.")] | None = None

    def until(self) -> datetime | None:
        return self.expires_at


class Pin(Resource):
    message: Message
    pinned_by: Person
    pinned_at: Moment
    expires_at: Moment | None
