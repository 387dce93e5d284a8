from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from libs.shapes import Body, Moment, Text
from notify_service.schemas.deliveries import Address
from notify_service.schemas.fields import AccountName

_P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"


class PushKey(BaseModel):
    """`public_key` is the browser's `applicationServerKey`; `account` is what it subscribes to."""

    account: str
    public_key: str


class DeviceRegister(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "channel": "webpush",
                    "address": {
                        "endpoint": "https://updates.push.services.mozilla.com/wpush/v2/gAAA",
                        "keys": {
                            "p256dh": _P256DH,
                            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
                        },
                    },
                    "name": "Firefox on Linux",
                }
            ]
        }
    )

    channel: Literal["webpush", "push"] = Field(description="`webpush`: a browser; `push`: a phone.")
    address: Address | dict[str, Any] = Field(
        description="The browser's subscription, as it is or as JSON in a string; or the phone's registration token."
    )
    account: AccountName | None = Field(
        None, description="Whose messages it takes. Without it, the first of the channel."
    )
    name: Annotated[Text, StringConstraints(min_length=1, max_length=100)] | None = None


class Device(BaseModel):
    id: UUID
    channel: str
    account: str
    address: str = Field(description="The end of it, by which the device knows itself.")
    name: str | None
    created_at: Moment
    seen_at: Moment = Field(description="When it was registered last.")


class Devices(BaseModel):
    """The one that was registered last first; there are at most twenty."""

    results: list[Device]
