"""Events leave a service through its own database: written in the transaction that makes them true, relayed afterwards.

The relay gives each event a position: 1, 2, 3 ... without holes. The position is the event's id in the Redis stream
`events:<service>`, so relaying twice changes nothing, and a reader can prove that it missed nothing. The rows stay for
seven days: who finds the stream cut short (Redis was flushed, or trimmed it) fetches them from `/internal/events`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.contracts.events import Event, EventData, EventPage
from libs.errors import Unavailable
from libs.ids import uuid7
from libs.lanes import Lanes

KEEP = timedelta(days=7)
# One relays, while one forgets.
_LANES = 2
_BATCH = 500
_LOOK_SECONDS = 1.0
_APART_SECONDS = 0.02
_STREAM_LENGTH = 100_000
# After a flush the stream is filled again with this many events; readers that are further behind ask the producer.
_REFILL = 10_000

log = structlog.get_logger()

_ADD = text(
    """
    INSERT INTO outbox (event_id, type, data, occurred_at)
    SELECT event_id, type, data, :at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:types AS text[]), CAST(:data AS jsonb[]))
        WITH ORDINALITY AS given(event_id, type, data, n)
    ORDER BY n
    """
)
_LOCK = "SELECT position FROM outbox_head FOR UPDATE"
_NUMBER = f"""
WITH waiting AS (
    SELECT id, row_number() OVER (ORDER BY id) AS n
    FROM (SELECT id FROM outbox WHERE position IS NULL ORDER BY id LIMIT {_BATCH}) AS first
),
head AS (
    UPDATE outbox_head SET position = position + (SELECT count(*) FROM waiting) WHERE EXISTS (SELECT FROM waiting)
    RETURNING position
),
numbered AS (
    UPDATE outbox SET position = head.position - (SELECT count(*) FROM waiting) + waiting.n
    FROM waiting, head WHERE outbox.id = waiting.id
    RETURNING event_id, type, data, occurred_at, outbox.position
)
SELECT * FROM numbered ORDER BY position
"""  # noqa: S608  -- constants
_READ = """
SELECT event_id, type, data, occurred_at, position FROM outbox WHERE position > $1 ORDER BY position LIMIT $2
"""
_READ_WITH_OTHERS = text(_READ.replace("$1", ":after").replace("$2", ":limit"))
# However many there are, no statement takes long.
_AT_ONCE = 10_000
_FORGET = f"""
WITH old AS (
    SELECT id FROM outbox WHERE position IS NOT NULL AND occurred_at < $1 ORDER BY occurred_at LIMIT {_AT_ONCE}
),
gone AS (DELETE FROM outbox WHERE id IN (SELECT id FROM old) RETURNING id)
SELECT count(*) AS gone FROM gone
"""  # noqa: S608  -- constants
_OLDEST = """
SELECT coalesce((SELECT min(position) FROM outbox), (SELECT position FROM outbox_head)) AS position
"""


def add_tables(metadata: MetaData) -> None:
    """Declares the tables of the outbox in a service's metadata."""
    Table(
        "outbox",
        metadata,
        # Assigned while the row that the event is about is locked, so it orders the events of one thing.
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Uuid, nullable=False, unique=True),
        Column("type", Text, nullable=False),
        Column("data", JSONB, nullable=False),
        Column("occurred_at", DateTime(timezone=True), nullable=False),
        Column("position", BigInteger, unique=True),
        Index("ix_outbox_waiting", "id", postgresql_where=text("position IS NULL")),
        Index("ix_outbox_occurred_at", "occurred_at"),
    )
    Table(
        "outbox_head",
        metadata,
        Column("only_row", Boolean, primary_key=True),
        Column("position", BigInteger, nullable=False),
    )


async def add(session: AsyncSession, event: EventData, now: datetime) -> UUID:
    """Writes the event in the caller's transaction."""
    return (await add_all(session, [event], now))[0]


async def add_all(session: AsyncSession, events: Sequence[EventData], now: datetime) -> list[UUID]:
    """Writes many in one statement, in their order."""
    ids = [uuid7() for _ in events]
    if events:
        types, data = [each.type for each in events], [each.model_dump_json() for each in events]
        await session.execute(_ADD, {"ids": ids, "types": types, "data": data, "at": now})
        session.info["events"] = True
    return ids


async def read(session: AsyncSession, service: str, *, after: int, limit: int) -> EventPage:
    rows = await session.execute(_READ_WITH_OTHERS, {"after": after, "limit": limit})
    events = [
        Event(
            id=r.event_id,
            type=r.type,
            producer=service,
            position=r.position,
            occurred_at=r.occurred_at,
            data=r.data,
        )
        for r in rows
    ]
    head = await session.scalar(text("SELECT position FROM outbox_head"))
    return EventPage(events=events, head=head or 0)


def stream_of(service: str) -> str:
    return f"events:{service}"


def wake_channel(service: str) -> str:
    return f"wake:{service}"


async def announce(redis: Redis, service: str) -> None:
    """A hint to the relay; losing it costs a second."""
    try:
        async with asyncio.timeout(0.2):
            await redis.publish(wake_channel(service), b"")
    except (RedisError, OSError, TimeoutError):
        log.warning("relay_not_woken")


@asynccontextmanager
async def open_relay(url: str, redis: Redis, service: str, clock: Clock) -> AsyncIterator["Relay"]:
    """`url`: of the service's database."""
    lanes = Lanes(service, url, _LANES)
    try:
        yield Relay(lanes, redis, service, clock)
    finally:
        await lanes.close()


class Relay:
    """Moves committed events to the stream. Any number may run; the row of `outbox_head` lets one at a time work.

    `lanes`: of its own, for it looks fifty times a second when much happens.
    """

    def __init__(self, lanes: Lanes, redis: Redis, service: str, clock: Clock) -> None:
        self._lanes = lanes
        self._redis = redis
        self._service = service
        self._stream = stream_of(service)
        self._clock = clock

    async def run(self) -> None:
        while True:
            try:
                await self._work_when_woken()
            except (RedisError, Unavailable, asyncpg.PostgresError, OSError) as error:
                log.warning("relay_waits", reason=type(error).__name__)
                await asyncio.sleep(1)

    async def _work_when_woken(self) -> None:
        async with self._redis.pubsub() as wakes:
            await wakes.subscribe(wake_channel(self._service))
            while True:
                began = time.monotonic()
                await self.relay()
                await wakes.get_message(ignore_subscribe_messages=True, timeout=_LOOK_SECONDS)
                # What is told meanwhile goes along: a look costs as much for one event as for a hundred.
                await asyncio.sleep(max(0.0, began + _APART_SECONDS - time.monotonic()))
                while await wakes.get_message(ignore_subscribe_messages=True, timeout=0.0):
                    pass

    async def relay(self) -> int:
        """Publishes everything that waits. Returns how many events there were."""
        relayed = 0
        while True:
            moved = await self._number()
            relayed += len(moved)
            # Also where there is nothing new: Redis may have lost what it had.
            await self._publish(moved)
            if len(moved) < _BATCH:
                return relayed

    async def forget(self) -> None:
        """Removes what was relayed more than seven days ago, from the stream as well; its newest entry stays."""
        before = self._clock.now() - KEEP
        while (await self._lanes.fetch(_FORGET, before))[0]["gone"] == _AT_ONCE:
            pass
        if oldest := (await self._lanes.fetch(_OLDEST))[0]["position"]:
            await self._redis.xtrim(self._stream, minid=f"{oldest}-0", approximate=False)

    async def _number(self) -> Sequence[Any]:
        """Returns the events that have a position now, in their order."""
        async with self._lanes.transaction() as fetch:
            # The lock is a statement of its own: what follows must see the rows that the last holder has numbered.
            await fetch(_LOCK)
            return await fetch(_NUMBER)

    async def _publish(self, moved: Sequence[Any]) -> None:
        """Appends what the stream lacks, mostly what has just `moved`.

        Under the lock of `outbox_head`, for entries must arrive in order: Redis refuses an id below the last one. After
        the commit of the numbers, for a position that was rolled back would be given to another event.
        """
        async with self._lanes.transaction() as fetch:
            head = (await fetch(_LOCK))[0]["position"]
            top = await self._top()
            after = max(top, head - _REFILL) if top == 0 else top
            if after >= head:
                return
            known = moved and moved[0]["position"] == after + 1 and moved[-1]["position"] == head
            rows = moved if known else await fetch(_READ, after, _REFILL)
            async with self._redis.pipeline(transaction=False) as pipe:
                for row in rows:
                    pipe.xadd(
                        self._stream,
                        {"event": self._event(row)},
                        id=f"{row['position']}-0",
                        maxlen=_STREAM_LENGTH,
                        approximate=True,
                    )
                await pipe.execute()

    def _event(self, row: Any) -> bytes:
        event = {
            "id": str(row["event_id"]),
            "type": row["type"],
            "producer": self._service,
            "position": row["position"],
            "occurred_at": row["occurred_at"],
            "data": orjson.Fragment(row["data"]),
        }
        return orjson.dumps(event)

    async def _top(self) -> int:
        last: Any = await self._redis.xrevrange(self._stream, count=1)
        return int(last[0][0].split(b"-")[0]) if last else 0


def parse(fields: dict[bytes, bytes]) -> Event:
    """An entry of the stream."""
    return Event.model_validate(json.loads(fields[b"event"]))
