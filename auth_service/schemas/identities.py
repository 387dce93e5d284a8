"""Accounts elsewhere that one signs in with."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from auth_service.schemas.providers import Url
from libs.shapes import Body, Moment, Resource, Text


class IdentityShown(Resource):
    """`email` is what the provider said last; it proves nothing."""

    id: UUID
    provider: str
    email: str | None
    linked_at: Moment
    last_used_at: Moment


class IdentityList(BaseModel):
    results: list[IdentityShown]


class LinkBegin(Body):
    provider: Annotated[Text, Field(max_length=32)]
    return_to: Url
