"""People as they are shown, and what they may change of themselves."""

from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import Field

from auth_service.schemas.fields import Language, Login, Name, Zone
from libs.shapes import Body, Moment, Resource, Text


class UserChange(Body):
    """Only what is sent changes."""

    username: Login = ""
    first_name: Name = ""
    last_name: Name = ""
    bio: Annotated[Text, Field(max_length=500)] = ""
    language: Language = ""
    timezone: Zone = ""


class User(Resource):
    """Another person. Fields that are not shown to the caller are null."""

    id: UUID
    number: int
    username: str
    email: str | None
    first_name: str
    last_name: str
    display_name: str
    avatar_url: str | None
    bio: str
    is_verified: bool
    is_online: bool | None = None
    last_seen_at: Moment | None = None
    language: str
    timezone: str
    created_at: Moment
    updated_at: Moment


class Me(User):
    """One's own account."""

    phone_number: str | None
    phone_verified: bool
    email_verified: bool
    date_of_birth: date | None
    roles: list[str]
    version: int
