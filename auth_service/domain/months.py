"""The months of the audit log: a partition each, made ahead of time and dropped as a whole when it is old."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, chain
from auth_service.domain.audit import Entry
from auth_service.domain.chain import Span
from auth_service.domain.clients import NOBODY
from libs.clock import Clock
from libs.db import Database, is_unavailable

_AHEAD = 2
_REST = "audit_p_rest"
_PARTITIONS = text("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit'::regclass")
_IN_REST = text(f"SELECT DISTINCT date_trunc('month', at, 'UTC') FROM {_REST} WHERE at < :until")  # noqa: S608
# Positions that follow one another make one span: their distance to their rank is the same.
_SPANS = """
    SELECT min(position) AS first, max(position) AS last,
        (array_agg(hash ORDER BY position DESC))[1] AS hash
    FROM (SELECT position, hash, position - row_number() OVER (ORDER BY position) AS run FROM {names}) AS rows
    GROUP BY run ORDER BY first
"""

log = structlog.get_logger()


async def prepare(database: Database, clock: Clock) -> None:
    """Makes the partitions of this month and the next ones, and those of rows that came when there was none."""
    now = _month(clock.now())
    wanted = {_later(now, ahead) for ahead in range(_AHEAD + 1)}
    try:
        async with database.transaction() as db:
            await _lock_briefly(db)
            there = await _names(db)
            stray = {_month(at) for at in await db.scalars(_IN_REST, {"until": _later(now, _AHEAD + 1)})}
            missing = sorted(month for month in wanted | stray if _name(month) not in there)
            if missing:
                await _make(db, missing, move=bool(stray))
    except DBAPIError as error:
        _wait_for_the_next_turn(error)


async def forget(database: Database, clock: Clock, *, keep: timedelta) -> None:
    """Drops the months that ended longer ago. What was dropped is recorded and sealed first, so that the chain still
    proves that nothing else is missing."""
    oldest = clock.now() - keep
    try:
        async with database.transaction() as db:
            await _lock_briefly(db)
            old = [name for name in sorted(await _names(db)) if name != _REST and _ends(name) <= oldest]
            if old and await chain.is_sealer(db):
                await _drop(db, old, now=clock.now())
    except DBAPIError as error:
        _wait_for_the_next_turn(error)


async def _drop(db: AsyncSession, names: Sequence[str], *, now: datetime) -> None:
    while await chain.seal_batch(db):
        pass
    spans = _joined([*await chain.forgotten_spans(db), *await _spans(db, names)])
    data = {"months": [name[-6:] for name in names], "spans": [[s.first, s.last, s.hash.hex()] for s in spans]}
    await audit.record(db, Entry(action=chain.FORGOTTEN, data=data), NOBODY, now=now)
    await chain.seal_batch(db)
    for name in names:
        await db.execute(text(f"DROP TABLE {name}"))
    log.info("audit_forgotten", months=data["months"])


async def _spans(db: AsyncSession, names: Sequence[str]) -> list[Span]:
    rows = " UNION ALL ".join(f"SELECT position, hash FROM {name}" for name in names)  # noqa: S608
    found: Sequence[Row[Any]] = (await db.execute(text(_SPANS.format(names=f"({rows}) AS gone")))).all()
    return [Span(row.first, row.last, row.hash) for row in found]


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda each: each.first):
        adjoins = joined and joined[-1].last + 1 == span.first
        joined.append(Span(joined.pop().first, span.last, span.hash) if adjoins else span)
    return joined


async def _make(db: AsyncSession, months: Sequence[datetime], *, move: bool) -> None:
    """A partition cannot be made for rows that the rest already holds: the rest stands aside, and they move."""
    if move:
        await db.execute(text(f"ALTER TABLE audit DETACH PARTITION {_REST}"))
    for month in months:
        start, end = (each.isoformat() for each in (month, _later(month, 1)))
        await db.execute(
            text(f"CREATE TABLE {_name(month)} PARTITION OF audit FOR VALUES FROM ('{start}') TO ('{end}')")
        )
    if move:
        await _move(db, months)
        await db.execute(text(f"ALTER TABLE audit ATTACH PARTITION {_REST} DEFAULT"))
    log.info("audit_months_made", months=[_name(month) for month in months])


async def _move(db: AsyncSession, months: Sequence[datetime]) -> None:
    for month in months:
        moving = {"start": month, "end": _later(month, 1)}
        within = f"FROM {_REST} WHERE at >= :start AND at < :end"
        await db.execute(text(f"INSERT INTO {_name(month)} OVERRIDING SYSTEM VALUE SELECT * {within}"), moving)
        # The trigger that refuses this went with the attachment, and comes back with it.
        await db.execute(text(f"DELETE {within}"), moving)


async def _lock_briefly(db: AsyncSession) -> None:
    """A change of the table waits for all who write to it, and whoever comes later waits behind it."""
    await db.execute(text("SET LOCAL lock_timeout = '2s'"))


async def _names(db: AsyncSession) -> set[str]:
    return set((await db.scalars(_PARTITIONS)).all())


def _wait_for_the_next_turn(error: DBAPIError) -> None:
    if not is_unavailable(error):
        raise error
    log.warning("audit_months_wait", reason=type(error.orig).__name__)


def _month(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _later(month: datetime, count: int) -> datetime:
    months = month.year * 12 + month.month - 1 + count
    return month.replace(year=months // 12, month=months % 12 + 1)


def _name(month: datetime) -> str:
    return f"audit_p{month:%Y%m}"


def _ends(name: str) -> datetime:
    return _later(datetime(int(name[-6:-2]), int(name[-2:]), 1, tzinfo=UTC), 1)
