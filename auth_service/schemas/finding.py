"""Questions for people, and the answers."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from auth_service.domain import finding
from auth_service.domain.names import SHORTEST
from auth_service.schemas.fields import Login, Name, NewPassword
from auth_service.schemas.users import User
from libs.shapes import Body, Text

_YEARS = range(1900, 9000)


def _in_utc(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError("Use a time of this age.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _of_this_age(day: date) -> date:
    if day.year not in _YEARS:
        raise ValueError("Use a date of this age.")
    return day


def _long_enough(name: str) -> str:
    if len(name.strip()) < SHORTEST:
        raise ValueError(f"Use at least {SHORTEST} characters.")
    return name


Since = Annotated[datetime | None, AfterValidator(lambda m: m and _in_utc(m))]
_Value = Annotated[Text, Field(max_length=320)]


@dataclass
class UserFilters:
    """The filters of a list of people. All of them must hold."""

    is_active: bool | None = None
    is_verified: bool | None = None
    language: Annotated[_Value | None, Query()] = None
    timezone: Annotated[_Value | None, Query()] = None
    created_at__gte: Since = None
    created_at__lte: Since = None
    created_at__date: Annotated[date | None, AfterValidator(lambda d: d and _of_this_age(d))] = None
    name: Annotated[
        Annotated[_Value, AfterValidator(_long_enough)] | None,
        Query(description="A part of the first, last, shown or user name, at least two characters."),
    ] = None
    email: Annotated[_Value | None, Query(description="The whole address; staff may give a part.")] = None
    phone: Annotated[_Value | None, Query(description="The whole number; staff may give a part.")] = None

    def read(self) -> finding.Filters:
        return finding.Filters(
            is_active=self.is_active,
            is_verified=self.is_verified,
            language=self.language,
            timezone=self.timezone,
            created_since=self.created_at__gte,
            created_until=self.created_at__lte,
            created_on=self.created_at__date,
            name=self.name,
            email=self.email,
            phone=self.phone,
        )


class NewUser(Body):
    """An account for somebody else, who signs in with it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"email": "ada@example.com", "username": "ada", "password": "correct horse battery"}]
        }
    )

    email: Login
    username: Login
    password: NewPassword
    first_name: Name = ""
    last_name: Name = ""


class UserSearch(Body):
    """A name, a part of one, or a whole e-mail address."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "john", "limit": 10}]})

    query: Annotated[Text, Field(max_length=320)] | None = None
    limit: int = Field(20, ge=1, le=50)


class Found(BaseModel):
    results: list[User]
    count: int
