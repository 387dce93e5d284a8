"""What messages are looked for."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from libs.shapes import Text


class Filters(BaseModel):
    """All of them must hold. `from` and `in` are ids of a user and of a conversation."""

    model_config = ConfigDict(populate_by_name=True)

    q: Annotated[Text, Field(max_length=200, description="Words; optional beside a filter.")] = ""
    in_: UUID | None = Field(None, alias="in")
    from_: UUID | None = Field(None, alias="from")
    has: list[Literal["file", "image", "link"]] = Field(default_factory=list, max_length=3)
    before: AwareDatetime | None = None
    after: AwareDatetime | None = None
