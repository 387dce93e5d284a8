"""People who do not want to be seen."""

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person
from tests.chat.test_presence import Worker, heard, hears, seen, watch


@pytest.fixture
def worker(database: Database, redis: Redis) -> Worker:
    return Worker(database, redis)


async def hide(node: Node, person: Person, method: str = "PUT") -> None:
    assert (await node.call(person, method, "/presence/invisible")).status_code == 204


async def moment(node: Node, person: Person, other: Person) -> str:
    answer = await node.call(person, "GET", f"/presence?user_id={other.id}")
    text_: str = answer.json()["results"][0]["last_seen_at"]
    return text_


@pytest.mark.promise("C40")
async def test_who_hides_is_gone_for_everybody_and_returns(
    one: Node, two: Node, people: People, worker: Worker
) -> None:
    ann, bob = await people(2)
    async with one.client(ann) as watcher, two.client(bob):
        await worker.turn()
        await watch(watcher, bob)
        await hide(two, bob)
        await worker.turn()
        await hears(watcher, bob, "offline")
        assert await seen(one, ann, bob) == ("offline", True)
        await hide(one, bob, "DELETE")
        await worker.turn()
        await hears(watcher, bob, "offline", "online")


@pytest.mark.promise("C40")
async def test_coming_and_going_unseen_leaves_no_trace(one: Node, two: Node, people: People, worker: Worker) -> None:
    ann, bob = await people(2)
    async with one.client(ann) as watcher:
        await watch(watcher, bob)
        async with two.client(bob):
            await worker.turn()
            await hears(watcher, bob, "online")
            await hide(one, bob)
            await worker.turn()
        before = await moment(one, ann, bob)
        await worker.left(bob)
        async with two.client(bob) as phone:
            await phone.request("presence", data={"state": "away"})
            await worker.turn()
        await worker.left(bob)
        await hears(watcher, bob, "online", "offline")
        assert await moment(one, ann, bob) == before


@pytest.mark.promise("C40")
async def test_other_services_do_not_hear_of_the_invisible(
    one: Node, people: People, worker: Worker, database: Database
) -> None:
    [bob] = await people(1)
    await hide(one, bob)
    async with one.client(bob):
        await worker.turn(1)
        await worker.turn(300)
    query = text("SELECT data ->> 'online' FROM outbox WHERE type = 'PresenceChanged' AND data ->> 'user_id' = :u")
    async with database.transaction() as db:
        assert set((await db.scalars(query, {"u": str(bob.id)})).all()) <= {"false"}


async def test_watchers_hear_nothing_when_an_invisible_one_comes_first(
    one: Node, two: Node, people: People, worker: Worker
) -> None:
    ann, bob, carol = await people(3)
    await hide(one, bob)
    await worker.turn()
    async with one.client(ann) as watcher:
        await watch(watcher, bob, carol)
        async with two.client(bob), two.client(carol):
            await worker.turn()
            await hears(watcher, carol, "online")
        assert heard(watcher, bob) == []


async def test_everybody_knows_it_of_themselves(one: Node, people: People) -> None:
    [ann] = await people(1)
    assert (await one.call(ann, "GET", "/presence/invisible")).json() == {"since": None}
    for _ in range(2):
        await hide(one, ann)
    assert (await one.call(ann, "GET", "/presence/invisible")).json()["since"] is not None
    for _ in range(2):
        await hide(one, ann, "DELETE")
    assert (await one.call(ann, "GET", "/presence/invisible")).json() == {"since": None}
