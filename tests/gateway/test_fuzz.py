"""Damaged traffic: mutated, pipelined and split at any byte. Nothing may crash, leak, or arrive where it must not."""

import asyncio
from random import Random  # noqa: TID251  -- seeded, so that a failure can be repeated

import pytest

from tests.gateway.conftest import Start
from tests.gateway.test_framing import CHUNKED, VECTORS, get, post

GOOD = [
    get(),
    get(b"Connection: close\r\n"),
    post(b"Content-Length: 5\r\n", b"hello"),
    post(CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
    get(line=b"GET /ws/ HTTP/1.1", fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    get(line=b"GET /health/live HTTP/1.1"),
]
INSERTED = [b"\r\n", b"\n", b"\x00", b" ", b"0\r\n\r\n", CHUNKED, b"Content-Length: 3\r\n"]


def damaged(dice: Random) -> bytes:
    seeds = GOOD * 12 + list(VECTORS.values())
    data = bytearray(b"".join(dice.choice(seeds) for _ in range(dice.randint(1, 4))))
    for _ in range(dice.randint(0, 3)):
        at = dice.randrange(len(data) - 4)
        kind = dice.randrange(3)
        if kind == 0:
            data[at] = dice.randrange(256)
        elif kind == 1:
            del data[at : at + dice.randint(1, 4)]
        else:
            data[at:at] = dice.choice(INSERTED)
    return bytes(data)


async def throw(port: int, data: bytes, dice: Random) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        at = 0
        while at < len(data):
            size = dice.choice([1, 3, 10, 100, 1000])
            writer.write(data[at : at + size])
            at += size
            await asyncio.sleep(0)
        async with asyncio.timeout(0.1):
            await reader.read(100_000)
    except (TimeoutError, ConnectionError, RuntimeError):  # the last one is what uvloop says
        pass
    finally:
        writer.close()


@pytest.mark.promise("W5")
@pytest.mark.parametrize("seed", range(3))
async def test_damaged_traffic_does_no_harm(open_door: Start, seed: int) -> None:
    door = await open_door()
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    dice = Random(seed)
    for _ in range(25):
        await asyncio.gather(*(throw(door.port, damaged(dice), dice) for _ in range(20)))
    async with asyncio.timeout(10):
        while door.core.watched:
            await asyncio.sleep(0.05)
    loop.set_exception_handler(None)
    assert faults == []
    assert [instance.in_flight for group in door.core.groups.values() for instance in group.instances] == [0] * 4
    allowed = ("/api/v1/messages", "/ws", "/health/ready")
    assert [seen.target for seen in door.service.seen if not seen.target.startswith(allowed)] == []
    assert (await door.ask("/api/v1/messages")).status == 200
