"""Messages of a category that are collected, and said as one.

A collected message is a delivery in the state `collected` that names its digest; the digest itself holds none. The
first one opens it. Whoever adds to it keeps its row locked until the commit, as does the worker that closes it: so each
message is said once, by the digest that it names.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.db import Database
from libs.ids import uuid7
from notify_service.domain import categories, devices, orders, profiles
from notify_service.domain.categories import Digest, Rule
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.content import Content
from notify_service.domain.digest_times import LookBack
from notify_service.domain.digest_words import letter_of, message_of
from notify_service.domain.happenings import told_of
from notify_service.domain.orders import Order
from notify_service.domain.turns import HIGH

_TEMPLATE = "digest"
_MOST = 100
_MOST_ITEMS = 20
# Channels whose messages have subjects.
_TITLED = {each.capability.channel for each in PROVIDERS.values() if each.capability.subject_max is not None}
# Where readers are who are no users of ours.
_NOWHERE = "UTC"
# Later than this our own mail about messages has nothing to say any more.
_WORTH_SENDING = timedelta(hours=24)
_OPEN = text(
    """
    INSERT INTO digest AS d (id, bucket, owner, user_id, channel, account, address, category, closes_at)
    SELECT id, decode(bucket, 'hex'), owner, user_id, channel, account, address, category, closes_at
    FROM json_to_recordset(CAST(:rows AS json)) AS given(
        id uuid, bucket text, owner text, user_id uuid, channel text, account text, address text, category text,
        closes_at timestamptz)
    ORDER BY decode(bucket, 'hex')
    ON CONFLICT (bucket) DO UPDATE SET address = excluded.address
    RETURNING d.bucket, d.id, d.closes_at
    """
)
_DUE = text(
    """
    SELECT id, owner, user_id, channel, account, address, category FROM digest
    WHERE closes_at <= now() ORDER BY closes_at LIMIT :most FOR UPDATE SKIP LOCKED
    """
)
_FIRST = text(
    """
    SELECT item.id, item.digest_id, item.template, item.variables, batch.content
    FROM unnest(CAST(:ids AS uuid[]), CAST(:most AS int[])) AS due(id, most), LATERAL (
        SELECT d.id, d.digest_id, d.batch_id, d.template, d.variables FROM delivery AS d
        WHERE d.digest_id = due.id AND d.state = 'collected' ORDER BY d.id LIMIT due.most FOR UPDATE) AS item
    LEFT JOIN batch ON batch.id = item.batch_id
    ORDER BY item.id
    """
)
_RELEASE = text(
    """
    UPDATE delivery SET state = 'queued', digest_id = NULL, next_at = now(), updated_at = now(),
        expires_at = CASE WHEN template IS NULL THEN expires_at ELSE :expires_at END
    WHERE id = ANY(:ids)
    """
)
_SAY = text(
    f"""
    WITH said AS (
        UPDATE delivery SET state = 'digested', updated_at = now()
        WHERE digest_id = ANY(:ids) AND state = 'collected'
        RETURNING digest_id, id, state, reason, error_code, template
    ),
    told AS ({told_of("said")})
    SELECT digest_id, count(*) AS many FROM said GROUP BY digest_id
    """  # noqa: S608  -- constants
)
_CLOSE = text("DELETE FROM digest WHERE id = ANY(:ids)")
_OPEN_AGAIN = text("UPDATE digest SET id = :new, closes_at = :closes_at WHERE id = :id")


async def collect(db: AsyncSession, wanted: Sequence[Order], rules: Mapping[str, Rule], now: datetime) -> list[Order]:
    """Those that shall wait are given what they wait for; the others are as they were."""
    waiting = list(_collectable(wanted, rules, now))
    if not waiting:
        return list(wanted)
    zones = await profiles.timezones(db, [order.user_id for order, _ in waiting if order.user_id])
    opening: dict[str, dict[str, Any]] = {}
    for order, rule in waiting:
        closes_at = rule.window.closes(now, zones.get(order.user_id, _NOWHERE) if order.user_id else _NOWHERE)
        opening.setdefault(_bucket(order, rule), _row(order, closes_at))
    rows = [{"bucket": bucket, **row} for bucket, row in opening.items()]
    found = {row.bucket.hex(): row for row in await db.execute(_OPEN, {"rows": json.dumps(rows, default=str)})}
    buckets = {order.id: _bucket(order, rule) for order, rule in waiting}
    looking_back = {buckets[order.id] for order, rule in waiting if isinstance(rule.window, LookBack)}
    at_once = {bucket for bucket in looking_back if found[bucket].id == opening[bucket]["id"]}
    return [_placed(order, buckets.get(order.id), found, at_once) for order in wanted]


async def work(database: Database, clock: Clock) -> None:
    """One turn of the worker: closes what is due."""
    while await _close(database, clock) == _MOST:
        pass


async def _close(database: Database, clock: Clock) -> int:
    async with database.transaction() as db:
        due = (await db.execute(_DUE, {"most": _MOST})).all()
        if not due:
            return 0
        now = clock.now()
        ids = [row.id for row in due]
        rules = await categories.among(db, {row.category for row in due})
        items = await _items(db, due, rules)
        # One alone is no digest: it goes as it came.
        alone = [found[0].id for found in items.values() if len(found) == 1]
        await db.execute(_RELEASE, {"ids": alone, "expires_at": now + _WORTH_SENDING})
        many = {row.digest_id: row.many for row in await db.execute(_SAY, {"ids": ids})}
        said = [
            await _said(db, row, items[row.id], many[row.id], rule=_rule(rules, row), now=now)
            for row in due
            if row.id in many
        ]
        await orders.order(db, said, clock)
        reopened = [row.id for row in due if row.id in items and await _open_again(db, row, rules, now)]
        await db.execute(_CLOSE, {"ids": [each for each in ids if each not in reopened]})
    return len(due)


async def _items(db: AsyncSession, due: Sequence[Row[Any]], rules: Mapping[str, Rule]) -> dict[UUID, list[Row[Any]]]:
    """The first messages of each, as many as it shows."""
    shown = [rule.most_items if (rule := _rule(rules, row)) else _MOST_ITEMS for row in due]
    items: dict[UUID, list[Row[Any]]] = {}
    for item in await db.execute(_FIRST, {"ids": [row.id for row in due], "most": shown}):
        items.setdefault(item.digest_id, []).append(item)
    return items


async def _said(
    db: AsyncSession, row: Row[Any], items: Sequence[Row[Any]], many: int, *, rule: Digest | None, now: datetime
) -> Order:
    """The delivery that says these, and that there are so many."""
    order = Order(
        id=row.id,
        owner=row.owner,
        user_id=row.user_id,
        channel=row.channel,
        account=row.account,
        address=row.address,
        category=row.category,
    )
    if items[0].template is not None:
        told = letter_of([item.variables for item in items], many)
        return replace(order, template=_TEMPLATE, variables=told, expires_at=now + _WORTH_SENDING)
    contents = [(Content.model_validate(item.content), item.variables) for item in items]
    content, values = message_of(rule.content if rule else None, contents, many, titled=row.channel in _TITLED)
    batch_id = uuid7()
    await orders.add_batch(db, orders.batch_row(batch_id, owner=row.owner, content=content, now=now))
    return replace(order, batch_id=batch_id, variables=values)


async def _open_again(db: AsyncSession, row: Row[Any], rules: Mapping[str, Rule], now: datetime) -> bool:
    """Where the first message goes at once: its reader has just been sent something, so what follows is collected."""
    rule = _rule(rules, row)
    if rule is None or not isinstance(rule.window, LookBack):
        return False
    values = {"id": row.id, "new": uuid7(), "closes_at": rule.window.closes(now, _NOWHERE)}
    await db.execute(_OPEN_AGAIN, values)
    return True


def _rule(rules: Mapping[str, Rule], row: Row[Any]) -> Digest | None:
    found = rules.get(row.category)
    return found.digest if found else None


def _collectable(wanted: Sequence[Order], rules: Mapping[str, Rule], now: datetime) -> Iterator[tuple[Order, Digest]]:
    for order in wanted:
        rule = rules.get(order.category)
        if rule is None or rule.digest is None or order.lane == HIGH or order.state != "queued":
            continue
        if order.together and (order.expires_at is None or order.expires_at > now):
            yield order, rule.digest


def _bucket(order: Order, rule: Digest) -> str:
    """What keeps digests apart, as a hash: who sends, over which account, who reads, and what the rule names."""
    key = str(order.keys.get(rule.key) or order.variables.get(rule.key) or "") if rule.key else ""
    reader = order.address if order.user_id is None or order.channel in devices.CHANNELS else ""
    apart = (order.owner, order.account, order.category, str(order.user_id), reader, key)
    return sha256(json.dumps(apart).encode()).hexdigest()


def _row(order: Order, closes_at: datetime) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "owner": order.owner,
        "user_id": order.user_id,
        "channel": order.channel,
        "account": order.account,
        "address": order.address,
        "category": order.category,
        "closes_at": closes_at,
    }


def _placed(order: Order, bucket: str | None, found: Mapping[str, Row[Any]], at_once: set[str]) -> Order:
    if bucket is None:
        return order
    if bucket in at_once:
        at_once.remove(bucket)
        return order
    # Its news is old by the clock of the digest, not by its own.
    return replace(order, digest_id=found[bucket].id, send_at=found[bucket].closes_at, expires_at=None)
