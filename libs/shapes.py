"""Building blocks of request and response shapes."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer

from libs.clock import rfc3339


class Body(BaseModel):
    """A request: an unknown key is refused, so that a misspelt or privileged one is never silently dropped."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class Resource(BaseModel):
    """An answer, read from the attributes of a row."""

    model_config = ConfigDict(from_attributes=True)


def _storable(text: str) -> str:
    # PostgreSQL cannot store U+0000 in a text, and half of a surrogate pair, which JSON can escape, has no UTF-8.
    if "\x00" in text:
        raise ValueError("Null characters are not allowed.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("Half of a surrogate pair is not allowed.") from None
    return text


Text = Annotated[str, AfterValidator(_storable)]
Moment = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
