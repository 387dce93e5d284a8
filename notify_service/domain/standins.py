"""Accounts that stand in for each other: what waits for one that is down or refused goes over another of its channel.

Only where the provider says that accounts reach the same addresses, and never for a message whose sender has named the
account. What may have left already is not touched.
"""

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.db import Database
from notify_service.domain.accounts import SETTLES
from notify_service.domain.channels.registry import PROVIDERS

_MOST = 1000
# So many statements a turn: the next one goes on.
_ROUNDS = 20
INTERCHANGEABLE = sorted(name for name, each in PROVIDERS.items() if each.capability.interchangeable)
_PAIRS = text(
    """
    SELECT ill.name, well.name AS other
    FROM account AS ill, LATERAL (
        SELECT name FROM account AS a
        WHERE a.channel = ill.channel AND a.name <> ill.name AND a.enabled AND a.provider = ANY(:providers)
            AND a.fault IS NULL AND (a.down_until IS NULL OR a.down_until <= now())
        ORDER BY coalesce(a.down_until > now() - CAST(:settles AS interval), false), a.rank, a.name LIMIT 1) AS well
    WHERE ill.provider = ANY(:providers) AND ill.enabled AND (ill.fault IS NOT NULL OR ill.down_until > now())
    ORDER BY ill.name
    """
)
_MOVE = text(
    """
    UPDATE delivery SET account = :other, updated_at = now() WHERE id IN (
        SELECT d.id FROM delivery AS d LEFT JOIN batch AS b ON b.id = d.batch_id
        WHERE d.account = :name AND d.state IN ('queued', 'retry')
            AND CASE WHEN d.step = 0 THEN b.account ELSE b.route -> (d.step - 1) ->> 'account' END IS NULL
        ORDER BY d.lane, d.queue, d.next_at LIMIT :most FOR UPDATE OF d SKIP LOCKED)
    """
)

log = structlog.get_logger()


async def work(database: Database) -> None:
    """One turn of the worker."""
    async with database.transaction() as db:
        pairs = (await db.execute(_PAIRS, {"providers": INTERCHANGEABLE, "settles": SETTLES})).all()
    for ill, other in pairs:
        await _relieve(database, ill, other)


async def _relieve(database: Database, ill: str, other: str) -> None:
    for _ in range(_ROUNDS):
        async with database.transaction() as db:
            moved = await _move(db, ill, other)
        if moved:
            log.warning("account_stands_in", account=other, stands_in_for=ill, deliveries=moved)
        if moved < _MOST:
            return


async def _move(db: AsyncSession, ill: str, other: str) -> int:
    result = await db.execute(_MOVE, {"name": ill, "other": other, "most": _MOST})
    count: int = result.rowcount  # type: ignore[attr-defined]  # of a statement that writes
    return count
