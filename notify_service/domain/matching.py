"""Receipts, brought to their deliveries: many at a time."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs import outbox
from libs.contracts.notifications import DeliveryChanged
from notify_service.domain import campaign_progress, effects
from notify_service.domain.channels import Effect
from notify_service.domain.happenings import told_of
from notify_service.domain.receipts import Receipt, Standing, merged
from notify_service.domain.told import Heard

# By the id that a provider gives back to us, or else by its own. Rows that their sender is about to write are left for
# later: waiting for them here could mean that each waits for the other.
_FIND = text(
    """
    SELECT asked.told, d.id, d.owner, d.state, d.sent_at, d.delivered_at, d.read_at, d.reason, d.error_class,
        d.error_code
    FROM json_to_recordset(CAST(:asked AS json)) AS asked(told bigint, account text, correlation uuid, provider_id text)
    CROSS JOIN LATERAL (
        SELECT coalesce(
            (SELECT id FROM delivery WHERE id = asked.correlation AND account = asked.account),
            (SELECT id FROM delivery WHERE account = asked.account AND provider_id = asked.provider_id LIMIT 1)) AS id
    ) AS found
    JOIN delivery AS d ON d.id = found.id
    FOR UPDATE OF d SKIP LOCKED
    """
)
_CHANGE = text(
    f"""
    WITH changed AS (
        UPDATE delivery SET state = new.state, sent_at = new.sent_at, delivered_at = new.delivered_at,
            read_at = new.read_at, reason = new.reason, error_class = new.error_class, error_code = new.error_code,
            provider_id = coalesce(delivery.provider_id, new.provider_id), secret = NULL, updated_at = now(),
            follow_at = CASE WHEN new.state = 'failed' AND follow_at > now() THEN now() ELSE follow_at END
        FROM json_to_recordset(CAST(:changes AS json)) AS new(id uuid, state text, sent_at timestamptz,
            delivered_at timestamptz, read_at timestamptz, reason text, error_class text, error_code text,
            provider_id text, moved bool)
        WHERE delivery.id = new.id
        RETURNING delivery.id, delivery.state, delivery.reason, delivery.error_code, delivery.template, new.moved
    )
    {told_of("(SELECT * FROM changed WHERE moved) AS moved")}
    """  # noqa: S608  -- constants
)
_IN_HANDS = frozenset({"claimed", "sending"})


async def apply(db: AsyncSession, receipts: Sequence[Heard], now: datetime) -> dict[int, str | None]:
    """What came of each; None: its delivery is not to be found yet, or in somebody's hands."""
    outcomes: dict[int, str | None] = {each.id: None for each in receipts}
    rows = {row.told: row for row in await _find(db, receipts)}
    standings: dict[UUID, Standing] = {}
    changed: dict[UUID, tuple[Row[Any], str | None]] = {}
    beyond: dict[str, list[tuple[UUID, Effect]]] = defaultdict(list)
    soft: set[UUID] = set()
    for heard in receipts:
        row, event = rows.get(heard.id), heard.event
        if row is None or row.state in _IN_HANDS:
            continue
        if event.effect is not None:
            beyond[event.data.get("because", effects.PROVIDER)].append((row.id, event.effect))
        if event.data.get("bounce") == "soft":
            soft.add(row.id)
        old = standings.get(row.id) or Standing(*(getattr(row, name) for name in Standing.__slots__))
        # Some say only what somebody wishes, and nothing of how far the message came.
        new = merged(old, Receipt(event.state, event.at or now, event.error, event.code)) if event.state else old
        outcomes[heard.id] = "known" if new == old and event.state else "applied"
        standings[row.id] = new
        if new != old:
            changed[row.id] = (row, event.provider_id)
    await _write(db, ((row, standings[key], provider_id) for key, (row, provider_id) in changed.items()), now)
    for reason in sorted(beyond):
        await effects.apply(db, beyond[reason], reason)
    await effects.rest(db, soft)
    await campaign_progress.touch(db, changed)
    return outcomes


async def _find(db: AsyncSession, receipts: Sequence[Heard]) -> Sequence[Row[Any]]:
    asked = [
        {
            "told": each.id,
            "account": each.account,
            "correlation": each.event.correlation,
            "provider_id": each.event.provider_id,
        }
        for each in receipts
    ]
    return (await db.execute(_FIND, {"asked": orjson.dumps(asked).decode()})).all() if asked else []


async def _write(db: AsyncSession, changes: Iterable[tuple[Row[Any], Standing, str | None]], now: datetime) -> None:
    found = list(changes)
    if not found:
        return
    values = [
        {
            "id": row.id,
            "provider_id": provider_id,
            "moved": new.state != row.state,
            **{name: getattr(new, name) for name in Standing.__slots__},
        }
        for row, new, provider_id in found
    ]
    await db.execute(_CHANGE, {"changes": orjson.dumps(values, default=str).decode()})
    events = [
        DeliveryChanged(delivery_id=row.id, owner=row.owner, state=new.state, reason=new.reason)
        for row, new, _ in found
        if new.state != row.state
    ]
    await outbox.add_all(db, events, now)
