"""Everything that can break breaks while people talk; what is promised holds all the same.

The short form is a part of the tests. `./parley test --chaos tests/chaos` goes on for ten minutes, in random order.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random  # noqa: TID251 -- seeded, and printed

import pytest

from deploy.local.servers import PostgresServer
from libs import migrations
from tests.chaos.world import World, assert_kept, calm, storm
from tests.chat.conftest import fast_settings

pytestmark = pytest.mark.chaos
_LONG_SECONDS = 600


@pytest.fixture
async def world(
    postgres: PostgresServer, key_ring_path: Path, tmp_path: Path, issue_token: Callable[..., str]
) -> AsyncIterator[World]:
    # A database that nobody else is connected to: its backends are terminated.
    url = await postgres.create_database("chaos_test")
    await asyncio.to_thread(migrations.upgrade, "chat", url)
    settings_for = fast_settings(database_url=url, key_ring=key_ring_path, attachment_store=str(tmp_path))
    async with storm(url, settings_for, issue_token) as made:
        yield made


def faults(world: World) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "Redis is killed": world.restart_redis,
        "Redis forgets everything": world.redis.flushall,
        "subscriptions are cut": lambda: world.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub"),
        "Redis does not answer": lambda: world.redis.client_pause(2000, all=True),
        "backends are terminated": world.terminate_backends,
        "a process is killed": world.kill_far,
        "a reader freezes": world.freeze_reader,
        "a process loses Redis": lambda: world.partition(world.to_redis, 3),
        "a process loses PostgreSQL": lambda: world.partition(world.to_postgres, 2),
        "the clock jumps": world.step_clock,
    }


@pytest.mark.promise("C1", "C2", "C3", "C34", "C41", "C42", "C69")
async def test_nothing_is_lost_or_doubled_whatever_breaks(
    world: World, issue_token: Callable[..., str], pytestconfig: pytest.Config
) -> None:
    stop = asyncio.Event()
    talking = [
        asyncio.create_task(world.talk(person, followed.id, stop))
        for person in world.people
        for followed in world.followed[person.name]
    ]
    long = pytestconfig.getoption("--chaos")
    seed = time.time_ns() % 10**6 if long else 1
    random, until = Random(seed), time.monotonic() + (_LONG_SECONDS if long else 0)
    while True:
        for name, fault in random.sample(list(faults(world).items()), len(faults(world))):
            before = len(world.acks)
            sys.stderr.write(f"seed {seed}: {name}\n")
            await fault()
            async with asyncio.timeout(60):
                while len(world.acks) < before + 10:
                    await asyncio.sleep(0.1)
            assert not any(task.done() for task in talking), [t.exception() for t in talking if t.done()]
        if time.monotonic() >= until:
            break
    stop.set()
    await asyncio.gather(*talking)
    await calm(world)
    await assert_kept(world, issue_token)
    assert len(world.acks) > 100
