"""Events of chat about people: who is here, and who knows whom."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from libs.contracts.events import EventData


class PresenceChanged(EventData):
    """Somebody came, or went away; at most once a minute and user."""

    type: ClassVar[str] = "PresenceChanged"
    user_id: UUID
    online: bool
    last_seen_at: datetime


class InterestChanged(EventData):
    """A friend request went its way. `accepted` makes contacts of the two, `withdrawn` ends that."""

    type: ClassVar[str] = "InterestChanged"
    interest_id: UUID
    from_user_id: UUID
    to_user_id: UUID
    status: Literal["pending", "accepted", "declined", "withdrawn", "expired"]


class BlockChanged(EventData):
    type: ClassVar[str] = "BlockChanged"
    user_id: UUID
    blocked_id: UUID
    blocked: bool
