"""One question of Redis that ends badly harms nobody else's."""

import asyncio

import hiredis
from structlog.testing import capture_logs

from gateway.domain.pipe import Pipe
from gateway.domain.table import Owner
from tests.gateway.conftest import Start, someone

PING = hiredis.pack_command(("PING",))


async def test_callback_that_fails_keeps_no_reply_behind_it(redis_url: str) -> None:
    pipe = Pipe(redis_url, budget_seconds=5)
    keeping = asyncio.create_task(pipe.run_forever())
    async with asyncio.timeout(10):
        while not pipe.connected:
            await asyncio.sleep(0.005)
    answers: asyncio.Queue[object] = asyncio.Queue()

    def fail(_: object) -> None:
        raise RuntimeError

    with capture_logs() as told:
        # One write, and so one read: of the four only the third is anybody's.
        for callback in (fail, fail, answers.put_nowait, fail):
            pipe.run(PING, callback)
        async with asyncio.timeout(10):
            assert await answers.get() == b"PONG"
            assert await pipe.ping() is not None
    # What else runs in this process may have other things to say.
    assert [entry["event"] for entry in told].count("limiter_callback_failed") == 3
    keeping.cancel()
    pipe.close()


async def test_request_that_fails_behind_the_limits_ends_alone(open_door: Start) -> None:
    """A fault of ours. Its client is not kept waiting, and who was counted with it is served."""
    door = await open_door()
    del door.core.groups[Owner.NOTIFY]
    caller = someone()
    paths = ["/api/v1/notifications", "/api/v1/messages"] * 2
    clients = [await door.connect() for _ in paths]
    for client, path in zip(clients, paths, strict=True):
        await client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {caller}\r\n\r\n".encode())
    for client, path in zip(clients, paths, strict=True):
        if "messages" in path:
            assert (await client.answer()).status == 200
        else:
            assert await client.closed()
