"""Fields that several requests have."""

from datetime import date, datetime
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from auth_service.domain.passwords import MAX_LENGTH, MIN_LENGTH
from libs.shapes import Text


def _one_line(text: str) -> str:
    # Names end up in the heads of mails and in logs, where a line break would begin something new.
    if not all(c.isprintable() for c in text):
        raise ValueError("Control characters are not allowed.")
    return text.strip()


def _known_zone(name: str) -> str:
    if name != "UTC" and name not in available_timezones():
        raise ValueError("Use a name of the IANA time zone database, as Europe/Berlin.")
    return name


def _iso(day: object) -> object:
    # A number would be taken for seconds since 1970.
    if not isinstance(day, str):
        raise ValueError("Use a date as 1815-12-10.")  # noqa: TRY004  -- pydantic reports ValueErrors
    return day


BirthDate = Annotated[date, BeforeValidator(_iso), Field(ge=date(1800, 1, 1), examples=["1815-12-10"])]


def _in_range(moment: datetime) -> datetime:
    # Nearer to the ends of the calendar another zone lies beyond them.
    if not 1 < moment.year < 9999:
        raise ValueError("This is too far away.")
    return moment


Instant = Annotated[AwareDatetime, AfterValidator(_in_range)]
Line = Annotated[Text, AfterValidator(_one_line)]
Name = Annotated[Line, Field(max_length=150)]
Login = Annotated[Text, Field(min_length=1, max_length=320)]
NewPassword = Annotated[
    Text,
    Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH, description="Any characters; no rules but length and rarity."),
]
Language = Annotated[Text, Field(max_length=35, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", examples=["en"])]
Zone = Annotated[Text, Field(max_length=64), AfterValidator(_known_zone), Field(examples=["Europe/Berlin"])]
OneTime = Annotated[Text, Field(min_length=1, max_length=200)]
