"""Time that can be moved on: windows and quotas of a day pass in a moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from libs.clock import Clock


class Advance(BaseModel):
    """An order to move a clock on."""

    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(gt=0, le=10 * 365 * 86_400)]


class MovableClock(Clock):
    """Another clock, and what it was moved on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moved = 0.0
        self._stopped: float | None = None

    def seconds(self) -> float:
        return (self._clock.seconds() if self._stopped is None else self._stopped) + self._moved

    def advance(self, seconds: float) -> None:
        self._moved += seconds

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Meanwhile it moves on order alone: what uses a limit up may take as long as it takes."""
        self._stopped = self._clock.seconds()
        try:
            yield
        finally:
            self._stopped = None
