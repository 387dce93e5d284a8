"""The next channel of a message that the one before it has not brought to its reader in time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.db import Database
from libs.ids import uuid7
from notify_service.domain import accounts, orders, profiles
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.orders import Order
from notify_service.domain.profiles import Ask
from notify_service.models import Profile

_MOST = 200
# How far a delivery has come; what is not here has not come far enough for anything.
_REACHED = {"sent": 1, "delivered": 2, "read": 3}
_DUE = text(
    """
    SELECT d.id, d.owner, d.queue, d.batch_id, d.user_id, d.category, d.lane, d.variables, d.expires_at, d.addresses,
        CASE WHEN n.read_at IS NULL THEN d.state ELSE 'read' END AS state, d.step, b.route, b.content
    FROM delivery AS d JOIN batch AS b ON b.id = d.batch_id LEFT JOIN notification AS n ON n.id = d.id
    WHERE d.follow_at <= now() AND d.state NOT IN ('claimed', 'sending') AND NOT b.held
    ORDER BY d.follow_at LIMIT :most FOR UPDATE OF d SKIP LOCKED
    """
)
_DONE = text(
    """
    UPDATE delivery SET follow_at = NULL, updated_at = now(),
        state = CASE WHEN id = ANY(:given_up) AND state IN ('queued', 'retry') THEN 'cancelled' ELSE state END,
        reason = CASE WHEN id = ANY(:given_up) AND state IN ('queued', 'retry') THEN 'fallback' ELSE reason END
    WHERE id = ANY(:ids)
    """
)


async def work(database: Database, ask: Ask, clock: Clock) -> int:
    """One turn of the worker: those whose time has come. Returns how many went on to their next channel."""
    async with database.transaction() as db:
        rows = (await db.execute(_DUE, {"most": _MOST})).all()
        if not rows:
            return 0
        known = await profiles.find(db, [row.user_id for row in rows if row.user_id], ask)
        now = clock.now()
        following = [await _next(db, row, known, now) for row in rows]
        wanted = [order for order in following if order is not None]
        given_up = [row.id for row, order in zip(rows, following, strict=True) if order is not None]
        await db.execute(_DONE, {"ids": [row.id for row in rows], "given_up": given_up})
        await orders.order(db, wanted, clock)
    return len(wanted)


def _came_far_enough(row: Row[Any]) -> bool:
    return row.step < len(row.route) and _REACHED.get(row.state, 0) >= _REACHED[row.route[row.step]["until"]]


async def _next(db: AsyncSession, row: Row[Any], known: Mapping[UUID, Profile], now: datetime) -> Order | None:
    """The delivery of the next step; None where there is nothing to do, or no way to do it."""
    if row.state in ("cancelled", "duplicate") or row.step >= len(row.route) or _came_far_enough(row):
        return None
    if row.expires_at is not None and row.expires_at <= now:
        return None
    step = row.route[row.step]
    name = step["account"]
    account = await (accounts.by_name(db, name) if name else accounts.choose(db, step["channel"], now))
    provider = PROVIDERS.get(account.provider) if account else None
    if account is None or provider is None:
        return None
    address = (row.addresses or {}).get(step["channel"])
    if address is None and row.user_id in known:
        address = profiles.address_of(known[row.user_id], provider.capability.address)
    later = row.route[row.step + 1] if row.step + 1 < len(row.route) else None
    return Order(
        id=uuid7(),
        owner=row.owner,
        queue=row.queue,
        batch_id=row.batch_id,
        user_id=row.user_id,
        channel=step["channel"],
        account=account.name,
        address=address or "",
        category=row.category,
        lane=row.lane,
        variables=row.variables,
        expires_at=row.expires_at,
        # Recorded all the same: who looks for the message finds why it went no further.
        reason=None if address else "no_address",
        step=row.step + 1,
        follow_after=None if later is None else later["after_seconds"] if address else 0,
        addresses=row.addresses,
    )
