"""What the gateway counted, on its way to auth, which keeps it."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, model_validator

MOST_ROWS = 1000
# So long auth knows a batch again.
REMEMBERED_SECONDS = 86_400
# Upper bounds of the classes of answer times, in milliseconds; one more class holds what took longer.
LATENCY_BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_CLASSES = len(LATENCY_BOUNDS_MS) + 1


class UsageRow(BaseModel):
    """Calls of one user below one route in one hour, as far as they are new. `latency` has the calls of each class."""

    user_id: UUID
    route: Annotated[str, Field(min_length=1, max_length=200)]
    hour: AwareDatetime
    calls: Count
    refused: Count
    errors: Count
    micros: Count
    latency: Annotated[list[Count], Field(min_length=_CLASSES, max_length=_CLASSES)]


class UsageBatch(BaseModel):
    """Body of `POST /internal/usage`. A batch that comes again, within a day, counts once."""

    id: UUID
    rows: Annotated[list[UsageRow], Field(min_length=1, max_length=MOST_ROWS)]

    @model_validator(mode="after")
    def _one_row_each(self) -> Self:
        if len({(row.user_id, row.route, row.hour) for row in self.rows}) < len(self.rows):
            raise ValueError("Two rows are of the same user, route and hour.")
        return self


class UsageTaken(BaseModel):
    """Its answer. `new` false: the batch had come before."""

    new: bool
