"""The public shapes of notify."""

import json
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from libs.shapes import Body, Moment, Resource, Text
from notify_service.models import Delivery as DeliveryRow
from notify_service.models import Notification as NotificationRow

CATEGORY_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"
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


Category = Annotated[str, StringConstraints(pattern=CATEGORY_PATTERN)]
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
    scheduled_at: Moment | None = Field(None, description="Not supported yet: 422.")
    user: UUID | None = Field(None, description="Whom to notify; for anybody but yourself you must be staff.")


class NotificationUpdate(Body):
    is_read: bool | None = None
    is_archived: bool | None = None
    is_clicked: bool | None = None
    is_dismissed: bool | None = None

    @property
    def flags(self) -> dict[str, bool]:
        return self.model_dump(exclude_none=True)


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
    is_archived: bool
    is_clicked: bool
    is_dismissed: bool
    created_at: Moment


def notification_json(row: NotificationRow) -> str:
    return Notification.model_validate(row).model_dump_json()


class UnreadCount(BaseModel):
    unread_count: int


class AllMarkedRead(BaseModel):
    status: Literal["all_marked_read"] = "all_marked_read"
    notifications_marked: int


class EmailSwitches(Body):
    enabled: bool | None = Field(None, description="Off: no mails at all, except those that are always sent.")
    categories: dict[Category, bool] = Field({}, description="Off: no mails of this category.", max_length=50)


class PreferencesUpdate(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"email": {"categories": {"message": False}}}]})

    email: EmailSwitches = EmailSwitches()


class EmailPreferences(BaseModel):
    enabled: bool
    categories: dict[str, bool]
    always_sent: list[str]


class Preferences(BaseModel):
    email: EmailPreferences


class Delivery(Resource):
    id: UUID
    notification_id: UUID | None
    channel: str
    address: str
    category: str
    state: Literal["queued", "sending", "retry", "sent", "suppressed", "expired", "failed", "dead", "unknown"]
    reason: str | None
    attempts: int
    error_code: str | None
    expires_at: Moment | None
    created_at: Moment
    sent_at: Moment | None

    @model_validator(mode="before")
    @classmethod
    def _hide_claims(cls, row: object) -> object:
        """That a worker has taken it, and sends it in a moment, is nobody's business outside."""
        if not isinstance(row, DeliveryRow):
            return row
        values = {name: getattr(row, name) for name in cls.model_fields}
        return {**values, "state": "queued"} if row.state == "claimed" else values
