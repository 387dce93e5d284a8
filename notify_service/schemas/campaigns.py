from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from libs.shapes import Body, Moment, Resource, Text
from notify_service.domain.content import Content
from notify_service.schemas.deliveries import Address, Variables
from notify_service.schemas.deliveries import State as DeliveryState
from notify_service.schemas.fields import AccountName, Category, ChannelName, Instant

State = Literal["draft", "scheduled", "running", "paused", "cancelled", "finished"]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Policy = Literal["refuse", "skip"]
# As the API calls them, and as the table does.
_COLUMNS = {"audience": "audience_id"}


class _Given(Body):
    @property
    def columns(self) -> dict[str, Any]:
        """What was given, by the columns of the table."""
        given = {_COLUMNS.get(name, name): getattr(self, name) for name in self.model_fields_set - {"version"}}
        if isinstance(given.get("content"), Content):
            given["content"] = given["content"].model_dump(mode="json", exclude_defaults=True)
        return given


class CampaignCreate(_Given):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Spring",
                    "channel": "email",
                    "audience": "01a20343-0000-7000-8000-000000000000",
                    "content": {"subject": "Hello {{name}}", "text": "It is spring, {{name}}."},
                    "defaults": {"name": "you"},
                }
            ]
        }
    )

    name: Name
    channel: ChannelName
    account: AccountName | None = Field(
        None, description="Who sends. Without it, the account of the channel that is well when it begins."
    )
    content: Content
    audience: UUID | None = Field(None, description="Who gets it, as they are when it begins.")
    category: Category = Field("marketing", description="What its recipients can switch off.")
    missing: Policy = Field(
        "refuse", description="Where somebody lacks a variable: nobody gets anything, or they are left out."
    )
    defaults: Annotated[Variables, Field(default_factory=dict, max_length=50)]
    expires_at: Instant | None = Field(None, description="What has not left by then never will.")

    @property
    def columns(self) -> dict[str, Any]:
        names = ("category", "missing", "defaults")
        return {**{name: getattr(self, name) for name in names}, **super().columns}


class CampaignUpdate(_Given):
    """What is left out stays. `version`: only if nobody has changed it since; otherwise 412."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Late spring", "version": 1}]})

    name: Name | None = None
    account: AccountName | None = None
    content: Content | None = None
    audience: UUID | None = None
    category: Category | None = None
    missing: Policy | None = None
    defaults: Annotated[Variables, Field(max_length=50)] | None = None
    expires_at: Instant | None = None
    version: int | None = None

    @model_validator(mode="after")
    def _nothing_is_emptied(self) -> Self:
        for name in ("name", "content", "category", "missing", "defaults"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null.")
        return self


class CampaignSchedule(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"send_at": "2027-03-20T08:00:00Z"}]})

    send_at: Instant


class CampaignResend(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"states": ["failed", "dead"]}]})

    states: Annotated[list[Literal["failed", "dead", "unknown"]], Field(min_length=1, max_length=3)] = Field(
        description="`unknown` ones may have arrived: whoever names them may send something twice."
    )


class CampaignTest(Body):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"to": ["ada@example.com"], "variables": {"name": "Ada"}}]}
    )

    to: Annotated[list[Address], Field(min_length=1, max_length=10)]
    variables: Annotated[Variables, Field(default_factory=dict, max_length=50)]


class CampaignPreview(Body):
    """Either positions in the audience, or a number of recipients from all over it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sample": 3}]})

    positions: Annotated[
        list[Annotated[int, Field(ge=0, le=2_147_483_647)]], Field(default_factory=list, max_length=20)
    ]
    sample: Annotated[int, Field(ge=0, le=20)] = 0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.positions) == bool(self.sample):
            raise ValueError("Give either positions or a sample.")
        return self


class Campaign(Resource):
    """`counts`: its deliveries by their state, as they were when they were counted last. `rate`: messages a second,
    of about the last minute. `fault`: why it did not begin at its time, or was paused by itself."""

    id: UUID
    name: str
    state: State
    fault: str | None
    channel: str
    account: str | None
    content: Content
    audience: UUID | None = Field(validation_alias="audience_id")
    category: str
    missing: Policy
    defaults: dict[str, str]
    send_at: Moment | None
    expires_at: Moment | None
    batch_id: UUID | None
    total: int
    counts: dict[DeliveryState, int]
    rate: float
    started_at: Moment | None
    finished_at: Moment | None
    created_at: Moment
    updated_at: Moment
    version: int

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)


class OneCampaign(Campaign):
    eta_seconds: float | None = Field(
        None, description="Until it is over, by its rate and its account's limits; null where nobody can say."
    )


class Progress(BaseModel):
    """The event `campaign.progress`."""

    state: State
    fault: str | None
    total: int
    counts: dict[DeliveryState, int]
    rate: float
    eta_seconds: float | None


class WrongValue(Resource):
    """`position`: in the audience, which is also the line of its file. `value`: cut short."""

    position: int
    name: str
    value: str
    message: str


class Forecast(Resource):
    """What would become of it now. Each recipient is in one of `valid`, `suppressed`, `no_address` (users without a
    device), `switched_off`, `lacking`, `wrong`, `throttled` and `window_closed`; of the valid ones `over_quota` wait
    until the account may send more."""

    account: str
    total: int
    valid: int
    suppressed: int
    no_address: int
    switched_off: int
    lacking: int
    missing: dict[str, int] = Field(description="Variables without a default, with how many recipients lack them.")
    wrong: int
    wrong_variables: dict[str, int] = Field(
        description="Variables with values of other types than are declared, with how many recipients have such."
    )
    examples: list[WrongValue] = Field(description="Of those values; the first twenty.")
    throttled: int = Field(description="Who had as many messages of the category lately as its rule allows.")
    window_closed: int
    over_quota: int
    expected_seconds: float | None = Field(description="null where nothing limits how fast the account may send.")
    notes: list[str] = Field(description="What else is different from what one might expect, in words.")


class Preview(Resource):
    """`content`: as the recipient gets it; null where nothing would go, and `reason` says why."""

    position: int
    address: str
    variables: dict[str, str]
    content: Content | None
    reason: str | None


class Previews(BaseModel):
    results: list[Preview]


class Resent(BaseModel):
    resent: int
