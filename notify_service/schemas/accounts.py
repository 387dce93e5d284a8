from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from libs.shapes import Body, Moment, Resource
from notify_service.schemas.fields import AccountName


class _Limits(Body):
    enabled: bool | None = None
    rank: Annotated[int, Field(ge=0, le=32_767)] | None = Field(
        None, description="Of the accounts of a channel the lowest sends; the next one stands in for it. Without: 100."
    )
    rate: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        None, description="Messages a second, where it shall be less than the provider takes."
    )
    daily_limit: Annotated[int, Field(ge=0, le=2_000_000_000)] | None = Field(
        None, description="Messages in a sliding day, where it shall be less than the provider takes."
    )

    @property
    def limits(self) -> dict[str, Any]:
        """What was given; null takes away what can be away."""
        given = self.model_dump(include={"enabled", "rank", "rate", "daily_limit"}, exclude_unset=True)
        return {name: value for name, value in given.items() if value is not None or name in ("rate", "daily_limit")}


class AccountCreate(_Limits):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "alerts",
                    "provider": "telegram",
                    "config": {},
                    "secrets": {"token": "123456:an-example"},
                    "daily_limit": 1000,
                }
            ]
        }
    )

    name: AccountName
    provider: AccountName
    config: dict[str, Any] = Field(
        default_factory=dict, description="As the provider's `config` in `/api/v1/channels`."
    )
    secrets: dict[str, Any] = Field(default_factory=dict, description="As its `secrets`. Nobody reads them again.")


class AccountUpdate(_Limits):
    """What is left out stays; `rate` and `daily_limit` can be taken away with null."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rate": 5.0, "enabled": True}]})

    config: dict[str, Any] | None = None
    secrets: dict[str, Any] | None = None


class Quota(BaseModel):
    limit: int
    hours: int
    used: int
    left: int
    more_at: Moment | None


class Hearing(Resource):
    """Of an account that is asked what happened: when that was last, and what was wrong then, if anything."""

    polled_at: Moment
    fault: str | None


class Account(BaseModel):
    """`state`: `ok`, `off`, `down` (left alone until `down_until`) or `refused` (until somebody looks: `fault`)."""

    name: str
    channel: str
    provider: str
    source: Literal["settings", "api"]
    config: dict[str, Any]
    state: Literal["ok", "off", "down", "refused"]
    fault: str | None
    down_until: Moment | None
    enabled: bool
    rank: int
    rate: float | None
    daily_limit: int | None
    quota: Quota | None
    recipients: Quota | None = Field(
        description="How many people may be written to first, where the provider counts them, by all accounts that"
        " share the limit."
    )
    waiting: int = Field(description="Counted to a hundred thousand.")
    told: dict[str, Any] = Field(description="What the provider has told of it: its `limit`, and what became of it.")
    hearing: Hearing | None
    created_at: Moment
    updated_at: Moment


class AccountMade(Account):
    made: dict[str, str] = Field(
        description="Secrets that were made just now and that you have to know, as an endpoint's. Never shown again."
    )


class EndpointTested(BaseModel):
    """The delivery, which `/api/v1/deliveries/{id}` shows to you with each attempt."""

    id: UUID


class Accounts(BaseModel):
    results: list[Account]


class Channel(BaseModel):
    """A provider: what it can do, and what its accounts are set up with (JSON Schema)."""

    channel: str
    provider: str
    capability: dict[str, Any]
    config: dict[str, Any]
    secrets: dict[str, Any]


class Channels(BaseModel):
    results: list[Channel]


class Thread(BaseModel):
    """Somebody who has written to an account. `open`: free text may answer, until `window_closes_at` if that is set."""

    peer: str
    alias: str | None
    name: str | None
    last_inbound_at: Moment
    open: bool
    window_closes_at: Moment | None
