"""Events of notify, and the calls that other services may make to it."""

from typing import ClassVar
from uuid import UUID

from pydantic import BaseModel

from libs.contracts.events import EventData


class NotificationCreated(EventData):
    type: ClassVar[str] = "NotificationCreated"
    notification_id: UUID
    user_id: UUID
    category: str


class DeliveryChanged(EventData):
    """Something became of a message after it had left. `owner` is on whose behalf it was sent."""

    type: ClassVar[str] = "DeliveryChanged"
    delivery_id: UUID
    owner: str
    state: str
    reason: str | None = None


class InboundMessage(EventData):
    """Somebody wrote to an account of ours; `peer` is how the provider names them."""

    type: ClassVar[str] = "InboundMessage"
    message_id: UUID
    account: str
    peer: str


class AccountChanged(EventData):
    """The provider of a sending account refuses it, and somebody has to look; or not any more. `fault` is its word."""

    type: ClassVar[str] = "AccountChanged"
    account: str
    channel: str
    refused: bool
    fault: str | None = None


class ReadAsked(BaseModel):
    """Body of `POST /internal/notifications/read`: the user has read it, on a socket."""

    user_id: UUID
    notification_id: UUID


class ReadDone(BaseModel):
    """Its answer; `found` false: no notification of this user."""

    found: bool
