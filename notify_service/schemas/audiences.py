from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from libs.shapes import Body, Moment, Resource, Text
from notify_service.schemas.deliveries import MOST_RECIPIENTS, Somebody
from notify_service.schemas.fields import ChannelName


class AudienceCreate(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Customers in May", "channel": "email"}]})

    name: Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\r\n]+$")]
    channel: ChannelName


class RecipientsAdd(Body):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"to": [{"address": "ada@example.com", "variables": {"name": "Ada"}}]}]}
    )

    to: Annotated[list[Somebody], Field(min_length=1, max_length=MOST_RECIPIENTS)]


class Audience(Resource):
    """`state`: `open` before anything was given, then `ready`, or `failed` if nothing of it was valid. `total` is the
    sum of the other three counts; who is `valid` is a member."""

    id: UUID
    name: str
    channel: str
    state: Literal["open", "ready", "failed"]
    columns: Annotated[list[str], Field(description="The names of the variables that members may have.")]
    total: int
    valid: int
    invalid: int
    duplicate: int
    created_at: Moment
    updated_at: Moment


class Problem(Resource):
    """Why a line was left out. `field`: `address`, `user`, a variable, or `line` for all of it."""

    line: Annotated[int, Field(description="Of the file; what is added later counts on, one for each recipient.")]
    field: str
    value: Annotated[str, Field(description="At most 200 characters of it.")]
    code: Annotated[
        str,
        Field(description="`missing`, `invalid_address`, `no_address`, `columns`, `quotes`, `characters`, `too_long`."),
    ]
    message: str


class Report(BaseModel):
    """`problems`: the first hundred of what was just given."""

    audience: Audience
    problems: list[Problem]


class Member(Resource):
    """`position`: the line in which it was given."""

    position: int
    address: str
    user_id: UUID | None
    variables: dict[str, str]
