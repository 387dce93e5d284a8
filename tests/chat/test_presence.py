"""Who watches whom, and what they see."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.domain import presence, profiles, sightings
from chat_service.domain.sightings import Sightings
from libs.contracts.accounts import Profile
from libs.db import Database
from libs.testing.clock import FakeClock
from parley_client.sockets import ChatClient, Refused
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person


class Worker:
    """The worker's turns, with a clock that can be ahead."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self.clock = FakeClock()
        self.redis = redis
        self.sightings = Sightings(database, redis, self.clock)

    async def turn(self, after: float = 1) -> None:
        self.clock.advance(after)
        await self.sightings.step()

    async def left(self, person: Person, state: str = presence.OFFLINE) -> None:
        """The time in which a reconnect is no news has passed since that is all that the person's devices say."""
        async with asyncio.timeout(10):
            while (await presence.states(self.redis, [person.id]))[person.id] != state:
                await asyncio.sleep(0.01)
        await self.turn(60)


@pytest.fixture
def worker(database: Database, redis: Redis) -> Worker:
    return Worker(database, redis)


async def watch(client: ChatClient, *users: Person) -> dict[str, str]:
    answer = await client.request("watch", data={"user_ids": [str(user.id) for user in users]})
    return {seen["user_id"]: seen["state"] for seen in answer["users"]}


def heard(client: ChatClient, person: Person) -> list[str]:
    changes = [change for push in client.pushes if push["t"] == "presence" for change in push["d"]["changes"]]
    return [change["state"] for change in changes if change["user_id"] == str(person.id)]


async def hears(client: ChatClient, person: Person, *states: str) -> None:
    await client.until(lambda c: heard(c, person) == list(states))


async def privacy(database: Database, person: Person, **chosen: str) -> None:
    """As the consumer of auth's events does."""
    async with database.transaction() as db:
        version = await db.scalar(text("SELECT version + 1 FROM profile WHERE user_id = :u"), {"u": person.id})
        number = person.id.int % 10**12
        profile = Profile(
            user_id=person.id, number=number, username=person.name, first_name="", privacy=chosen, version=version
        )
        await profiles.store(db, profile)


@pytest.mark.promise("C39")
async def test_watchers_are_told_and_nobody_else(one: Node, two: Node, people: People, worker: Worker) -> None:
    ann, bob, carol = await people(3)
    async with one.client(ann) as watcher, one.client(carol) as other:
        assert await watch(watcher, bob) == {str(bob.id): "offline"}
        assert await watch(other, ann) == {str(ann.id): "offline"}
        async with two.client(bob):
            await worker.turn()
            await hears(watcher, bob, "online")
        await worker.left(bob)
        await hears(watcher, bob, "online", "offline")
        assert heard(other, bob) == []


@pytest.mark.promise("C38")
async def test_devices_together_make_one_state(one: Node, two: Node, people: People, worker: Worker) -> None:
    ann, bob = await people(2)
    async with one.client(ann) as watcher, one.client(bob) as phone, two.client(bob) as laptop:
        await worker.turn()
        assert await watch(watcher, bob) == {str(bob.id): "online"}
        await phone.request("presence", data={"state": "away"})
        await worker.turn()
        await laptop.request("presence", data={"state": "away"})
        await worker.turn()
        await hears(watcher, bob, "away")
        await phone.request("presence", data={"state": "online"})
        await worker.turn()
        await hears(watcher, bob, "away", "online")
        await phone.request("presence", data={"state": "away"})
        await phone.request("presence", data={"state": "online"})
        await worker.turn()
        await watch(watcher, bob)
    assert heard(watcher, bob) == ["away", "online"]


@pytest.mark.promise("C38")
async def test_the_device_that_stays_decides(one: Node, two: Node, people: People, worker: Worker) -> None:
    ann, bob = await people(2)
    async with one.client(ann) as watcher, two.client(bob) as laptop:
        await laptop.request("presence", data={"state": "away"})
        async with one.client(bob):
            await worker.turn()
            assert await watch(watcher, bob) == {str(bob.id): "online"}
        await worker.left(bob, presence.AWAY)
        await hears(watcher, bob, "away")


@pytest.mark.promise("C39")
async def test_changes_of_many_come_in_one_push(one: Node, two: Node, people: People, worker: Worker) -> None:
    ann, *crowd = await people(21)
    async with one.client(ann) as watcher:
        await watch(watcher, *crowd)
        clients = [ChatClient(two.socket_url) for _ in crowd]
        try:
            for client, person in zip(clients, crowd, strict=True):
                await client.open()
                await client.hello(person.token)
            await worker.turn()
            await watcher.until(lambda c: all(heard(c, person) == ["online"] for person in crowd))
            assert len([push for push in watcher.pushes if push["t"] == "presence"]) <= 2
        finally:
            await asyncio.gather(*(client.close() for client in clients))


@pytest.mark.promise("C39")
async def test_another_list_replaces_the_first(one: Node, people: People, worker: Worker) -> None:
    ann, bob, carol = await people(3)
    async with one.client(ann) as watcher:
        await watch(watcher, bob)
        await watch(watcher, carol)
        async with one.client(bob), one.client(carol):
            await worker.turn()
            await hears(watcher, carol, "online")
        assert heard(watcher, bob) == []


@pytest.mark.promise("C39")
@pytest.mark.parametrize("users", [None, "all", ["x"], [1], [None], {}, [str(uuid4()) for _ in range(1001)]])
async def test_impossible_lists_are_refused(one: Node, people: People, users: Any) -> None:
    [ann] = await people(1)
    async with one.client(ann) as client:
        with pytest.raises(Refused) as refused:
            await client.request("watch", data={"user_ids": users})
    assert refused.value.code == "validation_error"


@pytest.mark.promise("C39")
async def test_watching_ever_more_is_refused_with_the_time_to_wait(one: Node, people: People) -> None:
    [ann] = await people(1)
    async with one.client(ann) as client:
        strangers = [str(uuid4()) for _ in range(1000)]
        for _ in range(5):
            await client.ask("watch", data={"user_ids": strangers})
        with pytest.raises(Refused) as refused:
            await client.request("watch", data={"user_ids": strangers})
    assert refused.value.code == "rate_limited"


@pytest.mark.parametrize("state", [None, "offline", "busy", 1, []])
async def test_impossible_state_is_refused(one: Node, people: People, state: Any) -> None:
    [ann] = await people(1)
    async with one.client(ann) as client:
        with pytest.raises(Refused) as refused:
            await client.request("presence", data={"state": state})
    assert refused.value.code == "validation_error"


async def seen(node: Node, person: Person, other: Person) -> tuple[str, bool]:
    answer = await node.call(person, "GET", f"/presence?user_id={other.id}")
    [one] = answer.json()["results"]
    return one["state"], one["last_seen_at"] is not None


async def befriend(database: Database, one: Person, other: Person, status: str = "accepted") -> None:
    async with database.transaction() as db:
        await db.execute(
            text(
                "INSERT INTO interest (id, from_user_id, to_user_id, status, created_at, expires_at)"
                " VALUES (gen_random_uuid(), :a, :b, :s, now(), now())"
            ),
            {"a": one.id, "b": other.id, "s": status},
        )
        await sightings.doubt(db, one.id, other.id)


@pytest.mark.promise("C40")
async def test_people_choose_who_sees_them(one: Node, people: People, worker: Worker, database: Database) -> None:
    ann, bob, carol = await people(3)
    await befriend(database, ann, bob)
    await befriend(database, carol, ann, "pending")
    async with one.client(ann):
        await worker.turn()
        views = []
        for online, last_seen in (("everyone", "nobody"), ("contacts", "everyone"), ("nobody", "contacts")):
            await privacy(database, ann, online=online, last_seen=last_seen)
            views.append([await seen(one, person, ann) for person in (bob, carol, ann)])
    assert views == [
        [("online", False), ("online", False), ("online", True)],
        [("online", True), ("offline", True), ("online", True)],
        [("offline", True), ("offline", False), ("online", True)],
    ]


@pytest.mark.promise("C40")
@pytest.mark.parametrize("blocker", [0, 1])
async def test_blocked_people_see_nothing_of_each_other(
    one: Node, people: People, worker: Worker, database: Database, blocker: int
) -> None:
    pair = await people(2)
    ann, bob = pair
    async with one.client(ann) as left, one.client(bob) as right:
        await worker.turn()
        await watch(left, bob)
        await watch(right, ann)
        async with database.transaction() as db:
            values = {"a": pair[blocker].id, "b": pair[1 - blocker].id}
            await db.execute(text("INSERT INTO block (user_id, blocked_id, created_at) VALUES (:a, :b, now())"), values)
            await sightings.doubt(db, ann.id, bob.id)
        await worker.turn()
        await hears(left, bob, "offline")
        await hears(right, ann, "offline")
        await right.request("presence", data={"state": "away"})
        await worker.turn()
        assert await seen(one, bob, ann) == await seen(one, ann, bob) == ("offline", False)
    assert heard(left, bob) == ["offline"]


@pytest.mark.promise("C40")
async def test_who_begins_to_hide_is_gone_for_watchers(
    one: Node, two: Node, people: People, worker: Worker, database: Database
) -> None:
    ann, bob = await people(2)
    async with one.client(ann) as watcher, two.client(bob) as phone:
        await worker.turn()
        assert await watch(watcher, bob) == {str(bob.id): "online"}
        await privacy(database, bob, online="nobody")
        await worker.turn()
        await hears(watcher, bob, "offline")
        await phone.request("presence", data={"state": "away"})
        await worker.turn()
        await privacy(database, bob, online="everyone")
        await worker.turn()
        await hears(watcher, bob, "offline", "away")


async def test_unknown_people_look_like_people_who_are_away(one: Node, people: People) -> None:
    [ann] = await people(1)
    answer = await one.call(ann, "GET", f"/presence?user_id={uuid4()}&user_id={uuid4()}")
    assert [(r["state"], r["last_seen_at"]) for r in answer.json()["results"]] == [("offline", None)] * 2
    assert (await one.call(ann, "GET", "/presence")).status_code == 422
    many = "&".join(f"user_id={uuid4()}" for _ in range(101))
    assert (await one.call(ann, "GET", f"/presence?{many}")).status_code == 422


@pytest.mark.promise("C39")
async def test_watchers_catch_up_when_redis_comes_back(left: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    async with left.client(ann) as watcher:
        await watch(watcher, bob)
        async with database.transaction() as db:
            insert = text("INSERT INTO sighting (user_id, online, last_seen_at) VALUES (:u, true, now())")
            await db.execute(insert, {"u": bob.id})
        left.context.hub._returned()
        await hears(watcher, bob, "online")


async def test_a_list_ends_with_its_socket(one: Node, people: People, worker: Worker) -> None:
    ann, bob = await people(2)
    async with one.client(ann) as watcher:
        await watch(watcher, bob)
    watching = one.context.watching
    async with asyncio.timeout(10):
        while bob.id in watching._watchers:
            await asyncio.sleep(0.01)
