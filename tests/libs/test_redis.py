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
