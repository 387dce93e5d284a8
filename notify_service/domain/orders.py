"""Deliveries that shall be made, put into the queue."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import Table, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from notify_service.domain import happenings
from notify_service.domain.content import Content
from notify_service.domain.turns import NORMAL
from notify_service.models import Batch, Delivery

MAIL_ACCOUNT, SMS_ACCOUNT = "smtp", "sms"
INAPP = "inapp"
"""A channel, and its one account."""
NO_ADDRESS = "no_address"
"""Why a message is not sent to somebody whom nobody knows how to reach over its channel."""
_ADD_BATCH = insert(cast(Table, Batch.__table__))
_JSON = ("variables", "addresses")
_FEW = 100
_BATCH = "id, owner, account, content, route, held, created_at"
_DELIVERY = """
    id, owner, queue, batch_id, user_id, notification_id, channel, account, address, category, lane, template,
    variables, secret, at_least_once, expires_at, dedupe_key, state, reason, next_at, step, follow_at, addresses,
    digest_id, created_at, updated_at
"""
# What is there already stays as it is, so running this twice does no harm.
PLACE = f"""
WITH said AS (
    INSERT INTO batch ({_BATCH}) SELECT {_BATCH} FROM json_populate_recordset(NULL::batch, $1::json)
    ON CONFLICT (id) DO NOTHING
)
INSERT INTO delivery ({_DELIVERY}) SELECT {_DELIVERY} FROM json_populate_recordset(NULL::delivery, $2::json)
ON CONFLICT (id) DO NOTHING
"""  # noqa: S608  -- constants
"""Batches, and deliveries of theirs; both as `as_json` says them."""
_PLACE_WITH_OTHERS = text(
    PLACE.replace("$1::json", "CAST(:batches AS json)").replace("$2::json", "CAST(:orders AS json)")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A delivery that shall be made. With a `reason` it is recorded as suppressed, and never sent."""

    id: UUID
    owner: str
    address: str
    category: str
    template: str | None = None
    batch_id: UUID | None = None
    lane: int = NORMAL
    channel: str = "email"
    account: str = MAIL_ACCOUNT
    user_id: UUID | None = None
    notification_id: UUID | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    secret: str | None = None
    at_least_once: bool = False
    send_at: datetime | None = None
    expires_at: datetime | None = None
    dedupe_key: str | None = None
    duplicate: bool = False
    reason: str | None = None
    queue: str | None = None
    """`owner/batch` for those of many, which take turns with the owner's other batches and can be held; none: the
    owner's own line."""
    step: int = 0
    follow_after: int | None = None
    """Seconds until the next channel of the batch's route is asked."""
    addresses: dict[str, str] | None = None
    together: bool = False
    """Whether it may wait to be said with others of its category: it has no hurry, and is nothing but words."""
    keys: dict[str, str] = field(default_factory=dict)
    """What a digest can be kept apart by, besides its variables."""
    digest_id: UUID | None = None
    """What it waits for, until `send_at`."""

    @property
    def state(self) -> str:
        if self.duplicate:
            return "duplicate"
        if self.digest_id is not None:
            return "collected"
        return "suppressed" if self.reason else "queued"

    @property
    def reader(self) -> UUID | None:
        """The user who receives it; an inbox is named by its user."""
        return UUID(self.address) if self.channel == INAPP and self.address else self.user_id

    def row(self, now: datetime) -> dict[str, Any]:
        due = max(self.send_at, now) if self.send_at else now
        return {
            "id": self.id,
            "owner": self.owner,
            "queue": self.queue or self.owner,
            "batch_id": self.batch_id,
            "user_id": self.reader,
            "notification_id": self.notification_id,
            "channel": self.channel,
            "account": self.account,
            "address": self.address,
            "category": self.category,
            "lane": self.lane,
            "template": self.template,
            "variables": self.variables,
            "secret": self.secret,
            "at_least_once": self.at_least_once,
            "expires_at": self.expires_at,
            "dedupe_key": self.dedupe_key,
            "state": self.state,
            "reason": self.reason,
            "next_at": due,
            "step": self.step,
            "follow_at": self._follow_at(due),
            "addresses": self.addresses,
            "digest_id": self.digest_id,
            "created_at": now,
            "updated_at": now,
        }

    def _follow_at(self, due: datetime) -> datetime | None:
        if self.follow_after is None or self.duplicate:
            return None
        return due + timedelta(seconds=self.follow_after)


async def order(db: AsyncSession, orders: Sequence[Order], clock: Clock) -> None:
    """Puts them into the queue. An id that is there already changes nothing."""
    if orders:
        now = clock.now()
        rows = [each.row(now) for each in orders]
        await db.execute(insert(Delivery).on_conflict_do_nothing(index_elements=["id"]), rows)
        await happenings.ended(db, _ended(orders))


async def order_many(db: AsyncSession, orders: Sequence[Order], now: datetime) -> None:
    """The same for new ones, by the thousand."""
    rows = [each.row(now) for each in orders]
    columns = list(rows[0])
    for row in rows:
        for name in _JSON:
            if row[name] is not None:
                row[name] = json.dumps(row[name])
    driver = (await (await db.connection()).get_raw_connection()).driver_connection
    await cast(asyncpg.Connection, driver).copy_records_to_table(
        "delivery", records=[tuple(row.values()) for row in rows], columns=columns
    )
    await happenings.ended(db, _ended(orders))


def _ended(orders: Sequence[Order]) -> list[UUID]:
    """Those that are over before they begin."""
    return [each.id for each in orders if each.state in ("duplicate", "suppressed")]


def batch_row(
    batch_id: UUID,
    *,
    owner: str,
    content: Content,
    now: datetime,
    route: Sequence[Mapping[str, Any]] = (),
    account: str | None = None,
) -> dict[str, Any]:
    """`account`: which its sender has named."""
    return {
        "id": batch_id,
        "owner": owner,
        "account": account,
        "content": content.undeclared().model_dump(mode="json", exclude_defaults=True),
        "route": list(route),
        "created_at": now,
        "held": False,
    }


async def add_batch(db: AsyncSession, row: Mapping[str, Any]) -> None:
    await db.execute(_ADD_BATCH, row)


async def place(db: AsyncSession, batch: Mapping[str, Any], orders: Sequence[Order], now: datetime) -> None:
    """A batch and its deliveries."""
    if are_many(orders):
        await add_batch(db, batch)
        await order_many(db, orders, now)
        return
    rows = [each.row(now) for each in orders]
    await db.execute(_PLACE_WITH_OTHERS, {"batches": as_json([batch]), "orders": as_json(rows)})
    await happenings.ended(db, _ended(orders))


def are_many(orders: Sequence[Order]) -> bool:
    """So many that it pays to copy them."""
    return len(orders) > _FEW


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """For `PLACE`."""
    return orjson.dumps(rows, default=str).decode()


async def occasions(db: AsyncSession, orders: Collection[Order], *, since: datetime) -> set[tuple[str, str]]:
    """Of these orders' addresses and keys, those that have a message since then which was, or will be, sent."""
    rows = await db.execute(
        text(
            """
            SELECT DISTINCT d.address, d.dedupe_key
            FROM unnest(CAST(:channels AS text[]), CAST(:addresses AS text[]), CAST(:categories AS text[]),
                        CAST(:keys AS text[])) AS given(channel, address, category, key)
            JOIN delivery AS d ON d.channel = given.channel AND d.address = given.address
                AND d.category = given.category AND d.dedupe_key = given.key AND d.created_at > :since
            WHERE d.state NOT IN ('duplicate', 'cancelled', 'suppressed', 'failed', 'dead', 'expired')
            """
        ),
        {
            "channels": [order.channel for order in orders],
            "addresses": [order.address for order in orders],
            "categories": [order.category for order in orders],
            "keys": [order.dedupe_key for order in orders],
            "since": since,
        },
    )
    return {(row.address, row.dedupe_key) for row in rows}
