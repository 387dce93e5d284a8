"""Customers' endpoints: what happens becomes a message to each that listens, in the transaction that forgets it.

From there on it is a delivery like any other, with attempts, limits, outages and a second chance; only about its own
fate nothing is told.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock, rfc3339
from libs.db import Database
from libs.errors import NotFound
from libs.ids import uuid7
from notify_service.domain import orders, preferences
from notify_service.domain.channels import webhook
from notify_service.domain.channels.webhook_events import EVENT, TEST, hears
from notify_service.domain.happenings import Listening
from notify_service.domain.orders import Order
from notify_service.domain.signals import Signals
from notify_service.errors import NotAnEndpoint
from notify_service.models import Account

_OWNER = "notify"
_CATEGORY = "events"
# Messages of one turn: so many happenings, times those who listen.
_MOST, _MOST_ORDERS = 500, 5000
# What an endpoint that cannot be reached, or is refused, has not taken by then is given up.
_KEPT = timedelta(days=30)
# Of what is about somebody's security.
_SAID_ALWAYS = frozenset({"number", "delivery_id", "category", "state", "user"})
_TAKE = text(
    """
    WITH taken AS (
        DELETE FROM happening
        WHERE id IN (SELECT id FROM happening ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)
        RETURNING id, type, delivery_id, data, at
    )
    SELECT taken.*, d.id AS found, d.owner, d.channel, d.account, d.category, d.address, d.user_id, d.batch_id,
        d.digest_id, d.step, c.id AS campaign_id
    FROM taken LEFT JOIN delivery AS d ON d.id = taken.delivery_id LEFT JOIN campaign AS c ON c.batch_id = d.batch_id
    ORDER BY taken.id
    """
)
_GIVE_UP = text(
    """
    UPDATE delivery SET state = 'cancelled', reason = 'cancelled', updated_at = now()
    WHERE account = :account AND template = :event AND state IN ('queued', 'retry')
    """
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An account that listens."""

    name: str
    events: Sequence[str]
    categories: Sequence[str]

    def hears(self, event: str, category: str | None) -> bool:
        return hears(self.events, event) and (not self.categories or category is None or category in self.categories)


async def work(database: Database, signals: Signals, clock: Clock, listening: Listening) -> None:
    """One turn of the worker: all that has happened. `listening` is told who hears it."""
    while await _some(database, signals, clock, listening):
        pass


async def test(db: AsyncSession, name: str, *, owner: str, now: datetime) -> UUID:
    """Sends an endpoint something, whatever it listens to. Returns the delivery. Raises NotFound, NotAnEndpoint."""
    account = await db.get(Account, name)
    if account is None:
        raise NotFound
    if account.provider != webhook.CAPABILITY.provider:
        raise NotAnEndpoint
    order = _order(name, TEST, {"account": name}, now, owner=owner)
    await orders.order_many(db, [order], now)
    return order.id


async def give_up(db: AsyncSession, name: str) -> None:
    """What waits for an endpoint that shall be no more."""
    await db.execute(_GIVE_UP, {"account": name, "event": EVENT})


async def _some(database: Database, signals: Signals, clock: Clock, listening: Listening) -> bool:
    """Whether there may be more."""
    began = time.monotonic()
    async with database.transaction() as db:
        endpoints = await _listening(db)
        listening.found(somebody=bool(endpoints), at=began)
        most = max(1, min(_MOST, _MOST_ORDERS // max(1, len(endpoints))))
        rows = (await db.execute(_TAKE, {"most": most})).all()
        wanted = [
            _order(each.name, row.type, data, row.at)
            for row in rows
            if (data := _data(row)) is not None
            for each in endpoints
            if each.hears(row.type, data.get("category"))
        ]
        if wanted:
            await orders.order_many(db, wanted, clock.now())
            signals.wake(db, *{each.account for each in wanted})
    return len(rows) == most


async def _listening(db: AsyncSession) -> Sequence[Endpoint]:
    query = select(Account.name, Account.config).where(Account.enabled, Account.config.has_key("events"))
    rows = await db.execute(query.order_by(Account.name))
    return [Endpoint(row.name, row.config["events"], row.config.get("categories", ())) for row in rows]


def _data(row: Row[Any]) -> dict[str, Any] | None:
    """What is said of it; None where nothing can be said any more."""
    if row.delivery_id is None:
        return {"number": row.id, **row.data}
    if row.found is None:
        return None
    said = {"number": row.id, "delivery_id": str(row.delivery_id), "category": row.category, **row.data}
    # Of a user the id alone: the address is theirs.
    reader = {"address": row.address} if row.user_id is None else {"user": str(row.user_id)}
    if row.category in preferences.CRITICAL:
        return {name: value for name, value in {**said, **reader}.items() if name in _SAID_ALWAYS}
    ids = {"batch_id": row.batch_id, "campaign_id": row.campaign_id, "digest_id": row.digest_id}
    known = {name: str(value) for name, value in ids.items() if value is not None}
    return {**said, "owner": row.owner, "channel": row.channel, "account": row.account, **reader, **known}


def _order(account: str, event: str, data: dict[str, Any], at: datetime, *, owner: str = _OWNER) -> Order:
    return Order(
        id=uuid7(),
        owner=owner,
        channel=webhook.CAPABILITY.channel,
        account=account,
        address=webhook.ADDRESS,
        category=_CATEGORY,
        template=EVENT,
        variables={"type": event, "timestamp": rfc3339(at), "data": data},
        # Its receiver knows it by its id.
        at_least_once=True,
        expires_at=at + _KEPT,
    )
