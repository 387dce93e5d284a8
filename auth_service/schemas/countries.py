"""The countries of an account."""

from typing import Annotated

from pydantic import Field

from libs.shapes import Body, Text

Country = Annotated[Text, Field(pattern="^[A-Z]{2}$", examples=["SE"])]


class Countries(Body):
    """Null: from everywhere. An empty list: from nowhere that is known."""

    allowed_countries: Annotated[list[Country], Field(max_length=250)] | None
