"""People as they are shown, and what may be changed of them."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from auth_service.schemas.fields import BirthDate, Language, Login, Name, Zone
from auth_service.schemas.privacy import Preferences, Privacy
from libs.errors import FieldError, Invalid
from libs.shapes import Body, Moment, Resource, Text

# They change by themselves between reading and sending back.
_VOLATILE: Mapping[str, type] = {"is_online": bool, "last_seen_at": str}


class UserChange(Body):
    """Only what is sent changes. Other fields of the account may be sent back as they were read."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [{"bio": "Notes on engines"}]})

    username: Login = ""
    first_name: Name = ""
    last_name: Name = ""
    bio: Annotated[Text, Field(max_length=500)] = ""
    date_of_birth: BirthDate | None = None
    avatar_url: Annotated[Text, Field(max_length=500)] | None = Field(
        None, description="An address at one of the hosts that this deployment allows."
    )
    language: Language = ""
    timezone: Zone = ""
    direct_messages: Literal["everyone", "contacts"] = "everyone"
    privacy: Privacy = Privacy()
    preferences: Preferences = Preferences()

    def changes(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True, exclude=set(self.model_extra or ()))

    def require_nothing_else(self, current: "Me") -> None:
        """Raises Invalid for a field that does not exist, or that would be different and cannot be."""
        known = current.model_dump(mode="json")
        errors = []
        for field, value in (self.model_extra or {}).items():
            if field not in known:
                errors.append(FieldError(field[:100], "This field is not known."))
            elif not _same(field, value, known[field]):
                errors.append(FieldError(field, "This field cannot be changed here."))
        if errors:
            raise Invalid(errors=errors[:20])


class User(Resource):
    """A person. Fields that are hidden from the caller are null."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "0199f0a2-7c3e-7d7a-b1c4-1f0d6f7a8b9c",
                    "number": 7,
                    "username": "ada",
                    "email": None,
                    "phone_number": None,
                    "first_name": "Ada",
                    "last_name": "Lovelace",
                    "display_name": "Ada Lovelace",
                    "avatar_url": None,
                    "bio": "Notes on engines",
                    "is_verified": True,
                    "is_online": False,
                    "last_seen_at": "2026-11-21T14:00:00Z",
                    "language": "en",
                    "timezone": "Europe/London",
                    "created_at": "2026-11-01T08:30:00Z",
                    "updated_at": "2026-11-20T09:00:00Z",
                }
            ]
        },
    )

    id: UUID
    number: int
    username: str
    email: str | None
    phone_number: str | None
    first_name: str | None
    last_name: str | None
    display_name: str
    avatar_url: str | None
    bio: str | None
    is_verified: bool
    is_online: bool | None
    last_seen_at: Moment | None
    language: str | None
    timezone: str | None
    created_at: Moment
    updated_at: Moment


class Me(User):
    """A whole account, for its owner and for staff."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={})

    phone_verified: bool
    email_verified: bool
    date_of_birth: date | None
    roles: list[str]
    preferences: Preferences
    privacy: Privacy
    direct_messages: Literal["everyone", "contacts"]
    mfa_enabled: bool
    version: int


def _same(field: str, value: object, known: object) -> bool:
    if field in _VOLATILE:
        return value is None or isinstance(value, _VOLATILE[field])
    # True is 1 to Python, not to JSON.
    return type(value) is type(known) and value == known
