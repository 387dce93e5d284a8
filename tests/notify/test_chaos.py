"""A campaign while everything around it breaks. What the mail server has taken is what really happened."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from deploy.local.servers import PostgresServer
from deploy.sandbox.faults import Fault
from libs import migrations
from libs.testing.clients import client
from notify_service.app import create_app
from tests.notify.asking import Person
from tests.notify.conftest import OpenWorld
from tests.notify.crowds import campaign, counted, over, people, step
from tests.notify.world import World, eventually, kill

pytestmark = pytest.mark.chaos
# By the number of a recipient, and what becomes of them. Those of whom it is certain are not on their way when a worker
# is killed.
FAULTS = {
    10: (Fault(match="p010@", reply="550 5.1.1 nobody is here"), "failed"),
    250: (Fault(match="p250@", reply="451 4.3.0 try later", times=2), "sent"),
    30: (Fault(match="p030@", drop=True, after_data=True, keep=True), "unknown"),
    40: (Fault(match="p040@", drop=True, after_data=True), "unknown"),
}
LINES, KILLS = 4, 2


class Siege:
    """What breaks, one after the other."""

    def __init__(self, world: World, postgres: PostgresServer) -> None:
        self._world = world
        self._postgres = postgres
        self.worker: asyncio.subprocess.Process

    async def begin(self) -> None:
        self.worker = await self._world.start()

    async def kill(self) -> None:
        await kill(self.worker)
        await self.begin()

    async def forget(self) -> None:
        await self._world.redis.flushall()

    async def restart(self) -> None:
        await self._postgres.restart()

    @property
    def blows(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.kill, self.forget, self.restart, self.forget, self.kill]


@pytest.mark.promise("N61", "N63")
async def test_campaign_is_exact_whatever_breaks(
    open_world: OpenWorld, issue_token: Any, pytestconfig: pytest.Config
) -> None:
    size = 2000 if pytestconfig.getoption("--chaos") else 300
    crowd = people(size)
    async with PostgresServer() as postgres:
        url = await postgres.create_database("notify")
        await asyncio.to_thread(migrations.upgrade, "notify", url)
        async with open_world(url) as world, client(create_app(world.settings())) as http:
            for fault, _ in FAULTS.values():
                world.sandbox.postbox.faults.add(fault)
            world.break_mail(delay_ms=15, times=1_000_000, after_data=True)
            siege = Siege(world, postgres)
            await siege.begin()
            me = Person(http, issue_token(roles=["admin"]))
            made = await campaign(me, *crowd)
            await step(me, made, "start")
            for number, blow in enumerate(siege.blows, 1):
                so_many = size * number // 10
                await eventually(lambda n=so_many: len(world.delivered()) >= n, 120)
                await blow()
            await eventually(lambda: _is_told(me, world, made), 120)
            found = await over(me, made)
            rows = await world.sql("SELECT address, state, attempts FROM delivery")
            arrived = Counter(world.delivered())
            await kill(siege.worker)
    states = {row["address"]: row["state"] for row in rows}
    assert len(rows) == len(states) == found["total"] == size
    assert found["counts"] == Counter(states.values())
    assert set(arrived.values()) == {1}
    assert {address for address, state in states.items() if state == "sent"} <= arrived.keys()
    assert {state for address, state in states.items() if address not in arrived} <= {"failed", "unknown"}
    assert {number: states[crowd[number]["address"]] for number in FAULTS} == {
        number: state for number, (_, state) in FAULTS.items()
    }
    # What was in flight when a worker was killed, and nothing else.
    assert found["counts"]["unknown"] <= 2 + LINES * KILLS


@pytest.mark.promise("N26")
async def test_notification_that_was_answered_is_there_once_whatever_breaks(
    open_world: OpenWorld, issue_token: Any
) -> None:
    async with PostgresServer() as postgres:
        url = await postgres.create_database("notify")
        await asyncio.to_thread(migrations.upgrade, "notify", url)
        async with open_world(url) as world, client(create_app(world.settings())) as http:
            me = Person(http, issue_token(roles=["user"]))
            answers: dict[str, int] = {}
            over = asyncio.Event()

            async def tell(name: int) -> None:
                while not over.is_set():
                    title = f"{name}-{len(answers)}"
                    answer = await me.call("POST", "/notifications", json={"title": title, "message": "x"})
                    answers[title] = answer.status_code

            async with asyncio.TaskGroup() as group:
                for name in range(8):
                    group.create_task(tell(name))
                for blow in (postgres.restart, world.redis.flushall, postgres.restart):
                    before = len(answers)
                    await eventually(lambda n=before: len(answers) > n + 50, 60)
                    await blow()
                over.set()
            rows = await world.sql("SELECT title FROM notification")
    found = Counter(row["title"] for row in rows)
    assert set(found.values()) == {1}
    assert {title for title, status in answers.items() if status == 201} <= found.keys() <= answers.keys()
    assert set(answers.values()) <= {201, 503}


async def _is_told(me: Person, world: World, made: str) -> bool:
    """Whether the campaign is over and says what the rows say."""
    answer = await me.call("GET", f"/campaigns/{made}")
    if answer.status_code != 200 or not answer.json()["finished_at"]:
        return False
    return bool(answer.json()["counts"] == await counted(world, made))
