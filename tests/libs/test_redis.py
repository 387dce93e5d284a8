"""The client of the shared Redis dies in the ways that those who wait for it expect."""

import asyncio
from typing import Any

import pytest
import uvloop
from redis.exceptions import RedisError

from libs.redis import connect


async def lose_and_write(url: str) -> None:
    client = connect(url)
    pool: Any = client.connection_pool
    connection = await pool.get_connection()
    # As when the server is killed: the loop knows, and the client has not read yet.
    connection._writer.transport.abort()
    await asyncio.sleep(0.05)
    with pytest.raises(RedisError):
        await connection.send_command("PING", check_health=False)
    await pool.release(connection)
    assert await client.ping()
    await client.aclose()


async def test_a_write_to_a_connection_that_was_just_lost_is_an_outage(redis_url: str) -> None:
    # On the loop of the services: the one of the tests says it in another way.
    await asyncio.to_thread(uvloop.run, lose_and_write(redis_url))


async def end_at_every_step(url: str) -> None:
    client = connect(url)
    assert await client.ping()
    step, under_way = 0, True
    while under_way:
        asking = asyncio.create_task(client.set("a", "b"))
        for _ in range(step):
            await asyncio.sleep(0)
        under_way = asking.cancel()
        if under_way:
            with pytest.raises(asyncio.CancelledError):
                await asking
        step += 1
    assert step > 3
    assert await client.get("a") == b"b"
    await client.aclose()


async def test_who_is_told_to_end_while_a_command_is_under_way_ends(redis_url: str) -> None:
    await end_at_every_step(redis_url)
    await asyncio.to_thread(uvloop.run, end_at_every_step(redis_url))
