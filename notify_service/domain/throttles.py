"""How many messages of a category an address gets. What is over is recorded, and never sent."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain.categories import Rule, Throttle
from notify_service.domain.happenings import told_of
from notify_service.domain.orders import Order
from notify_service.domain.turns import HIGH

REASON = "throttled"
COUNT = "throttled_count"
"""The variable with which a content says how many were left out before it."""
# Of one address, with those planned for later: what is beyond is over.
_MOST_TIMES = 1000
# The next message says how many were left out, if it comes within so long.
_KEPT = timedelta(days=30)
# In one order for all, and locked until the commit: who asks at the same time counts what this one has taken.
_LOCK = text(
    """
    INSERT INTO throttle AS t (key, times, left_out, until)
    SELECT decode(given, 'hex'), CAST('{}' AS timestamptz[]), 0, CAST(:now AS timestamptz)
    FROM unnest(CAST(:keys AS text[])) AS given ORDER BY decode(given, 'hex')
    ON CONFLICT (key) DO UPDATE SET until = t.until
    RETURNING t.key, t.times, t.left_out
    """
)
_SEEN = text(
    """
    SELECT t.key, t.times FROM throttle AS t
    WHERE t.key = ANY(SELECT decode(given, 'hex') FROM unnest(CAST(:keys AS text[])) AS given)
    """
)
_WRITE = text(
    """
    UPDATE throttle SET times = given.times, left_out = given.left_out, until = given.until
    FROM json_to_recordset(CAST(:rows AS json)) AS given(
        hash text, times timestamptz[], left_out int, until timestamptz)
    WHERE throttle.key = decode(given.hash, 'hex')
    """
)
_FORGET = text("DELETE FROM throttle WHERE until < :before")


_OF_BATCH = text(
    """
    SELECT id, owner, channel, address, category, lane, variables FROM delivery
    WHERE batch_id = :batch AND state = 'queued' AND id > :after ORDER BY id LIMIT :most
    """
)
_JUDGE = text(
    f"""
    WITH judged AS (
        UPDATE delivery SET variables = given.variables, reason = given.reason,
            state = CASE WHEN given.reason IS NULL THEN state ELSE 'suppressed' END
        FROM json_to_recordset(CAST(:rows AS json)) AS given(id uuid, variables jsonb, reason text)
        WHERE delivery.id = given.id
        RETURNING delivery.id, delivery.state, delivery.reason, delivery.error_code, delivery.template
    )
    {told_of("judged")}
    """  # noqa: S608  -- constants
)
_AT_ONCE = 5000


@dataclass(slots=True)
class Use:
    """When an address got, or will get, messages of a category; and how many it did not since the last."""

    times: list[datetime]
    left_out: int = 0

    def take(self, due: datetime, rule: Throttle) -> bool:
        """Counts a message if there is room for it: in no window are more than the rule says, whatever comes first."""
        length = timedelta(seconds=rule.seconds)
        near = sorted([due, *(each for each in self.times if abs(each - due) < length)])
        behind = zip(near, near[rule.most :], strict=False)
        if len(self.times) >= _MOST_TIMES or any(last - first < length for first, last in behind):
            self.left_out += 1
            return False
        self.times.append(due)
        self.left_out = 0
        return True

    def forget(self, before: datetime) -> None:
        self.times = [each for each in self.times if each > before]


async def admit(db: AsyncSession, wanted: Sequence[Order], rules: Mapping[str, Rule], now: datetime) -> list[Order]:
    """Those that are too many are recorded as such; one that goes is told how many were, if it asks."""
    held = {order.id: (_key(order), rule) for order, rule in _throttled(wanted, rules)}
    if not held:
        return list(wanted)
    lengths = {key: timedelta(seconds=rule.seconds) for key, rule in held.values()}
    rows = await db.execute(_LOCK, {"keys": sorted(lengths), "now": now})
    uses = {row.key.hex(): Use(list(row.times), row.left_out) for row in rows}
    for key, use in uses.items():
        use.forget(now - lengths[key])
    admitted = list(wanted)
    for place, order in enumerate(wanted):
        if order.id in held:
            key, rule = held[order.id]
            admitted[place] = _judged(order, uses[key], rule, now)
    written = [
        {"hash": key, "times": use.times, "left_out": use.left_out, "until": max([now, *use.times]) + lengths[key]}
        for key, use in uses.items()
    ]
    await db.execute(_WRITE, {"rows": json.dumps(written, default=str)})
    return admitted


async def admit_batch(db: AsyncSession, batch_id: UUID, rules: Mapping[str, Rule], now: datetime) -> int:
    """The same for a batch whose deliveries were made in this transaction. Returns how many are too many."""
    over, after = 0, UUID(int=0)
    while True:
        rows = await db.execute(_OF_BATCH, {"batch": batch_id, "after": after, "most": _AT_ONCE})
        wanted = [Order(**row) for row in rows.mappings()]
        judged = [
            {"id": order.id, "variables": order.variables, "reason": order.reason}
            for order, before in zip(await admit(db, wanted, rules, now), wanted, strict=True)
            if order is not before
        ]
        if judged:
            await db.execute(_JUDGE, {"rows": json.dumps(judged, default=str)})
        over += sum(each["reason"] is not None for each in judged)
        if len(wanted) < _AT_ONCE:
            return over
        after = wanted[-1].id


async def foreseen(
    db: AsyncSession, channel: str, category: str, *, addresses: Sequence[str], rule: Throttle | None, now: datetime
) -> frozenset[str]:
    """Which of these would not get a message of the category now. Counts nothing."""
    if rule is None:
        return frozenset()
    over: set[str] = set()
    for start in range(0, len(addresses), _AT_ONCE):
        keys = {_hash(channel, each, category): each for each in addresses[start : start + _AT_ONCE]}
        for row in await db.execute(_SEEN, {"keys": list(keys)}):
            use = Use(list(row.times))
            use.forget(now - timedelta(seconds=rule.seconds))
            if not use.take(now, rule):
                over.add(keys[row.key.hex()])
    return frozenset(over)


async def forget(db: AsyncSession, now: datetime) -> None:
    await db.execute(_FORGET, {"before": now - _KEPT})


def _judged(order: Order, use: Use, rule: Throttle, now: datetime) -> Order:
    left_out = use.left_out
    if not use.take(max(order.send_at or now, now), rule):
        # No other channel either: there it would be too much as well.
        return replace(order, reason=REASON, follow_after=None)
    if COUNT in order.variables:
        return replace(order, variables={**order.variables, COUNT: str(left_out)})
    return order


def _throttled(wanted: Sequence[Order], rules: Mapping[str, Rule]) -> Iterator[tuple[Order, Throttle]]:
    for order in wanted:
        rule = rules.get(order.category)
        if rule and rule.throttle and order.state == "queued" and order.lane != HIGH:
            yield order, rule.throttle


def _key(order: Order) -> str:
    return _hash(order.channel, order.address, order.category)


def _hash(channel: str, address: str, category: str) -> str:
    return sha256(json.dumps((channel, address, category)).encode()).hexdigest()
