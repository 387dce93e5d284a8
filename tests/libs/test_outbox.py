"""Events arrive exactly once in effect: across crashes, repetition, and a Redis that forgets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.local.servers import PostgresServer
from libs import outbox
from libs.clock import Clock
from libs.consumer import Consumer, handles
from libs.contracts.events import Event, EventPage
from libs.db import Database
from libs.outbox import Relay, open_relay
from libs.testing.clock import FakeClock
from tests.libs.app import NoteWritten
from tests.libs.conftest import make_database


class Producer:
    """A database with an outbox, its relay, and the route from which readers catch up."""

    def __init__(self, db: Database, redis: Redis) -> None:
        self.target = f"notes-{uuid4().hex[:8]}"
        self.db = db
        self.url = db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self.redis = redis
        self.relay: Relay
        self.asked = 0

    def another(self, clock: Clock | None = None) -> AbstractAsyncContextManager[Relay]:
        return open_relay(self.url, self.redis, self.target, clock or Clock())

    async def write(self, *texts: str) -> None:
        async with self.db.transaction() as session:
            for each in texts:
                await outbox.add(session, NoteWritten(text=each), Clock().now())

    async def get(self, path: str, shape: type[EventPage], params: dict[str, Any]) -> EventPage:
        assert path == "/internal/events"
        self.asked += 1
        async with self.db.transaction() as session:
            page = await outbox.read(session, self.target, after=params["after"], limit=params["limit"])
        return shape.model_validate_json(page.model_dump_json())


class Reader:
    def __init__(self, db: Database, redis: Redis, producer: Producer) -> None:
        self.db = db
        self.author = uuid4()
        self.fail_on: set[str] = set()
        self.consumer = Consumer(
            db,
            redis,
            producer,
            dict([handles(NoteWritten, self.keep)]),
            service="test",  # type: ignore[arg-type]
        )

    async def keep(self, session: AsyncSession, data: NoteWritten, _event: Event) -> None:
        insert = text("INSERT INTO note (author, text) VALUES (:author, :text)")
        await session.execute(insert, {"author": self.author, "text": data.text})
        if data.text in self.fail_on:
            raise RuntimeError(data.text)

    async def texts(self) -> list[str]:
        async with self.db.transaction() as session:
            query = text("SELECT text FROM note WHERE author = :author ORDER BY id")
            return list(await session.scalars(query, {"author": self.author}))


@asynccontextmanager
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    db = Database(await make_database(postgres, f"outbox_{uuid4().hex[:12]}"), service="notes")
    yield db
    await db.close()


@pytest.fixture
async def producer(postgres: PostgresServer, redis: Redis) -> AsyncIterator[Producer]:
    async with database(postgres) as db:
        made = Producer(db, redis)
        async with made.another() as made.relay:
            yield made


@pytest.fixture
async def reader(postgres: PostgresServer, redis: Redis, producer: Producer) -> AsyncIterator[Reader]:
    async with database(postgres) as db:
        yield Reader(db, redis, producer)


async def test_events_arrive_in_order(producer: Producer, reader: Reader) -> None:
    await producer.write("one", "two")
    await producer.write("three")
    assert await producer.relay.relay() == 3
    await reader.consumer.step()
    assert await reader.texts() == ["one", "two", "three"]
    assert producer.asked == 0


async def test_relaying_again_and_reading_again_changes_nothing(producer: Producer, reader: Reader) -> None:
    await producer.write("one", "two")
    for _ in range(3):
        await producer.relay.relay()
    await asyncio.gather(*(reader.consumer.step() for _ in range(4)))
    assert await reader.texts() == ["one", "two"]


async def test_a_rolled_back_transaction_sends_nothing(producer: Producer) -> None:
    async def fail() -> None:
        async with producer.db.transaction() as session:
            await outbox.add(session, NoteWritten(text="never"), Clock().now())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await producer.relay.relay() == 0


@pytest.mark.promise("O1")
async def test_a_flush_before_reading_loses_nothing(producer: Producer, reader: Reader, redis: Redis) -> None:
    await producer.write("one", "two")
    await producer.relay.relay()
    await redis.flushall()
    await producer.relay.relay()
    await reader.consumer.step()
    assert await reader.texts() == ["one", "two"]


@pytest.mark.promise("O1")
async def test_a_flush_between_events_loses_nothing(producer: Producer, reader: Reader, redis: Redis) -> None:
    await producer.write("one")
    await producer.relay.relay()
    await reader.consumer.step()
    await redis.flushall()
    await producer.write("two", "three")
    await producer.relay.relay()
    await reader.consumer.step()
    assert await reader.texts() == ["one", "two", "three"]


async def test_a_trimmed_stream_sends_the_reader_to_the_producer(
    producer: Producer, reader: Reader, redis: Redis
) -> None:
    await producer.write(*(str(n) for n in range(500)))
    await producer.relay.relay()
    await redis.xtrim(outbox.stream_of(producer.target), maxlen=5, approximate=False)
    await reader.consumer.step()
    assert await reader.texts() == [str(n) for n in range(500)]
    assert producer.asked


async def test_concurrent_relays_number_without_holes(producer: Producer, redis: Redis) -> None:
    async def write_and_relay(relay: Relay, name: str) -> None:
        for n in range(20):
            await producer.write(f"{name} {n}")
            await relay.relay()

    async with producer.another() as other:
        await asyncio.gather(write_and_relay(producer.relay, "a"), write_and_relay(other, "b"))
    async with producer.db.transaction() as session:
        positions = list(await session.scalars(text("SELECT position FROM outbox ORDER BY position")))
    assert positions == list(range(1, 41))
    assert await redis.xlen(outbox.stream_of(producer.target)) == 40


@pytest.mark.promise("O2")
async def test_an_event_that_always_fails_is_put_aside(producer: Producer, reader: Reader) -> None:
    reader.fail_on = {"bad"}
    await producer.write("one", "bad", "two")
    await producer.relay.relay()
    await reader.consumer.step()
    assert await reader.texts() == ["one", "two"]
    async with reader.db.transaction() as session:
        dead = list(await session.execute(text("SELECT type, position, error FROM dead_event")))
    assert [tuple(row) for row in dead] == [("NoteWritten", 2, "RuntimeError")]


async def test_an_event_of_an_unknown_type_is_skipped(producer: Producer, reader: Reader) -> None:
    class Other(NoteWritten):
        type = "Other"

    async with producer.db.transaction() as session:
        await outbox.add(session, Other(text="x"), Clock().now())
    await producer.write("one")
    await producer.relay.relay()
    await reader.consumer.step()
    assert await reader.texts() == ["one"]


async def test_what_concerns_nobody_is_written_down_in_silence_and_holds_nothing_up(
    producer: Producer, reader: Reader
) -> None:
    async def stored() -> list[int]:
        async with reader.db.transaction() as session:
            return list(await session.scalars(text("SELECT position FROM consumer_position")))

    deaf = Consumer(reader.db, producer.redis, producer, {}, service="test")  # type: ignore[arg-type]
    await producer.write("one", "two")
    await producer.relay.relay()
    await deaf.step()
    assert await stored() == []
    await deaf.step()
    assert await stored() == [2]
    # Who hears of it in another process does so all the same.
    await producer.write("three")
    await producer.relay.relay()
    await deaf.step()
    await reader.consumer.step()
    assert (await reader.texts(), await stored()) == (["three"], [3])
    await deaf.step()
    assert (await stored(), producer.asked) == ([3], 0)


async def test_relayed_events_are_forgotten_after_a_week_and_waiting_ones_are_not(
    producer: Producer,
) -> None:
    clock = FakeClock()
    async with producer.another(clock) as relay:
        await producer.write("old")
        await relay.relay()
        await producer.write("waiting")
        clock.advance(8 * 86_400)
        await relay.forget()
        async with producer.db.transaction() as session:
            left = list(await session.scalars(text("SELECT data->>'text' FROM outbox")))
        assert left == ["waiting"]


async def test_however_much_there_is_all_of_it_is_forgotten(producer: Producer) -> None:
    clock = FakeClock()
    many = "SELECT gen_random_uuid(), 'NoteWritten', '{}', now(), n FROM generate_series(1, 20001) AS n"
    async with producer.db.transaction() as session:
        await session.execute(text(f"INSERT INTO outbox (event_id, type, data, occurred_at, position) {many}"))
    clock.advance(8 * 86_400)
    async with producer.another(clock) as relay:
        await relay.forget()
    async with producer.db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM outbox")) == 0


async def test_the_stream_forgets_as_well_and_readers_go_on(producer: Producer, reader: Reader, redis: Redis) -> None:
    clock = FakeClock()
    async with producer.another(clock) as relay:
        await producer.write("old", "older", "last")
        await relay.relay()
        await reader.consumer.step()
        clock.advance(8 * 86_400)
        await relay.forget()
        kept = await redis.xrange(outbox.stream_of(producer.target))
        assert [outbox.parse(fields).data["text"] for _, fields in kept] == ["last"]
        await producer.write("new")
        await relay.relay()
        await reader.consumer.step()
        assert await reader.texts() == ["old", "older", "last", "new"]


async def test_who_reads_after_all_is_forgotten_goes_on_from_the_newest(producer: Producer, reader: Reader) -> None:
    clock = FakeClock()
    async with producer.another(clock) as relay:
        await producer.write("old", "newest")
        await relay.relay()
        clock.advance(8 * 86_400)
        await relay.forget()
        await reader.consumer.step()
        await producer.write("new")
        await relay.relay()
        await reader.consumer.step()
        assert await reader.texts() == ["newest", "new"]


async def test_the_relay_wakes_at_an_announcement(producer: Producer, reader: Reader, redis: Redis) -> None:
    running = asyncio.create_task(producer.relay.run())
    try:
        await producer.write("one")
        await outbox.announce(redis, producer.target)
        async with asyncio.timeout(60):
            while not await reader.texts():
                await reader.consumer.step()
    finally:
        running.cancel()
        await asyncio.wait([running], timeout=5)
    assert await reader.texts() == ["one"]
