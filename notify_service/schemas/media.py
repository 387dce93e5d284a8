from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from libs.shapes import Moment


class File(BaseModel):
    """A file that somebody has sent. `state`: `waiting` for the provider, `here`, or `gone` (given up). `reason`: why
    it was not to be had, last."""

    id: UUID
    message_id: UUID
    kind: str
    name: str
    state: Literal["waiting", "here", "gone"]
    reason: str | None
    type: str | None
    size: int | None
    sha256: str | None
    created_at: Moment
