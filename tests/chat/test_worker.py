"""The worker as a process of its own."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from sqlalchemy import text

from deploy.local.servers import ValkeyServer
from libs.db import Database
from libs.outbox import stream_of
from libs.redis import connect, read_stream
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Process, environment, running

pytestmark = pytest.mark.chaos


async def test_message_to_somebody_away_becomes_one_event_though_the_worker_is_killed(
    people: People, settings_for: SettingsFor, database: Database
) -> None:
    async with ValkeyServer() as valkey:
        settings = settings_for(redis_url=valkey.url)
        worker = Process(["worker"], environment(settings))
        redis = connect(valkey.url)
        async with running(settings) as node:
            ann, bob = await people(2)
            conversation = await node.group(ann, bob)
            for number in range(3):
                await worker.start()
                for part in range(10):
                    await node.say(ann, conversation, f"{number * 10 + part}")
                await worker.end()
            await worker.start()
            async with asyncio.timeout(120):
                while await _waiting(database, conversation):
                    await asyncio.sleep(0.1)
                # What other tests have left behind is relayed as well, and before.
                mine: list[dict[str, Any]] = []
                last = "0-0"
                while len(mine) < 30:
                    entries = await read_stream(redis, stream_of("chat"), last, count=1000, block_ms=1000)
                    told = [json.loads(fields[b"event"])["data"] for _, fields in entries]
                    mine += [data for data in told if data.get("conversation_id") == conversation]
                    last = entries[-1][0] if entries else last
            assert [data["seq"] for data in mine] == list(range(1, 31))
            assert all(data["away"] == [str(bob.id)] for data in mine)
            await worker.end()
        with contextlib.suppress(OSError):
            await redis.aclose()


async def _waiting(database: Database, conversation: str) -> int:
    async with database.transaction() as db:
        query = text("SELECT count(*) FROM dispatch WHERE conversation_id = :c")
        return int(await db.scalar(query, {"c": conversation}) or 0)
