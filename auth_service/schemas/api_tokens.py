"""Tokens for programs."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from libs.shapes import Body, Moment, Resource, Text

Scope = Literal[
    "auth:read", "auth:write", "chat:read", "chat:write", "notify:read", "notify:write", "admin", "introspect"
]


class NewApiToken(Body):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "backup", "scopes": ["chat:read"], "expires_in_days": 90}]}
    )

    name: Annotated[Text, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=10)]
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class ApiTokenShown(Resource):
    """A token without its secret: `ending` are its last characters. `last_used_at` is exact to a minute."""

    id: UUID
    name: str
    scopes: list[str]
    ending: str
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Moment | None


class ApiTokenMade(ApiTokenShown):
    """`token` is shown this once."""

    token: str


class ApiTokenList(BaseModel):
    results: list[ApiTokenShown]
