import math
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from libs.shapes import Body, Moment, Resource, Text
from notify_service.domain import devices
from notify_service.domain.content import UNSUBSCRIBE_URL, Content
from notify_service.models import Delivery as DeliveryRow
from notify_service.schemas.fields import AccountName, Category, ChannelName, Instant

MOST_RECIPIENTS = 10_000
State = Literal[
    "collected",
    "queued",
    "sending",
    "retry",
    "sent",
    "delivered",
    "read",
    "suppressed",
    "duplicate",
    "digested",
    "cancelled",
    "expired",
    "failed",
    "dead",
    "unknown",
]
Key = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]
Address = Annotated[Text, StringConstraints(min_length=1, max_length=4096)]


def _not_ours(variables: dict[str, str]) -> dict[str, str]:
    if UNSUBSCRIBE_URL in variables:
        raise ValueError(f"{UNSUBSCRIBE_URL} is filled by us.")
    return variables


def _as_text(value: object) -> object:
    """Numbers, true and false as JSON writes them; everything else as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError("This is no number.")
        return str(value)
    return value


Variables = Annotated[
    dict[
        Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")],
        Annotated[
            Text,
            StringConstraints(max_length=10_000),
            BeforeValidator(_as_text, json_schema_input_type=str | int | float | bool),
        ],
    ],
    AfterValidator(_not_ours),
]


class Somebody(Body):
    """By an address, or as a user whose confirmed address is taken."""

    address: Address | None = None
    user: UUID | None = None
    variables: Annotated[Variables, Field(default_factory=dict, max_length=50)]

    @model_validator(mode="after")
    def _is_somebody(self) -> Self:
        if (self.address is None) == (self.user is None):
            raise ValueError("Give either an address or a user.")
        return self


class Recipient(Somebody):
    """Somebody, and what holds for this message alone."""

    dedupe_key: Key | None = None
    addresses: Annotated[dict[ChannelName, Address], Field(max_length=10)] = Field(
        {}, description="Where the channels of `fallback` find this recipient."
    )


class Fallback(Body):
    """A channel that tries when those before it have not brought the message to `until` within `after_seconds`."""

    channel: ChannelName
    account: AccountName | None = None
    content: Content | None = Field(None, description="Without it, the content of the first channel.")
    after_seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] = 600
    until: Literal["sent", "delivered", "read"] = "sent"


class DeliveryCreate(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "channel": "email",
                    "to": [{"address": "ada@example.com", "variables": {"name": "Ada"}}],
                    "content": {"subject": "Hello {{name}}", "text": "Your order is on its way, {{name}}."},
                }
            ]
        }
    )

    channel: ChannelName
    account: AccountName | None = Field(
        None, description="Who sends. Without it, the account of the channel that is well."
    )
    to: Annotated[list[Recipient], Field(min_length=1, max_length=MOST_RECIPIENTS)]
    content: Content
    category: Category = Field("general", description="What its recipients can switch off, and are unsubscribed from.")
    priority: Literal["high", "normal", "bulk"] | None = Field(
        None, description="`high` goes before everything else. Without it: `normal` to a hundred, `bulk` to more."
    )
    send_at: Instant | None = None
    expires_at: Instant | None = Field(None, description="What has not left by then never will.")
    fallback: Annotated[list[Fallback], Field(default_factory=list, max_length=5)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.send_at and self.expires_at and self.expires_at <= self.send_at:
            raise ValueError("expires_at lies after send_at.")
        return self


class Accepted(Resource):
    id: UUID
    state: State
    recipient: int | None = Field(None, description="Whom of `to` it is for, from 0.")


class Batch(Resource):
    """`deliveries` are in the order of `to`; a user on `webpush` or `push` has one for each device."""

    id: UUID
    account: str
    deliveries: list[Accepted]


class BatchStanding(BaseModel):
    """`hold_reason`: `refused` or `template` where a provider's word, and not yours, has put it on hold."""

    id: UUID
    created_at: Moment
    held: bool
    hold_reason: str | None
    test_of: UUID | None = Field(description="The campaign that was tried out by this.")
    states: dict[State, int]


class Cancelled(BaseModel):
    cancelled: int


class Attempt(Resource):
    at: Moment
    milliseconds: int | None
    error_class: str | None
    error_code: str | None
    decision: str


class Delivery(Resource):
    """As its recipient sees it."""

    id: UUID
    notification_id: UUID | None
    channel: str
    address: str
    category: str
    state: State
    reason: str | None
    attempts: int
    error_code: str | None
    send_at: Moment
    expires_at: Moment | None
    created_at: Moment
    sent_at: Moment | None
    delivered_at: Moment | None
    read_at: Moment | None
    digest_id: Annotated[UUID | None, Field(description="The delivery that says it, together with others.")]

    @model_validator(mode="before")
    @classmethod
    def _of_row(cls, row: object) -> object:
        """That a worker has taken it, and sends it in a moment, is nobody's business outside."""
        if not isinstance(row, DeliveryRow):
            return row
        values: dict[str, Any] = {name: getattr(row, name, None) for name in cls.model_fields}
        values["send_at"] = row.next_at
        values["address"] = devices.shown(row.channel, row.user_id, row.address)
        return {**values, "state": "queued"} if row.state == "claimed" else values


class SentDelivery(Delivery):
    """As its sender sees it."""

    batch_id: UUID | None
    account: str
    dedupe_key: str | None


class OneDelivery(SentDelivery):
    """`log`: every attempt, for its sender; empty for its recipient."""

    log: list[Attempt]
