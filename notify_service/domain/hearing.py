"""What follows from what providers tell us. Each telling has its effect in one transaction, which also ends it."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from libs import outbox
from libs.clock import Clock
from libs.contracts.notifications import InboundMessage
from libs.db import Database
from libs.ids import uuid7
from notify_service.domain import account_events, effects, matching, media, told
from notify_service.domain.channels import Effect
from notify_service.domain.channels.inbound import MESSAGE, RECEIPT, Event
from notify_service.domain.matching import Heard

_MOST = 200
# A receipt may be faster than the answer that names its message; most are matched at once, and none after this.
_TRIES, _AGAIN_SECONDS = 12, 5.0
TOLD = Counter("parley_told_total", "What providers have told, by what came of it.", ["outcome"])

log = structlog.get_logger()

_TAKE = text(
    """
    SELECT id, account, event, attempts FROM told WHERE next_at <= now()
    ORDER BY next_at, id LIMIT :most FOR UPDATE SKIP LOCKED
    """
)
_DONE = text(
    """
    UPDATE told SET event = NULL, next_at = NULL, outcome = done.what, attempts = attempts + 1
    FROM unnest(CAST(:ids AS bigint[]), CAST(:outcomes AS text[])) AS done(told_id, what) WHERE id = told_id
    """
)
_LATER = text(
    """
    UPDATE told SET next_at = now() + make_interval(secs => :seconds * (attempts + 1)), attempts = attempts + 1
    WHERE id = ANY(:ids)
    """
)
_WROTE = text(
    """
    INSERT INTO thread AS t (account, peer, alias, name, last_inbound_at)
    VALUES (:account, :peer, :alias, :name, :at)
    ON CONFLICT (account, peer) DO UPDATE SET last_inbound_at = greatest(t.last_inbound_at, excluded.last_inbound_at),
        alias = coalesce(excluded.alias, t.alias), name = coalesce(excluded.name, t.name)
    """
)
_MESSAGE = text(
    """
    INSERT INTO inbound_message (id, account, peer, provider_id, text, media, data, at, received_at)
    VALUES (:id, :account, :peer, :provider_id, :text, :media, :data, :at, now())
    ON CONFLICT (account, provider_id) DO NOTHING RETURNING id
    """
).bindparams(bindparam("media", type_=JSONB(none_as_null=True)), bindparam("data", type_=JSONB))


class Hearing:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def work(self) -> None:
        """One turn of the worker: all that is to be looked at now."""
        while await self._some() == _MOST:
            pass

    async def _some(self) -> int:
        async with self._db.transaction() as db:
            rows = (await db.execute(_TAKE, {"most": _MOST})).all()
            outcomes: dict[int, str | None] = {}
            receipts: list[Heard] = []
            for row in rows:
                try:
                    event = told.loaded(row.event)
                except (ValueError, TypeError, KeyError):
                    # Written by another release. It must hold nobody else up.
                    log.exception("told_not_understood", account=row.account, told=row.id)
                    outcomes[row.id] = "fault"
                    continue
                if event.kind == RECEIPT:
                    receipts.append(Heard(row.id, row.account, event))
                elif event.kind == MESSAGE:
                    outcomes[row.id] = await self._message(db, row.account, event)
                else:
                    outcomes[row.id] = await account_events.apply(db, row.account, event, self._clock.now())
            outcomes |= await matching.apply(db, receipts, self._clock.now())
            await _end(db, rows, outcomes)
        return len(rows)

    async def _message(self, db: AsyncSession, account: str, event: Event) -> str:
        if not event.peer or not event.provider_id:
            return "ignored"
        now = self._clock.now()
        at = min(event.at or now, now)
        alias, name = event.data.get("phone"), event.data.get("name")
        values = {"account": account, "peer": event.peer, "alias": alias, "name": name, "at": at}
        await db.execute(_WROTE, values)
        if event.effect in (Effect.OPT_OUT, Effect.SUPPRESS):
            await effects.suppress(db, account, event.peer, event.effect)
        said = {"text": event.text, "media": event.media and dict(event.media), "data": dict(event.data)}
        inserted = await db.scalar(
            _MESSAGE,
            {"id": uuid7(), "account": account, "peer": event.peer, "provider_id": event.provider_id, "at": at, **said},
        )
        if inserted is None:
            return "known"
        await media.want(db, account, inserted, event)
        await outbox.add(db, InboundMessage(message_id=inserted, account=account, peer=event.peer), now)
        return "applied"


async def _end(db: AsyncSession, rows: Sequence[Row[Any]], outcomes: Mapping[int, str | None]) -> None:
    """Those that found nothing yet are looked at again, a few times."""
    later = [row.id for row in rows if outcomes[row.id] is None and row.attempts + 1 < _TRIES]
    done = {row.id: outcomes[row.id] or "unmatched" for row in rows if row.id not in set(later)}
    if later:
        await db.execute(_LATER, {"ids": later, "seconds": _AGAIN_SECONDS})
    if done:
        await db.execute(_DONE, {"ids": list(done), "outcomes": list(done.values())})
        for outcome in done.values():
            TOLD.labels(outcome).inc()
