"""The beginning of the event log is cut: who comes back from before it reads the newest page instead.

What goes is old, far from the end, and looked at by the dispatcher; what stays is the end of the log without a hole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text

from libs.clock import Clock
from libs.db import Database

_CHUNK = 5000
_FIRST = UUID(int=0)

_LONG = """
SELECT id, event_seq FROM conversation WHERE id > :after AND event_seq > :keep ORDER BY id LIMIT 1000
"""
# Up to the first young event, not every old one: the clocks of two processes may differ, and the log has no holes.
_CUT = """
WITH edge AS MATERIALIZED (
    SELECT least(CAST(:upto AS bigint), oldest.seq + CAST(:chunk AS int) - 1, young.seq - 1, waiting.seq - 1) AS seq
    FROM LATERAL (SELECT seq FROM event WHERE conversation_id = :id ORDER BY seq LIMIT 1) AS oldest
    LEFT JOIN LATERAL (
        SELECT seq FROM event WHERE conversation_id = :id AND created_at >= :before ORDER BY seq LIMIT 1
    ) AS young ON true
    CROSS JOIN (SELECT min(event_seq) AS seq FROM dispatch WHERE conversation_id = :id) AS waiting
),
cut AS (DELETE FROM event USING edge WHERE conversation_id = :id AND event.seq <= edge.seq RETURNING 1)
SELECT count(*) FROM cut
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    events: int
    """Newest events of each conversation that stay."""
    age: timedelta
    """Events that are younger stay."""


async def work(database: Database, clock: Clock, kept: Kept) -> None:
    """In small transactions, so that nobody who writes has to wait."""
    after, count = _FIRST, 0
    while True:
        async with database.transaction() as db:
            rows = (await db.execute(text(_LONG), {"after": after, "keep": kept.events})).all()
        for row in rows:
            upto = {"id": row.id, "upto": row.event_seq - kept.events}
            count += await _cut(database, {**upto, "before": clock.now() - kept.age})
        if not rows:
            break
        after = rows[-1].id
    if count:
        log.info("events_pruned", count=count)


async def _cut(database: Database, values: Mapping[str, Any]) -> int:
    count = 0
    while True:
        async with database.transaction() as db:
            done: int = await db.scalar(text(_CUT), {**values, "chunk": _CHUNK})
        count += done
        if done < _CHUNK:
            return count
