"""Who is here."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from libs.shapes import Moment, Resource


class Seen(Resource):
    """Who may not be seen looks like somebody who is offline and never was here."""

    user_id: UUID
    state: Literal["online", "away", "offline"]
    last_seen_at: Annotated[Moment | None, Field(description="When they came, or went away; null if it is not shown.")]


class SeenList(Resource):
    results: list[Seen]


class Invisible(Resource):
    since: Annotated[Moment | None, Field(description="Null: the caller is visible.")]
