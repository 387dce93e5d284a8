"""What auth hears of who is here."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.domain import presence
from chat_service.domain.sightings import Sightings
from libs.db import Database
from libs.testing.clock import FakeClock
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person


class Teller:
    """The worker's turn, at the time of a clock of its own."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self.clock = FakeClock()
        self.database, self.redis = database, redis
        self.sightings = Sightings(database, redis, self.clock)

    async def told(self, person: Person, after: float = 0) -> list[bool]:
        """Everything that was told until then: whether the person is here."""
        return [data["online"] for data in await self.events(person, after)]

    async def events(self, person: Person, after: float = 0) -> list[dict[str, Any]]:
        self.clock.advance(after)
        await self.sightings.step()
        query = text("SELECT data FROM outbox WHERE type = 'PresenceChanged' AND data ->> 'user_id' = :u ORDER BY id")
        async with self.database.transaction() as db:
            return list((await db.scalars(query, {"u": str(person.id)})).all())

    async def forget_when(self, person: Person) -> None:
        """Makes what was told a thing of long ago, so that the next change is told at once."""
        query = text("UPDATE sighting SET told_at = told_at - interval '1 hour' WHERE user_id = :u")
        async with self.database.transaction() as db:
            await db.execute(query, {"u": person.id})

    async def gone(self, person: Person) -> None:
        async with asyncio.timeout(10):
            while not await presence.away(self.redis, [person.id]):
                await asyncio.sleep(0.01)


@pytest.fixture
def teller(database: Database, redis: Redis) -> Teller:
    return Teller(database, redis)


@pytest.mark.promise("C38")
async def test_who_comes_and_goes_is_told_once_each(one: Node, people: People, teller: Teller) -> None:
    [ann] = await people(1)
    async with one.client(ann):
        assert await teller.told(ann, 1) == [True]
        assert await teller.told(ann, 300) == [True]
    await teller.gone(ann)
    assert await teller.told(ann, 16) == [True, False]
    assert await teller.told(ann, 300) == [True, False]


@pytest.mark.promise("C38")
async def test_a_reconnect_is_no_news(one: Node, two: Node, people: People, teller: Teller) -> None:
    [ann] = await people(1)
    async with one.client(ann):
        assert await teller.told(ann, 1) == [True]
    await teller.forget_when(ann)
    await teller.gone(ann)
    assert await teller.told(ann, 5) == [True]
    async with two.client(ann):
        assert await teller.told(ann, 100) == [True]


@pytest.mark.promise("C38")
async def test_who_has_another_socket_stays(one: Node, two: Node, people: People, teller: Teller) -> None:
    [ann] = await people(1)
    async with one.client(ann):
        async with two.client(ann):
            pass
        assert await teller.told(ann, 100) == [True]
        assert await teller.told(ann, 100) == [True]


@pytest.mark.promise("C38")
async def test_at_most_one_is_told_a_minute_and_the_last(one: Node, people: People, teller: Teller) -> None:
    [ann] = await people(1)
    async with one.client(ann):
        assert await teller.told(ann, 1) == [True]
    await teller.gone(ann)
    assert await teller.told(ann, 30) == [True]
    assert await teller.told(ann, 31) == [True, False]


async def test_the_moment_is_that_of_leaving(one: Node, people: People, teller: Teller) -> None:
    [ann] = await people(1)
    async with one.client(ann):
        pass
    await teller.gone(ann)
    left = teller.clock.now()
    [event] = await teller.events(ann, 1000)
    assert event["online"] is False
    assert abs(datetime.fromisoformat(event["last_seen_at"]) - left) < timedelta(seconds=10)


@pytest.mark.promise("C38")
async def test_who_was_held_by_a_process_that_died_is_gone(people: People, teller: Teller, redis: Redis) -> None:
    [ann] = await people(1)
    node = uuid4().hex
    await redis.set(f"pn:{node}", 1)
    await redis.sadd("p:nodes", node)
    await redis.hset(f"pu:{ann.id}", "conn", node)
    await redis.zadd(presence.TO_SEE, {str(ann.id): teller.clock.ms()})
    assert await teller.told(ann, 1) == [True]
    await redis.delete(f"pn:{node}")
    assert await teller.told(ann, 1) == [True]
    assert await teller.told(ann, 60) == [True, False]
    assert not await redis.sismember("p:nodes", node)


async def test_what_redis_has_forgotten_is_looked_at_again(one: Node, people: People, teller: Teller) -> None:
    [ann] = await people(1)
    async with one.client(ann):
        assert await teller.told(ann, 1) == [True]
    await teller.gone(ann)
    await teller.redis.zrem(presence.TO_SEE, str(ann.id))
    assert await teller.told(ann, 100) == [True]
    await teller.sightings.doubt_all()
    assert await teller.told(ann, 16) == [True, False]


async def test_what_is_noted_while_the_worker_looks_is_looked_at_next(people: People, teller: Teller) -> None:
    [ann] = await people(1)
    await teller.redis.zadd(presence.TO_SEE, {str(ann.id): teller.clock.ms()})
    later = teller.clock.ms() + 50_000

    states = presence.states

    async def noting(redis: Redis, users: Any) -> Any:
        await redis.zadd(presence.TO_SEE, {str(ann.id): later})
        return await states(redis, users)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(presence, "states", noting)
        await teller.sightings.step()
    assert await teller.redis.zscore(presence.TO_SEE, str(ann.id)) == later


async def test_several_workers_tell_each_change_once(one: Node, people: People, teller: Teller) -> None:
    crowd = await people(5)
    async with one.client(crowd[0]), one.client(crowd[1]), one.client(crowd[2]):
        teller.clock.advance(1)
        await asyncio.gather(*(teller.sightings.step() for _ in range(4)))
        for person, told in zip(crowd, [[True]] * 3 + [[]] * 2, strict=True):
            assert await teller.told(person) == told
