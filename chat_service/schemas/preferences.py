"""What a member sets for himself alone."""

from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from chat_service.schemas.fields import Notify, When
from libs.shapes import Body, Moment, Resource


class Preferences(Body):
    """What one member alone set; only what is sent is changed."""

    muted_until: When | None = Field(None, description="No notifications until then; null: not muted.")
    notify: Notify | None = Field(None, description="What to notify of: everything, mentions or nothing.")

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        if "notify" in self.model_fields_set and self.notify is None:
            raise ValueError("A field that is sent cannot be null.")
        return self


class PreferencesNow(Resource):
    conversation_id: UUID
    muted_until: Moment | None
    notify: Notify
