from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from libs.shapes import Body, Moment, Resource
from notify_service.schemas.deliveries import Address
from notify_service.schemas.fields import Category, ChannelName


class SuppressionCreate(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"channel": "email", "address": "ada@example.com"}]})

    channel: ChannelName
    address: Address
    category: Category | Literal["*"] = Field("*", description="`*`: nothing of any category.")


class Suppression(Resource):
    id: UUID
    channel: str
    address: str
    category: Annotated[str, Field(description="`*`: nothing of any category.")]
    reason: Literal["bounce", "complaint", "unsubscribe", "provider", "manual"]
    until: Moment | None
    created_at: Moment
