"""Whether this process has more to do than it can, and what it lets go of then.

The measure is the time by which the loop is late: everything that waits, waits for the loop. It is taken ten times a
second and smoothed, so that one slow step sheds nothing; what was let go of returns when the lateness has halved.
"""

import asyncio
from collections.abc import Callable
from enum import IntEnum

import structlog

from gateway.domain.metrics import LAG, SHEDDING

_EVERY_SECONDS = 0.1
_WEIGHT = 0.2  # of the newest measure
_LATEST = 1.0  # a machine that slept must not be felt for long
_NORMAL_FACTOR = 5  # as late as that many times the limit, and what is of normal priority goes as well
_NEVER = float("inf")

log = structlog.get_logger()


class Priority(IntEnum):
    """Of a route; the lowest is let go of first."""

    LOW = 0  # lists and documents that can be read later
    NORMAL = 1
    HIGH = 2  # never shed: signing in, staying so, and what people say to each other


class Load:
    """`least`: the lowest priority that is served just now. Changes in steps of one, a tenth of a second apart."""

    __slots__ = ("_in_flight", "_late", "_most", "least", "seconds")

    def __init__(self, lag_seconds: float, most_requests: int, in_flight: Callable[[], int]) -> None:
        """Sheds low priorities when the loop is `lag_seconds` late (0: never), or when there are more than
        `most_requests` requests at the services."""
        late = lag_seconds or _NEVER
        # From one step to the next: how late it takes.
        self._late = (late, late * _NORMAL_FACTOR)
        self._most = most_requests
        self._in_flight = in_flight
        self.seconds = 0.0
        """How late the loop is, smoothed."""
        self.least = Priority.LOW

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY_SECONDS
            await asyncio.sleep(_EVERY_SECONDS)
            self.note(max(0.0, loop.time() - due))

    def note(self, late: float) -> None:
        """The loop is `late` seconds late now."""
        self.seconds += (min(late, _LATEST) - self.seconds) * _WEIGHT
        LAG.set(self.seconds)
        before, self.least = self.least, self._judged()
        if self.least != before:
            SHEDDING.set(self.least)
            tell = log.warning if self.least > before else log.info
            tell("load_shedding", least=self.least.name.lower(), late_ms=round(self.seconds * 1000))

    def _judged(self) -> Priority:
        least = self.least
        crowded = self._in_flight() > self._most
        if least < Priority.HIGH and (self.seconds > self._late[least] or (crowded and least == Priority.LOW)):
            return Priority(least + 1)
        if least > Priority.LOW and self.seconds < self._late[least - 1] / 2 and not (crowded and least == 1):
            return Priority(least - 1)
        return least
