"""What follows from what providers tell us. Each telling has its effect in one transaction, which also ends it.

Many are looked at together. If one of them breaks that, all are looked at again, each by itself: it holds nobody else
up, is tried a few times more, perhaps by another release, and then stays with what was told.
"""

from collections import Counter as Counted
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.db import Database, is_unavailable
from notify_service.domain import account_events, inbound_messages, matching, told
from notify_service.domain.channels.inbound import MESSAGE, RECEIPT
from notify_service.domain.told import Heard

_MOST = 1000
# A receipt may be faster than the answer that names its message; most are matched at once, and none after this.
_TRIES, _AGAIN_SECONDS = 12, 5.0
FAULT, UNMATCHED = "fault", "unmatched"
TOLD = Counter("parley_told_total", "What providers have told, by what came of it.", ["outcome"])

Rows = Sequence[Row[Any]]
Outcomes = Mapping[int, str | None]
Apply = Callable[[AsyncSession, Rows, datetime], Awaitable[Outcomes]]

log = structlog.get_logger()

_TAKE = text(
    """
    SELECT id, account, event, attempts FROM told WHERE next_at <= now()
    ORDER BY next_at, id LIMIT :most FOR UPDATE SKIP LOCKED
    """
)
_DONE = text(
    """
    UPDATE told SET event = CASE WHEN done.what = 'fault' THEN event END, next_at = NULL, outcome = done.what,
        attempts = attempts + 1
    FROM unnest(CAST(:ids AS bigint[]), CAST(:outcomes AS text[])) AS done(told_id, what) WHERE id = told_id
    """
)
_LATER = text(
    """
    UPDATE told SET next_at = now() + make_interval(secs => :seconds * (attempts + 1)), attempts = attempts + 1
    WHERE id = ANY(:ids)
    """
)


class Hearing:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def work(self) -> None:
        """One turn of the worker: all that is to be looked at now."""
        while await self._some() == _MOST:
            pass

    async def _some(self) -> int:
        try:
            return await self._look(_applied)
        except Exception as error:
            if is_unavailable(error):
                raise
            log.warning("told_looked_at_one_by_one", reason=type(error).__name__)
        return await self._look(_applied_one_by_one)

    async def _look(self, apply: Apply) -> int:
        async with self._db.transaction() as db:
            rows = (await db.execute(_TAKE, {"most": _MOST})).all()
            await _end(db, rows, await apply(db, rows, self._clock.now()))
        return len(rows)


async def _applied(db: AsyncSession, rows: Rows, now: datetime) -> Outcomes:
    """What came of each; None: nothing yet."""
    heard = [Heard(row.id, row.account, told.loaded(row.event)) for row in rows]
    outcomes: dict[int, str | None] = {}
    outcomes |= await inbound_messages.keep(db, (each for each in heard if each.event.kind == MESSAGE), now)
    for each in heard:
        if each.event.kind not in (MESSAGE, RECEIPT):
            outcomes[each.id] = await account_events.apply(db, each.account, each.event, now)
    return outcomes | await matching.apply(db, [each for each in heard if each.event.kind == RECEIPT], now)


async def _applied_one_by_one(db: AsyncSession, rows: Rows, now: datetime) -> Outcomes:
    outcomes: dict[int, str | None] = {}
    for row in rows:
        try:
            async with db.begin_nested():
                outcomes |= await _applied(db, [row], now)
        except Exception as error:
            if is_unavailable(error):
                raise
            log.exception("told_not_understood", account=row.account, told=row.id)
            outcomes[row.id] = FAULT
    return outcomes


async def _end(db: AsyncSession, rows: Rows, outcomes: Outcomes) -> None:
    """Those that found nothing yet, or broke something, are looked at again, a few times."""
    found = {row.id: outcomes[row.id] or UNMATCHED for row in rows}
    later = [row.id for row in rows if found[row.id] in (FAULT, UNMATCHED) and row.attempts + 1 < _TRIES]
    done = {number: outcome for number, outcome in found.items() if number not in set(later)}
    if later:
        await db.execute(_LATER, {"ids": later, "seconds": _AGAIN_SECONDS})
    if done:
        await db.execute(_DONE, {"ids": list(done), "outcomes": list(done.values())})
    for outcome, count in Counted(done.values()).items():
        TOLD.labels(outcome).inc(count)
