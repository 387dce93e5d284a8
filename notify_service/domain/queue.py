"""The rows that wait, taken from the queue of an account."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.lanes import Fetch
from notify_service.domain.turns import Head

# From the head of one line to the head of the next, each a step in the index, however long the lines are.
_WAITING = text(
    """
    WITH RECURSIVE head AS (
        (SELECT account, lane, queue, next_at FROM delivery WHERE state IN ('queued', 'retry')
         ORDER BY account, lane, queue, next_at LIMIT 1)
        UNION ALL
        SELECT next.* FROM head, LATERAL (
            SELECT account, lane, queue, next_at FROM delivery WHERE state IN ('queued', 'retry')
                AND (account, lane, queue) > (head.account, head.lane, head.queue)
            ORDER BY account, lane, queue, next_at LIMIT 1) AS next
    )
    SELECT DISTINCT account FROM head WHERE next_at <= now()
    """
)
_LINES = """
WITH RECURSIVE head AS (
    (SELECT lane, queue, next_at FROM delivery WHERE account = $1 AND state IN ('queued', 'retry')
     ORDER BY lane, queue, next_at LIMIT 1)
    UNION ALL
    SELECT next.* FROM head, LATERAL (
        SELECT lane, queue, next_at FROM delivery WHERE account = $1 AND state IN ('queued', 'retry')
            AND (lane, queue) > (head.lane, head.queue)
        ORDER BY lane, queue, next_at LIMIT 1) AS next
)
SELECT lane, queue, (
    SELECT count(*) FROM (
        SELECT FROM delivery AS d
        WHERE d.account = $1 AND d.lane = head.lane AND d.queue = head.queue
            AND d.state IN ('queued', 'retry') AND d.next_at <= now()
        LIMIT $2) AS counted) AS due
FROM head
WHERE next_at <= now() AND NOT EXISTS (
    SELECT FROM batch WHERE held AND id = CAST(nullif(split_part(head.queue, '/', 2), '') AS uuid))
"""
_LINES_WITH_OTHERS = text(_LINES.replace("$1", ":account").replace("$2", ":room"))
_CLAIM = text(
    """
    UPDATE delivery
    SET state = 'claimed', fence = fence + 1, updated_at = now(),
        lease_until = now() + make_interval(secs => :lease)
    FROM (
        SELECT due.id AS due_id
        FROM unnest(CAST(:lanes AS smallint[]), CAST(:queues AS text[]), CAST(:most AS int[]))
            AS turn(lane, queue, most), LATERAL (
            SELECT id FROM delivery AS d
            WHERE d.account = :account AND d.lane = turn.lane AND d.queue = turn.queue
                AND d.state IN ('queued', 'retry') AND d.next_at <= now()
            ORDER BY d.next_at, d.id LIMIT turn.most FOR UPDATE SKIP LOCKED) AS due
    ) AS due
    WHERE id = due_id
    RETURNING id, fence, lane, next_at, queue, user_id, channel, address, category, template, batch_id, step, variables,
        secret, at_least_once, attempts, coalesce(expires_at <= now(), false) AS expired
    """
)


async def waiting(db: AsyncSession) -> set[str]:
    """Accounts with something to send now."""
    return set(await db.scalars(_WAITING))


async def lines(db: AsyncSession, account: str, room: int) -> list[Head]:
    """The lines of an account, with as many as are due, counted up to `room`. Without those of batches on hold."""
    rows = await db.execute(_LINES_WITH_OTHERS, {"account": account, "room": room})
    return [Head(row.lane, row.queue, row.due) for row in rows]


async def lines_alone(fetch: Fetch, account: str, room: int) -> list[Head]:
    """The same past a session."""
    return [Head(row["lane"], row["queue"], row["due"]) for row in await fetch(_LINES, account, room)]


async def claim(
    db: AsyncSession, account: str, turns: Mapping[tuple[int, str], int], *, lease: float
) -> Sequence[Row[Any]]:
    """Takes so many of each line, the longest waiting first. In the order in which they shall leave."""
    if not turns:
        return []
    values = {
        "account": account,
        "lanes": [lane for lane, _ in turns],
        "queues": [queue for _, queue in turns],
        "most": list(turns.values()),
        "lease": lease,
    }
    rows = (await db.execute(_CLAIM, values)).all()
    return sorted(rows, key=lambda row: (row.lane, row.next_at, row.id))
