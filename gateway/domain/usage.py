"""Who called how often, by hour and route: counted here in memory, kept by auth.

A request costs one look-up and a few sums. What was counted leaves once in a while, in batches that may be repeated,
for auth counts each once. While auth is away the counts grow on in place; only so much is kept, and what is not is
counted as lost.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import structlog

from gateway.domain.metrics import USAGE_LOST
from libs.clock import Clock
from libs.contracts.usage import LATENCY_BOUNDS_MS, REMEMBERED_SECONDS, UsageBatch, UsageRow
from libs.errors import Unavailable
from libs.ids import uuid7

MOST_KEPT = 100_000
_HOUR = 3600
_BOUNDS = tuple(bound / 1000 for bound in LATENCY_BOUNDS_MS)
# Fewer than auth takes: writing one as JSON keeps requests waiting for some two milliseconds.
_ROWS_A_BATCH = 100
# One that auth will never take must not hold up the others; when so many have failed it is auth that is away.
_MOST_UNSURE = 10
# Auth must still know a batch that comes again; the rest of the day is for clocks that differ.
_REPEATED_SECONDS = REMEMBERED_SECONDS - _HOUR
_LAST_SECONDS = 5.0

Report = Callable[[UsageBatch], Awaitable[object]]
Key = tuple[str, bytes]

log = structlog.get_logger()


class Counts:
    """Calls of one user below one route. `latency` has those of each class of answer times."""

    __slots__ = ("errors", "latency", "refused", "seconds")

    def __init__(self) -> None:
        self.refused = 0
        self.errors = 0
        self.seconds = 0.0
        self.latency = [0] * (len(_BOUNDS) + 1)


Counted = dict[Key, Counts]


class Usage:
    """`report` hands a batch to auth, and raises Unavailable when it may not have arrived. `most`: users and routes
    that are kept."""

    def __init__(self, report: Report, clock: Clock, *, most: int = MOST_KEPT) -> None:
        self._report = report
        self._clock = clock
        self._most = most
        self._hour = self._current_hour()
        self._open: Counted = {}
        self._closed: list[tuple[int, Counted]] = []  # to be reported, by hour
        self._unsure: dict[UUID, tuple[float, UsageBatch]] = {}  # which may have arrived or not, and since when
        self._full = asyncio.Event()

    def add(self, user: str, route: bytes, status: int, seconds: float) -> None:
        """An answered request. Where the client left before (499), nobody has refused it."""
        counts = self._open.get((user, route)) or self._begin((user, route))
        if counts is None:
            return
        counts.seconds += seconds
        counts.latency[bisect_left(_BOUNDS, seconds)] += 1
        if status >= 500:
            counts.errors += 1
        elif 400 <= status < 499:
            counts.refused += 1

    def sweep(self) -> None:
        """Ends the hour. Called often: to look at the clock for each request would cost more than the counting."""
        hour = self._current_hour()
        if hour != self._hour:
            self._close()
            self._hour = hour

    async def run(self, every: float) -> None:
        """Reports every so many seconds, and at once when there is no more room."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await self._full.wait()
            self._full.clear()
            try:
                await self.flush()
            except Exception:
                # Whatever is wrong with the log of usage, the gateway goes on without it.
                log.exception("usage_report_failed")

    async def flush(self) -> None:
        """Reports everything, or as much as auth takes."""
        self._give_up()
        for _, batch in list(self._unsure.values()):
            if not await self._send(batch):
                break
        if len(self._unsure) >= _MOST_UNSURE:
            return  # what is not cut yet goes on growing in place, and takes no more room
        self.sweep()
        self._close()
        while (fresh := self._cut()) is not None and await self._send(fresh):
            pass

    async def stop(self) -> None:
        """The last report. What auth does not take now is lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self.flush()
        left = sum(len(counted) for _, counted in self._closed) + len(self._open)
        left += sum(len(batch.rows) for _, batch in self._unsure.values())
        if left:
            log.warning("usage_lost", rows=left)

    def _begin(self, key: Key) -> Counts | None:
        kept = len(self._open) + sum([len(counted) for _, counted in self._closed])
        if kept >= self._most:
            if self._unsure:
                USAGE_LOST.inc()
                return None
            self._full.set()
        counts = self._open[key] = Counts()
        return counts

    def _close(self) -> None:
        if self._open:
            self._closed.append((self._hour, self._open))
            self._open = {}

    def _cut(self) -> UsageBatch | None:
        """The next rows, all of one hour."""
        rows: list[UsageRow] = []
        while self._closed and not rows:
            hour, counted = self._closed[-1]
            while counted and len(rows) < _ROWS_A_BATCH:
                key, counts = counted.popitem()
                with suppress(ValueError):  # a subject that is no user of ours, whom no service accepts either
                    rows.append(_row(hour, key, counts))
            if not counted:
                self._closed.pop()
        return UsageBatch.model_construct(id=uuid7(), rows=rows) if rows else None

    async def _send(self, batch: UsageBatch) -> bool:
        # Noted before, for whoever is cancelled on the way does not know either whether it arrived.
        self._unsure.setdefault(batch.id, (self._clock.seconds(), batch))
        try:
            await self._report(batch)
        except Unavailable as error:
            log.warning("usage_waits", reason=error.detail)
            # Next time another one is first.
            self._unsure[batch.id] = self._unsure.pop(batch.id)
            return False
        del self._unsure[batch.id]
        return True

    def _give_up(self) -> None:
        oldest = self._clock.seconds() - _REPEATED_SECONDS
        for since, batch in list(self._unsure.values()):
            if since < oldest:
                del self._unsure[batch.id]
                USAGE_LOST.inc(sum(row.calls for row in batch.rows))

    def _current_hour(self) -> int:
        return int(self._clock.seconds()) // _HOUR


def _row(hour: int, key: Key, counts: Counts) -> UsageRow:
    user, route = key
    return UsageRow.model_construct(
        user_id=UUID(user),
        route=route.decode(),
        hour=datetime.fromtimestamp(hour * _HOUR, UTC),
        calls=sum(counts.latency),
        refused=counts.refused,
        errors=counts.errors,
        micros=round(counts.seconds * 1_000_000),
        latency=counts.latency,
    )
