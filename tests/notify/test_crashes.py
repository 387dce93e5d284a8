"""Workers that die, a Redis that forgets, a database that is away. The provider's log says what really arrived."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from deploy.local.servers import PostgresServer
from libs import migrations
from libs.contracts.accounts import UserRegistered
from libs.testing.clients import client
from notify_service.app import create_app
from tests.notify.asking import TOKEN, Person
from tests.notify.conftest import OpenWorld
from tests.notify.crowds import campaign, counted, over, people, step
from tests.notify.world import World, eventually, kill

pytestmark = pytest.mark.chaos
OPEN = ("queued", "claimed", "sending", "retry")


async def states(world: World) -> Counter[str]:
    rows = await world.sql("SELECT state, count(*) AS n FROM delivery GROUP BY state")
    return Counter({row["state"]: row["n"] for row in rows})


async def is_as(world: World, **expected: int) -> bool:
    return await states(world) == expected


async def all_ended(world: World, count: int) -> Counter[str]:
    async def check() -> Counter[str] | None:
        found = await states(world)
        return found if found.total() == count and not any(found[s] for s in OPEN) else None

    try:
        return Counter(await eventually(check, 60))
    except TimeoutError:
        rows = await world.sql("SELECT * FROM delivery WHERE state = ANY($1)", OPEN)
        raise AssertionError(f"{await states(world)} of {count}; open: {[dict(row) for row in rows]}") from None


async def crowd(world: World, size: int) -> list[Any]:
    people = [world.profile() for _ in range(size)]
    for person in people:
        await world.auth.emit(UserRegistered(profile=person))
    return people


@pytest.mark.promise("N1", "N49", "O41")
async def test_worker_killed_among_a_hundred_mails_loses_none_and_repeats_none_silently(own_world: World) -> None:
    world = own_world
    people = await crowd(world, 100)
    # Slow enough that every kill hits messages under way.
    world.break_mail(delay_ms=40, times=10_000, after_data=True)
    worker = await world.start()
    for person in people:
        await world.say(person)
    for so_many in (10, 50):
        await eventually(lambda n=so_many: len(world.delivered()) >= n, 60)
        await kill(worker)
        worker = await world.start()
    await all_ended(world, 100)
    await kill(worker, signal.SIGTERM)
    # What was in doubt since everything stood still for longer than a lease, the worker has settled.
    ended, arrived = await states(world), Counter(world.delivered())
    assert set(arrived.values()) == {1}
    assert set(ended) <= {"sent", "unknown"}
    # Four lines, two kills: what was in flight, and nothing else, is in doubt.
    assert ended["unknown"] <= 8
    rows = await world.sql("SELECT address FROM delivery WHERE state = 'sent'")
    assert {row["address"] for row in rows} <= arrived.keys()
    doubted = await world.sql("SELECT reason FROM delivery WHERE state = 'unknown'")
    assert {row["reason"] for row in doubted} <= {"worker_lost"}


@pytest.mark.promise("N61", "N63")
async def test_worker_killed_in_a_campaign_leaves_nobody_between_sent_once_unknown_and_not_sent(
    own_world: World, issue_token: Any
) -> None:
    world = own_world
    crowd = people(300)
    world.break_mail(delay_ms=15, times=10_000, after_data=True)
    async with client(create_app(world.settings())) as http:
        me = Person(http, issue_token(roles=["admin"]))
        worker = await world.start()
        made = await campaign(me, *crowd)
        await step(me, made, "start")
        # Some of the time its process takes to begin.
        await eventually(lambda: len(world.delivered()) >= 60, 120)
        await kill(worker)
        async with world.working():
            found = await over(me, made)
    assert sum(found["counts"].values()) == found["total"] == 300
    assert found["counts"] == await counted(world, made)
    arrived = Counter(world.delivered())
    assert set(arrived.values()) == {1}
    # Four lines: what was in flight, and nothing else, is in doubt.
    assert found["counts"].keys() <= {"sent", "unknown"}
    assert found["counts"].get("unknown", 0) <= 4
    rows = await world.sql("SELECT address, state FROM delivery")
    assert {row["address"] for row in rows if row["state"] == "sent"} <= arrived.keys()
    assert {row["address"] for row in rows} == {each["address"] for each in crowd}


@pytest.mark.promise("N1", "O41")
async def test_codes_under_way_are_sent_again_when_the_worker_is_killed(own_world: World) -> None:
    world = own_world
    people = await crowd(world, 8)
    world.break_mail(delay_ms=300, times=4, after_data=True)
    worker = await world.start()
    for person in people:
        await world.ask_to_verify(person)
    await eventually(lambda: len(world.delivered()) >= 1, 60)
    await kill(worker)
    worker = await world.start()
    assert await all_ended(world, 8) == {"sent": 8}
    await kill(worker, signal.SIGTERM)
    assert set(world.delivered()) == {person.email for person in people}


@pytest.mark.promise("O42")
async def test_worker_told_to_stop_finishes_what_is_under_way(own_world: World) -> None:
    world = own_world
    people = await crowd(world, 30)
    world.break_mail(delay_ms=200, times=100, after_data=True)
    worker = await world.start()
    for person in people:
        await world.say(person)
    await eventually(lambda: len(world.delivered()) >= 6, 60)
    worker.send_signal(signal.SIGTERM)
    assert await worker.wait() == 0
    found = await states(world)
    assert set(found) <= {"sent", "queued", "retry"}
    assert found["sent"] == len(world.delivered())
    async with world.working():
        assert await all_ended(world, 30) == {"sent": 30}
    assert set(Counter(world.delivered()).values()) == {1}


@pytest.mark.promise("O43")
@pytest.mark.parametrize("refill", [1000, 1], ids=["stream filled again", "stream cut short"])
async def test_flushed_redis_costs_nothing_but_time(own_world: World, refill: int) -> None:
    world = own_world
    world.auth.refill = world.chat.refill = refill
    async with world.working():
        people = await crowd(world, 5)
        await world.say(*people)
        await world.heard()
        await world.redis.flushall()
        await world.say(*people)
        await world.ask_to_verify(people[0])
        await world.redis.flushall()
        await world.say(*people)
        await world.auth.relay()
        assert await all_ended(world, 16) == {"sent": 16}
    assert Counter(world.delivered()) == Counter({p.email: 4 if p is people[0] else 3 for p in people})


@pytest.mark.promise("O43")
async def test_worker_that_starts_after_a_flush_catches_up(own_world: World) -> None:
    world = own_world
    people = await crowd(world, 3)
    await world.say(*people)
    await world.redis.flushall()
    world.auth.refill = 1
    await world.auth.relay()
    await world.chat.relay()
    async with world.working():
        assert await all_ended(world, 3) == {"sent": 3}


@pytest.mark.promise("N49", "O41")
async def test_two_workers_send_each_mail_once(own_world: World) -> None:
    world = own_world
    people = await crowd(world, 60)
    workers = [await world.start() for _ in range(2)]
    for person in people:
        await world.say(person)
    await eventually(lambda: len(world.delivered()) >= 10, 60)
    # One of them has the account; whichever it is, the other goes on.
    await kill(workers[0])
    ended = await all_ended(world, 60)
    await kill(workers[1], signal.SIGTERM)
    assert set(ended) <= {"sent", "unknown"}
    assert set(Counter(world.delivered()).values()) == {1}


@pytest.mark.promise("N48")
async def test_mail_server_that_is_away_costs_no_attempt(own_world: World, open_world: OpenWorld) -> None:
    world = own_world
    people = await crowd(world, 10)
    port = world.sandbox.smtp_port
    await world.sandbox._smtp.stop()
    async with world.working():
        await world.say(*people)
        await world.heard()
        await asyncio.sleep(1)
        assert set(await states(world)) <= {"queued", "claimed", "retry"}
        from deploy.sandbox.server import listen

        await world.sandbox._smtp.start(listen("127.0.0.1", port))
        assert await all_ended(world, 10) == {"sent": 10}
    rows = await world.sql("SELECT DISTINCT attempts FROM delivery")
    assert [row["attempts"] for row in rows] == [1]


@pytest.mark.promise("O44")
async def test_verdicts_wait_for_a_database_that_restarts(open_world: OpenWorld) -> None:
    async with PostgresServer() as postgres:
        url = await postgres.create_database("notify")
        await asyncio.to_thread(migrations.upgrade, "notify", url)
        async with open_world(url) as world:
            people = await crowd(world, 20)
            world.break_mail(delay_ms=100, times=1000, after_data=True)
            async with world.working(lease_seconds=10):
                await world.say(*people)
                await eventually(lambda: len(world.delivered()) >= 4, 60)
                await postgres.restart()
                # Where it was away for longer than a lease, some are in doubt until the worker, which knows, is heard.
                await eventually(lambda: is_as(world, sent=20), 60)
            assert set(Counter(world.delivered()).values()) == {1}


@pytest.mark.promise("N49")
async def test_owner_that_was_given_up_cannot_overwrite_its_successor(own_world: World) -> None:
    """A worker that stands still for longer than its lease, as on a machine that sleeps."""
    world = own_world
    (ada,) = await crowd(world, 1)
    # Long enough to be stopped before it hears the answer, and over before somebody else sends.
    world.break_mail(ada, delay_ms=1500, after_data=True)
    asleep = await world.start(lease_seconds=2)
    await world.ask_to_verify(ada)
    await eventually(lambda: len(world.delivered()) >= 1, 60)
    os.kill(asleep.pid, signal.SIGSTOP)
    async with world.working(lease_seconds=2):
        # The sleeper's session still holds the account; the row itself is free, and taken once the lock is.
        await eventually(lambda: world.sql("SELECT 1 FROM delivery WHERE fence >= 2"), 30)
        os.kill(asleep.pid, signal.SIGCONT)
        assert await all_ended(world, 1) == {"sent": 1}
    await kill(asleep)
    (row,) = await world.sql("SELECT attempts, secret FROM delivery")
    # Every mail that arrived is an attempt on record: the sleeper's late verdict has changed nothing.
    assert len(world.delivered()) == row["attempts"] >= 2
    assert row["secret"] is None


@pytest.mark.promise("N39")
async def test_worker_killed_while_it_polls_leaves_no_gap_and_repeats_nothing(
    own_world: World, issue_token: Callable[..., str]
) -> None:
    world, telegram = own_world, own_world.sandbox.telegram
    chat = telegram.chats.make(7, "private", "Ada")
    config = {"base_url": f"http://127.0.0.1:{world.sandbox.http_port}/telegram", "mode": "polling"}
    body = {"name": "asked", "provider": "telegram", "config": config, "secrets": {"token": TOKEN}}
    async with client(create_app(world.settings())) as http:
        made = await Person(http, issue_token(None, roles=["admin"])).call("POST", "/accounts", json=body)
    assert made.status_code == 201

    async def heard() -> list[str]:
        rows = await world.sql("SELECT text FROM inbound_message WHERE account = 'asked' ORDER BY id")
        return [row["text"] for row in rows]

    async def reached(count: int) -> bool:
        return len(await heard()) >= count

    async def write() -> None:
        for number in range(200):
            telegram.write(chat, {"text": str(number)})
            await asyncio.sleep(0.02)

    # Two, of which one asks: who is killed may be either, and the other goes on.
    workers = [await world.start() for _ in range(2)]
    writing = asyncio.create_task(write())
    await eventually(lambda: reached(20), 60)
    await kill(workers[0])
    await eventually(lambda: reached(90), 60)
    await kill(workers[1])
    workers.append(await world.start())
    await writing
    await eventually(lambda: reached(200), 60)
    await kill(workers[2], signal.SIGTERM)
    # Two workers read what was told side by side: which of them was first says nothing.
    assert sorted(await heard(), key=int) == [str(number) for number in range(200)]
