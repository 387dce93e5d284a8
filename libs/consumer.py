"""Reading another service's events, each one exactly once in effect.

The position reached is a row of the reader's own database and moves in the same transaction as the effects. So a crash
repeats nothing, a second worker skips what the first has done, and the Redis stream needs no consumer group.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import BigInteger, Column, DateTime, MetaData, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.contracts.events import Event, EventData, EventPage
from libs.db import Database, is_unavailable
from libs.errors import ServiceError
from libs.http import InternalClient
from libs.metrics import EVENTS
from libs.outbox import parse, stream_of
from libs.redis import read_stream

Handler = Callable[[AsyncSession, Event], Awaitable[None]]
_BATCH = 200
_BLOCK_MS = 2000
_TRIES = 5
# So many events that concern nobody here are passed before that is written down; in silence it is at once.
_MOST_PASSED = 1000

log = structlog.get_logger()


def add_tables(metadata: MetaData) -> None:
    """Declares the tables of a consumer in a service's metadata."""
    Table(
        "consumer_position",
        metadata,
        Column("producer", Text, primary_key=True),
        Column("position", BigInteger, nullable=False),
    )
    Table(
        "dead_event",
        metadata,
        Column("producer", Text, primary_key=True),
        Column("position", BigInteger, primary_key=True),
        Column("type", Text, nullable=False),
        Column("data", JSONB, nullable=False),
        Column("error", Text, nullable=False),
        Column("died_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def handles(shape: type[EventData], handler: Callable[..., Awaitable[None]]) -> tuple[str, Handler]:
    """Pairs an event type with a function `(session, data, event)` that gets its data parsed."""

    async def parsed(session: AsyncSession, event: Event) -> None:
        await handler(session, shape.model_validate(event.data), event)

    return shape.type, parsed


class Consumer:
    """Applies the events of one producer in order. An event that keeps failing is put aside in `dead_event`."""

    def __init__(
        self,
        db: Database,
        redis: Redis,
        producer: InternalClient,
        handlers: Mapping[str, Handler],
        *,
        service: str,
    ) -> None:
        self._db = db
        self._redis = redis
        self._client = producer
        self._producer = producer.target
        self._stream = stream_of(producer.target)
        self._handlers = handlers
        # As this process last wrote it; none: to be looked up, as after whatever went wrong.
        self._stored: int | None = None
        # What came after that concerns nobody here.
        self._passed = 0
        self._count = {o: EVENTS.labels(service, producer.target, o) for o in ("done", "ignored", "dead")}

    async def run(self) -> None:
        while True:
            try:
                await self.step()
            except (RedisError, SQLAlchemyError, OSError, ServiceError) as error:
                log.warning("consumer_waits", producer=self._producer, reason=type(error).__name__)
                await asyncio.sleep(1)

    async def step(self) -> None:
        """Reads and applies one batch; waits up to two seconds for one."""
        stored = await self._position() if self._stored is None else self._stored
        position, self._stored = max(stored, self._passed), None
        entries = await read_stream(self._redis, self._stream, f"{position}-0", count=_BATCH, block_ms=_BLOCK_MS)
        events = [parse(fields) for _, fields in entries]
        if not events or events[0].position == position + 1:
            self._stored = await self._go_on(events, stored)
        # A hole. Silence is none: after a flush the relay fills the stream again within a second.
        elif not await self._catch_up(position):
            # The producer has forgotten it all; the newest entry stays in the stream.
            log.warning("events_expired", producer=self._producer, after=position, next=events[0].position)
            await self._apply(events)

    async def _go_on(self, events: Sequence[Event], stored: int) -> int:
        """Returns the position that is stored then."""
        if not events:
            if self._passed > stored:
                await self._write_down(self._passed)
            return max(self._passed, stored)
        last = events[-1].position
        if self._concerns(events) or last - stored > _MOST_PASSED:
            await self._apply(events)
            return last
        self._passed = last
        self._count["ignored"].inc(len(events))
        return stored

    async def _position(self) -> int:
        async with self._db.transaction() as session:
            query = text("SELECT position FROM consumer_position WHERE producer = :producer")
            return await session.scalar(query, {"producer": self._producer}) or 0

    def _concerns(self, events: Sequence[Event]) -> bool:
        """What concerns nobody here may be read again: nothing became true with its position."""
        return any(event.type in self._handlers for event in events)

    async def _write_down(self, position: int) -> None:
        async with self._db.transaction() as session:
            await self._lock(session)
            await self._move(session, position)

    async def _catch_up(self, position: int) -> bool:
        """Whether the producer had any events after the position."""
        start = position
        while True:
            page = await self._client.get("/internal/events", EventPage, {"after": position, "limit": _BATCH})
            if not page.events:
                return position > start
            if page.events[0].position != position + 1:
                log.warning("events_expired", producer=self._producer, after=position, next=page.events[0].position)
            await self._apply(page.events)
            position = page.events[-1].position

    async def _apply(self, events: Sequence[Event]) -> None:
        try:
            await self._apply_batch(events)
        except Exception as error:
            if is_unavailable(error) or isinstance(error, ServiceError):
                raise
            # One bad event must not hold up the others: it is found by applying each alone.
            for event in events:
                await self._apply_alone(event)

    async def _apply_batch(self, events: Sequence[Event]) -> None:
        async with self._db.transaction() as session:
            position = await self._lock(session)
            for event in events:
                if event.position > position:
                    await self._handle(session, event)
            await self._move(session, events[-1].position)

    async def _handle(self, session: AsyncSession, event: Event) -> None:
        handler = self._handlers.get(event.type)
        if handler is not None:
            await handler(session, event)
        self._count["done" if handler else "ignored"].inc()

    async def _apply_alone(self, event: Event) -> None:
        for attempt in range(_TRIES):
            try:
                await self._apply_batch([event])
            except Exception as error:
                if is_unavailable(error) or isinstance(error, ServiceError):
                    # The world is at fault, not the event: `run` waits and tries again, for as long as it takes.
                    raise
                if attempt == _TRIES - 1 or isinstance(error, ValidationError):
                    await self._bury(event, error)
                    return
                await asyncio.sleep(0.1 * 2**attempt)
            else:
                return

    async def _bury(self, event: Event, error: Exception) -> None:
        log.error("event_died", producer=self._producer, position=event.position, type=event.type, exc_info=error)
        async with self._db.transaction() as session:
            if await self._lock(session) < event.position:
                await session.execute(
                    text(
                        "INSERT INTO dead_event (producer, position, type, data, error) "
                        "SELECT :producer, :position, :type, CAST(:data AS jsonb), :error"
                    ),
                    {
                        "producer": self._producer,
                        "position": event.position,
                        "type": event.type,
                        "data": event.model_dump_json(include={"data"}),
                        "error": type(error).__name__,
                    },
                )
                await self._move(session, event.position)
                self._count["dead"].inc()

    async def _lock(self, session: AsyncSession) -> int:
        """The position, held against other workers until the transaction ends."""
        await session.execute(
            text("INSERT INTO consumer_position VALUES (:producer, 0) ON CONFLICT DO NOTHING"),
            {"producer": self._producer},
        )
        query = text("SELECT position FROM consumer_position WHERE producer = :producer FOR UPDATE")
        return await session.scalar(query, {"producer": self._producer}) or 0

    async def _move(self, session: AsyncSession, position: int) -> None:
        await session.execute(
            text("UPDATE consumer_position SET position = greatest(position, :position) WHERE producer = :producer"),
            {"producer": self._producer, "position": position},
        )
