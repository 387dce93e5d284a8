"""What Prometheus hears of queues and accounts: looked up every few seconds, however often it asks.

Every worker tells the same of the queues, as the database has it, and of limits only for the accounts that it owns.
"""

from collections.abc import Callable, Mapping

from prometheus_client import Gauge
from sqlalchemy import text

from libs.clock import Clock
from libs.db import Database
from notify_service.domain import accounts, queues
from notify_service.domain.queues import Queue
from notify_service.domain.turns import BULK, HIGH, NORMAL

_MOST = 10_000
_LANES = {HIGH: "high", NORMAL: "normal", BULK: "bulk"}
_DEAD = text(
    """
    SELECT state, count(*) AS many FROM (
        SELECT state FROM delivery WHERE state IN ('dead', 'failed', 'unknown')
        ORDER BY updated_at DESC LIMIT :most) AS found
    GROUP BY state
    """
)

Values = Mapping[tuple[str, ...], float]


class Shown:
    """A gauge whose labels come and go with what they name."""

    def __init__(self, name: str, help_: str, *labels: str) -> None:
        self._gauge = Gauge(name, help_, labels)
        self._known: set[tuple[str, ...]] = set()

    def set(self, values: Values) -> None:
        for labels, value in values.items():
            self._gauge.labels(*labels).set(value)
        for labels in self._known - values.keys():
            self._gauge.remove(*labels)
        self._known = set(values)


_OF = ("channel", "account")
DEPTH = Shown("parley_queue_depth", "Deliveries that wait, counted up to 10,000 an account.", *_OF, "lane")
LAG = Shown("parley_queue_lag_seconds", "How long the first delivery that is due has waited.", *_OF)
IN_FLIGHT = Shown("parley_queue_in_flight", "Deliveries that a worker has in its hands.", *_OF)
HELD = Shown("parley_queue_held_batches", "Batches on hold.", *_OF)
STATE = Shown("parley_account_state", "1 for the state that an account is in.", *_OF, "state")
QUOTA = Shown("parley_account_quota_left", "Messages that may still go in the sliding day.", *_OF)
EXPIRY = Shown("parley_account_expires_timestamp_seconds", "When credentials that nothing renews end.", *_OF)
TOKENS = Shown("parley_account_tokens", "Messages that the account's rates let go at this moment.", *_OF)
DEAD = Shown("parley_dead_letters", "The newest 10,000 deliveries that were given up, by state.", "state")


async def work(database: Database, clock: Clock, tokens: Callable[[], Values]) -> None:
    """One turn of the worker. `tokens`: of the accounts that it owns."""
    async with database.transaction() as db:
        found = await queues.standing(db, clock.now(), most=_MOST)
        dead: Values = {(row.state,): float(row.many) for row in await db.execute(_DEAD, {"most": _MOST})}
    by_name = {(each.account.channel, each.account.name): each for each in found}
    DEPTH.set({(*of, name): each.waiting.get(lane, 0) for of, each in by_name.items() for lane, name in _LANES.items()})
    STATE.set({(*of, each.state): 1 for of, each in by_name.items()})
    for gauge, read in _READ.items():
        gauge.set({of: value for of, each in by_name.items() if (value := read(each)) is not None})
    TOKENS.set(tokens())
    DEAD.set(dead)


_READ: Mapping[Shown, Callable[[Queue], float | None]] = {
    LAG: lambda queue: queue.late,
    IN_FLIGHT: lambda queue: queue.in_flight,
    HELD: lambda queue: queue.held,
    QUOTA: lambda queue: queue.quota.left if queue.quota else None,
    EXPIRY: lambda queue: ends.timestamp() if (ends := accounts.expires_at(queue.account)) else None,
}
