"""The next channel of a message that the one before it has not brought to its reader in time.

A user's devices are one reader: what has reached one of them has reached its user, and the next channel is asked once,
when the last of them has failed or its time is over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.db import Database
from libs.ids import uuid7
from notify_service.domain import accounts, devices, happenings, orders, profiles, throttles
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.orders import NO_ADDRESS, Order
from notify_service.domain.profiles import Ask
from notify_service.models import Account, Profile

_MOST = 200
# How far a delivery has come; what is not here has not come far enough for anything.
_REACHED = {"sent": 1, "delivered": 2, "read": 3}
_WAITING = ("queued", "retry")
_DUE = text(
    """
    SELECT d.id, d.owner, d.queue, d.batch_id, d.user_id, d.channel, d.category, d.lane, d.variables, d.expires_at,
        d.addresses, d.step, b.route, b.content,
        CASE WHEN n.read_at IS NOT NULL THEN 'read' WHEN n.id IS NOT NULL AND d.state = 'sent' THEN 'delivered'
            ELSE d.state END AS state
    FROM delivery AS d JOIN batch AS b ON b.id = d.batch_id LEFT JOIN notification AS n ON n.id = d.id
    WHERE d.follow_at <= now() AND d.state NOT IN ('claimed', 'sending') AND NOT b.held
    ORDER BY d.follow_at LIMIT :most FOR UPDATE OF d SKIP LOCKED
    """
)
# Two workers could each leave it to the other.
_LOCK = text(
    """
    SELECT pg_advisory_xact_lock(hashtextextended(CAST(batch AS text), 6120778))
    FROM (SELECT unnest(CAST(:batches AS uuid[])) AS batch ORDER BY batch) AS held
    """
)
# With itself; `open`: others, which nobody looks at in this turn.
_OTHERS = text(
    """
    SELECT ours.id, bool_or(d.step > ours.step) AS went_on,
        bool_or(d.step = ours.step AND d.follow_at IS NOT NULL AND d.id <> ALL(:ids)) AS open,
        array_agg(d.state) FILTER (WHERE d.step = ours.step) AS states
    FROM delivery AS ours JOIN delivery AS d ON d.batch_id = ours.batch_id AND d.user_id = ours.user_id
        AND d.step >= ours.step AND d.variables - CAST(:count AS text) = ours.variables - CAST(:count AS text)
    WHERE ours.id = ANY(:ids) GROUP BY ours.id
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
        wanted: list[Order] = []
        given_up: list[UUID] = []
        for some in await _undecided(db, [row for row in rows if _may_go_on(row, now)]):
            following = await _next(db, some[0], known, now)
            wanted += following
            given_up += (row.id for row in some if following)
        await db.execute(_DONE, {"ids": [row.id for row in rows], "given_up": given_up})
        await happenings.ended(db, [row.id for row in rows if row.id in given_up and row.state in _WAITING])
        await orders.order(db, wanted, clock)
    return len(wanted)


def _may_go_on(row: Row[Any], now: datetime) -> bool:
    is_over = row.expires_at is not None and row.expires_at <= now
    return not is_over and row.state not in ("cancelled", "duplicate") and row.step < len(row.route)


def _came_far_enough(row: Row[Any], state: str) -> bool:
    return _REACHED.get(state, 0) >= _REACHED[row.route[row.step]["until"]]


async def _undecided(db: AsyncSession, rows: Sequence[Row[Any]]) -> list[list[Row[Any]]]:
    """By reader, those whom the message has not reached, unless one of their devices is still waited for."""
    decided = {row.id for row in rows if _came_far_enough(row, row.state)}
    on_devices = {row.id: row for row in rows if row.user_id is not None and row.channel in devices.CHANNELS}
    if on_devices:
        await db.execute(_LOCK, {"batches": [row.batch_id for row in on_devices.values()]})
        for found in await db.execute(_OTHERS, {"ids": list(on_devices), "count": throttles.COUNT}):
            row = on_devices[found.id]
            if found.went_on or found.open or any(_came_far_enough(row, state) for state in found.states):
                decided.add(row.id)
    readers: dict[object, list[Row[Any]]] = {}
    for row in rows:
        if row.id not in decided:
            readers.setdefault(_reader(row) if row.id in on_devices else row.id, []).append(row)
    return list(readers.values())


def _reader(row: Row[Any]) -> tuple[object, ...]:
    """What a user's devices have in common; a user may be in a batch twice, with something else to be told."""
    said = frozenset((name, value) for name, value in row.variables.items() if name != throttles.COUNT)
    return row.batch_id, row.user_id, row.step, said


async def _next(db: AsyncSession, row: Row[Any], known: Mapping[UUID, Profile], now: datetime) -> list[Order]:
    """The deliveries of the next step; none where there is no way to do it."""
    step = row.route[row.step]
    name = step["account"]
    account = await (accounts.by_name(db, name) if name else accounts.choose(db, step["channel"], now))
    if account is None or account.provider not in PROVIDERS:
        return []
    later = row.route[row.step + 1] if row.step + 1 < len(row.route) else None
    like = Order(
        id=row.id,
        owner=row.owner,
        queue=row.queue,
        batch_id=row.batch_id,
        user_id=row.user_id,
        channel=step["channel"],
        account=account.name,
        address="",
        category=row.category,
        lane=row.lane,
        variables=row.variables,
        expires_at=row.expires_at,
        step=row.step + 1,
        follow_after=None if later is None else later["after_seconds"],
        addresses=row.addresses,
    )
    ways = await _ways(db, row, account, known, only=name)
    if not ways:
        # Recorded all the same: who looks for the message finds why it went no further.
        return [replace(like, id=uuid7(), reason=NO_ADDRESS, follow_after=None if later is None else 0)]
    return [replace(like, id=uuid7(), address=address, account=sender) for address, sender in ways]


async def _ways(
    db: AsyncSession, row: Row[Any], account: Account, known: Mapping[UUID, Profile], *, only: str | None
) -> list[tuple[str, str]]:
    """Addresses on the channel of an account, each with who sends there."""
    address = (row.addresses or {}).get(account.channel)
    if address is None and row.user_id in known:
        if account.channel in devices.CHANNELS:
            theirs = await devices.among(db, account.channel, [row.user_id], only)
            return [(each.address, each.account) for each in theirs.get(row.user_id, ())]
        address = profiles.address_of(known[row.user_id], PROVIDERS[account.provider].capability.address)
    return [(address, account.name)] if address else []
