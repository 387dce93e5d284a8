"""Events of notify."""

from typing import ClassVar
from uuid import UUID

from libs.contracts.events import EventData


class NotificationCreated(EventData):
    type: ClassVar[str] = "NotificationCreated"
    notification_id: UUID
    user_id: UUID
    category: str
