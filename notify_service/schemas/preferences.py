from datetime import time
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from libs.shapes import Body
from notify_service.schemas.fields import Category


def _to_the_minute(clock: time) -> time:
    if clock.tzinfo is not None or clock.second or clock.microsecond:
        raise ValueError("A time is hours and minutes, as 22:30.")
    return clock


Clock = Annotated[time, AfterValidator(_to_the_minute)]


class Switches(Body):
    enabled: bool | None = Field(None, description="Off: nothing over this channel, except what is always sent.")
    categories: dict[Category, bool] = Field({}, description="Off: nothing of this category.", max_length=50)


class QuietHours(Body):
    """From `start` until `end` on the clock of your place (`timezone` of your profile), over midnight if need be."""

    start: Clock
    end: Clock


class PreferencesUpdate(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"email": {"categories": {"message": False}}, "quiet_hours": {"start": "22:00", "end": "07:00"}}
            ]
        }
    )

    email: Switches = Switches()
    inapp: Switches = Switches()
    push: Switches = Switches()
    sms: Switches = Switches()
    telegram: Switches = Switches()
    webpush: Switches = Switches()
    whatsapp: Switches = Switches()
    quiet_hours: QuietHours | None = Field(None, description="Null: none.")


class ChannelPreferences(BaseModel):
    enabled: bool
    categories: dict[str, bool]
    always_sent: list[str]


class ShownQuietHours(BaseModel):
    start: str
    end: str
    timezone: str


class Preferences(BaseModel):
    email: ChannelPreferences
    inapp: ChannelPreferences
    push: ChannelPreferences
    sms: ChannelPreferences
    telegram: ChannelPreferences
    webpush: ChannelPreferences
    whatsapp: ChannelPreferences
    quiet_hours: ShownQuietHours | None
