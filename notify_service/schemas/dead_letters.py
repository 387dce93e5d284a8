from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from libs.shapes import Body, Moment, Text
from notify_service.domain.dead_letters import MOST
from notify_service.schemas.deliveries import SentDelivery
from notify_service.schemas.fields import AccountName, Category, ChannelName, Instant

Reason = Annotated[Text, Field(min_length=1, max_length=100)]


class DeadLetter(SentDelivery):
    """`updated_at`: when it was given up."""

    owner: str
    error_class: str | None
    updated_at: Moment


class DeadLetterFilter(Body):
    channel: ChannelName | None = None
    account: AccountName | None = None
    category: Category | None = None
    reason: Reason | None = Field(None, description="A `reason`, or a provider's `error_code`.")
    since: Instant | None = None


class Replay(Body):
    """Either `ids`, or a `filter`; an empty one means all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"filter": {"account": "alerts", "reason": "attempts"}}]})

    ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST)] | None = None
    filter: DeadLetterFilter | None = None
    include_unknown: bool = Field(
        default=False, description="Also what may have arrived, and then arrives twice; never without this."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("Give either ids or a filter.")
        return self


class Refused(BaseModel):
    id: UUID
    reason: Literal[
        "not_found",
        "not_dead",
        "may_have_arrived",
        "secret_erased",
        "expired",
        "no_account",
        "missing_variables",
        "wrong_variables",
    ]


class Replayed(BaseModel):
    """`refused` names at most a thousand of a filter's. `more`: ask again, there may be others."""

    replayed: int
    refused: list[Refused]
    more: bool
