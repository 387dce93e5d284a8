"""A side that is fast waits for the one that is slow: memory stays bounded both ways."""

import asyncio

import pytest

from tests.gateway.conftest import Door, Start
from tests.gateway.wire import GET, OK, Seen, Service, answers


@pytest.mark.promise("G21")
async def test_fast_sender_waits_for_a_slow_service(door: Door) -> None:
    """The service reads nothing; what the gateway and the kernel take in the meantime is bounded."""
    size = 64 << 20
    go_on = asyncio.Event()

    async def slow(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await go_on.wait()
        left = size
        while left:
            left -= len(await reader.read(1 << 20))
        writer.write(OK)
        return True

    door.service.behave = slow
    client = await door.connect()
    client.writer.transport.set_write_buffer_limits(high=1 << 16)
    client.writer.write(f"POST /api/v1/attachments HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
    taken = 0
    block = bytes(1 << 18)
    while taken < size:
        client.writer.write(block)
        try:
            async with asyncio.timeout(0.5):
                await client.writer.drain()
        except TimeoutError:
            break
        taken += len(block)
    assert taken < 24 << 20
    go_on.set()
    while taken + len(block) < size:
        taken += len(block)
        client.writer.write(block)
        await client.writer.drain()
    assert (await client.answer()).status == 200


@pytest.mark.promise("G21")
async def test_fast_service_waits_for_a_slow_reader(door: Door) -> None:
    size = 64 << 20
    given = 0

    async def generous(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        nonlocal given
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        block = bytes(1 << 18)
        while given < size:
            writer.write(block)
            await writer.drain()
            given += len(block)
        return True

    door.service.behave = generous
    client = await door.connect(limit=1 << 16)
    await client.send(b"GET /api/v1/attachments/x HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.head()
    for _ in range(100):
        await asyncio.sleep(0.01)
    assert given < 24 << 20
    left = size
    while left:
        left -= len(await client.reader.read(1 << 20))
    assert given == size


@pytest.mark.promise("G21")
async def test_pipelined_answers_to_a_slow_reader_wait_as_well(door: Door) -> None:
    size = 4 << 20
    given = 0

    async def generous(
        _service: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        nonlocal given
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        block = bytes(1 << 18)
        for _ in range(size // len(block)):
            writer.write(block)
            await writer.drain()
            given += len(block)
        return True

    door.service.behave = generous
    client = await door.connect(limit=1 << 16)
    await client.send(GET * 16)
    for _ in range(100):
        await asyncio.sleep(0.01)
    assert given < 32 << 20
    for _ in range(16):
        assert len((await client.answer()).body) == size
    door.service.behave = answers(OK)
    for _ in range(3):
        assert (await door.ask("/api/v1/messages")).status == 200


@pytest.mark.promise("G21")
async def test_client_that_only_asks_is_not_answered_for_ever(open_door: Start) -> None:
    door = await open_door()
    door.service.behave = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000))
    client = await door.connect(limit=1 << 16)
    for _ in range(200):
        client.writer.write(GET * 20)
        await asyncio.sleep(0.005)
    assert len(door.service.seen) < 2000
    for _ in range(100):
        assert (await client.answer()).status == 200
