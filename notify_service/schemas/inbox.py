import json
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from libs.shapes import Body, Moment, Resource, Text
from notify_service.models import Notification as NotificationRow
from notify_service.schemas.fields import Category, Instant

_MAX_DATA_BYTES = 8192


def _storable(data: dict[str, Any]) -> dict[str, Any]:
    # Infinity, U+0000 and lone surrogates are JSON to Python and none to PostgreSQL.
    try:
        raw = json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ValueError("This is not valid JSON.") from None
    if b"\\u0000" in raw:
        raise ValueError("Null characters are not allowed.")
    if len(raw) > _MAX_DATA_BYTES:
        raise ValueError(f"At most {_MAX_DATA_BYTES} bytes of JSON.")
    return data


def _link(url: str) -> str:
    # Clients put it into a link: `javascript:` there would run in the reader's session.
    if not url.startswith(("https://", "http://", "/")) or url.startswith("//"):
        raise ValueError("An address begins with https://, http:// or /.")
    return url


Priority = Literal["low", "normal", "high", "urgent"]
Link = Annotated[Text, StringConstraints(max_length=2000), AfterValidator(_link)]
Line = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class NotificationCreate(Body):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"title": "Build finished", "message": "All 212 tests passed."}]}
    )

    title: Line
    message: Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
    category: Category = "general"
    priority: Priority = "normal"
    related_object_type: Line | None = None
    related_object_id: Line | None = None
    action_url: Link | None = None
    image_url: Link | None = None
    extra_data: Annotated[dict[str, Any], AfterValidator(_storable)] = Field(default_factory=dict)
    scheduled_at: Instant | None = Field(None, description="It appears at this time, and counts from then on.")
    user: UUID | None = Field(None, description="Whom to notify; for anybody but yourself you must be staff.")


class NotificationUpdate(Body):
    is_read: bool | None = None
    is_seen: bool | None = None
    is_archived: bool | None = None
    is_clicked: bool | None = None
    is_dismissed: bool | None = None
    snoozed_until: Instant | None = Field(
        None, description="Until then it is in no list and no count. `null`, or a time that has passed: it is there."
    )

    @property
    def changes(self) -> dict[str, Any]:
        """Of what was given. A mark is on or off, and `null` says nothing of it; a time may be none."""
        given = self.model_dump(exclude_unset=True)
        return {name: value for name, value in given.items() if value is not None or name == "snoozed_until"}


class Actor(BaseModel):
    id: UUID
    name: str


class Notification(Resource):
    id: UUID
    title: str
    message: str
    category: str
    priority: Priority
    actor: Actor | None
    action_url: str | None
    image_url: str | None
    related_object_type: str | None
    related_object_id: str | None
    data: dict[str, Any]
    is_read: bool
    read_at: Moment | None
    is_seen: bool
    snoozed_until: Moment | None
    is_archived: bool
    is_clicked: bool
    is_dismissed: bool
    created_at: Moment


def notification_json(row: NotificationRow) -> str:
    return Notification.model_validate(row).model_dump_json()


class UnreadCount(BaseModel):
    """`unseen_count`: of the unread ones, those that were never seen."""

    unread_count: int
    unseen_count: int


class AllMarkedSeen(BaseModel):
    status: Literal["all_marked_seen"] = "all_marked_seen"
    notifications_marked: int


class AllMarkedRead(BaseModel):
    status: Literal["all_marked_read"] = "all_marked_read"
    notifications_marked: int
