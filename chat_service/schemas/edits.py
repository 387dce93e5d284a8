"""Changing a message that was sent, and what it said before."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from chat_service.schemas.people import Person
from libs.shapes import Body, Moment, Resource, Text


class MessageChange(Body):
    """Only what is sent is changed. `is_important` and `is_urgent` are other ways to say `importance`."""

    content: Annotated[Text, Field(max_length=10_000, examples=["Hello again"])] | None = None
    importance: Literal["normal", "important", "urgent"] | None = None
    is_important: bool | None = None
    is_urgent: bool | None = None
    priority: Literal["low", "normal", "high"] | None = None
    version: int | None = Field(None, description="The version that was read; 409 when there is a newer one.")

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        if any(getattr(self, field) is None for field in self.model_fields_set):
            raise ValueError("A field that is sent cannot be null.")
        return self

    def changes(self) -> dict[str, str]:
        said: dict[str, str] = self.model_dump(include={"content", "importance", "priority"}, exclude_none=True)
        if self.is_urgent or self.is_important:
            said.setdefault("importance", "urgent" if self.is_urgent else "important")
        elif (self.is_urgent, self.is_important) != (None, None):
            said.setdefault("importance", "normal")
        return said


class Revision(Resource):
    """What a message said from `written_at` on, until the next one."""

    version: int
    content: str
    editor: Person
    written_at: Moment
