from typing import Literal

from pydantic import BaseModel, Field

from libs.shapes import Moment


class Waiting(BaseModel):
    high: int
    normal: int
    bulk: int


class Queue(BaseModel):
    """What waits for one account."""

    account: str
    channel: str
    state: Literal["ok", "off", "down", "refused"]
    fault: str | None
    down_until: Moment | None
    owned: bool = Field(description="Whether a worker sends for it now. With nothing to send, none does.")
    waiting: Waiting = Field(description="Now or for a later time.")
    capped: bool = Field(description="There are more than the hundred thousand that were counted.")
    retrying: int
    in_flight: int
    oldest_seconds: float = Field(description="How long the first of those due, and not on hold, has waited.")
    held_batches: int
    quota_left: int | None
    recipients_left: int | None = Field(description="How many people may be written to first, where they are counted.")
    rate: float | None = Field(description="Messages a second, at most; null: no limit is known.")


class Queues(BaseModel):
    results: list[Queue]
