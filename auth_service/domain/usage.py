"""How often people call, and how long they wait: what the gateway counted, by hour and route."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, delete, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.models import ApiUsage, CountedBatch
from libs.clock import Clock
from libs.contracts.usage import LATENCY_BOUNDS_MS, REMEMBERED_SECONDS, UsageBatch
from libs.db import Database

_FORGOTTEN_AT_ONCE = 5000

# Locking the users, and looking again once they are locked, keeps an account that is being erased from getting a row
# after its last. The order keeps two batches from waiting for each other in a circle.
_ADD = text(
    """
    INSERT INTO api_usage AS u (user_id, hour, route, calls, refused, errors, micros, latency)
    SELECT r.user_id, r.hour, r.route, r.calls, r.refused, r.errors, r.micros, r.latency
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r (user_id uuid, hour timestamptz, route text, calls bigint,
        refused bigint, errors bigint, micros bigint, latency bigint[])
    JOIN users ON users.id = r.user_id AND users.status <> 'deleted'
    ORDER BY r.user_id, r.hour, r.route
    FOR KEY SHARE OF users
    ON CONFLICT (user_id, hour, route) DO UPDATE SET
        calls = u.calls + excluded.calls,
        refused = u.refused + excluded.refused,
        errors = u.errors + excluded.errors,
        micros = u.micros + excluded.micros,
        latency = ARRAY(
            SELECT old + new FROM unnest(u.latency, excluded.latency) WITH ORDINALITY AS c (old, new, n) ORDER BY n
        )
    """
)
_FORGET = text(
    """
    DELETE FROM api_usage WHERE ctid = ANY(ARRAY(SELECT ctid FROM api_usage WHERE hour < :before LIMIT :most))
    RETURNING 1
    """
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Hours that began at `since` or later and before `until`; None: no end, any route."""

    since: datetime | None = None
    until: datetime | None = None
    route: str | None = None


async def add(db: AsyncSession, batch: UsageBatch, *, now: datetime) -> bool:
    """Whether the batch is new. Rows of nobody, or of an erased account, count for nobody."""
    fresh = insert(CountedBatch).values(id=batch.id, counted_at=now).on_conflict_do_nothing()
    if await db.scalar(fresh.returning(CountedBatch.id)) is None:
        return False
    rows = [row.model_dump(mode="json") for row in batch.rows]
    await db.execute(_ADD, {"rows": json.dumps(rows)})
    return True


async def of_user(
    db: AsyncSession, user_id: UUID, wanted: Wanted, *, after: tuple[datetime, str] | None, limit: int
) -> Sequence[ApiUsage]:
    """The newest hour first, its routes by name; one more than `limit` when there are more."""
    query = select(ApiUsage).where(ApiUsage.user_id == user_id)
    if wanted.since is not None:
        query = query.where(ApiUsage.hour >= wanted.since)
    if wanted.until is not None:
        query = query.where(ApiUsage.hour < wanted.until)
    if wanted.route is not None:
        query = query.where(ApiUsage.route == wanted.route)
    if after is not None:
        hour, route = after
        query = query.where(or_(ApiUsage.hour < hour, and_(ApiUsage.hour == hour, ApiUsage.route > route)))
    return (await db.scalars(query.order_by(ApiUsage.hour.desc(), ApiUsage.route).limit(limit + 1))).all()


def share_within(latency: Sequence[int], share: float) -> int | None:
    """Milliseconds within which this share of the calls was answered: the bound of the class in which it is reached.
    None: only beyond the last bound."""
    wanted = share * sum(latency)
    reached = 0
    for bound, calls in zip(LATENCY_BOUNDS_MS, latency, strict=False):
        reached += calls
        if reached >= wanted:
            return bound
    return None


async def forget(database: Database, clock: Clock, *, keep: timedelta) -> None:
    """What is older, and batches that cannot come again. Some at a time: a long transaction would hold back the
    cleaning of PostgreSQL itself."""
    now = clock.now()
    old = {"before": now - keep, "most": _FORGOTTEN_AT_ONCE}
    gone = _FORGOTTEN_AT_ONCE
    while gone == _FORGOTTEN_AT_ONCE:
        async with database.transaction() as db:
            gone = len((await db.execute(_FORGET, old)).all())
    known = timedelta(seconds=REMEMBERED_SECONDS)
    async with database.transaction() as db:
        await db.execute(delete(CountedBatch).where(CountedBatch.counted_at < now - known))
