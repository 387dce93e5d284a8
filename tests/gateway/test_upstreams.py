"""Services that die, lie, hang or leave, and clients that do."""

import asyncio

import pytest

from tests.gateway.conftest import Door, Start
from tests.gateway.wire import GET, OK, Seen, Service, answers, read_body


@pytest.mark.promise("G31")
async def test_kept_connection_that_died_costs_the_client_nothing(door: Door) -> None:
    await door.ask("/api/v1/messages")

    async def vanish_once(service: Service, seen: Seen, reader: asyncio.StreamReader, w: asyncio.StreamWriter) -> bool:
        service.behave = answers(OK)
        return False

    door.service.behave = vanish_once
    assert (await door.ask("/api/v1/messages")).status == 200


@pytest.mark.promise("G31")
async def test_post_is_never_sent_twice(door: Door) -> None:
    await door.ask("/api/v1/messages")
    door.service.seen.clear()

    async def vanish(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await read_body(seen, reader)
        return False

    door.service.behave = vanish
    answer = await door.ask("/api/v1/messages", "POST", body=b"{}")
    assert answer.status == 502
    assert len(door.service.seen) == 1


@pytest.mark.promise("W18")
@pytest.mark.parametrize(
    "lie",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-Big: " + b"a" * (1 << 20) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\nX-Injected: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
    ids=["two lengths", "length and chunks", "other coding", "huge head", "bare LF", "101", "not HTTP", "nothing"],
)
async def test_lying_service_is_not_believed(door: Door, lie: bytes) -> None:
    door.service.behave = answers(lie, close=not lie)
    answer = await door.ask("/api/v1/messages")
    assert answer.status == 502
    assert b"bad_gateway" in answer.body
    connections = door.service.connections
    door.service.behave = answers(OK)
    assert (await door.ask("/api/v1/messages")).status == 200
    assert door.service.connections == connections + 1


@pytest.mark.promise("W18")
async def test_broken_chunk_breaks_the_answer(door: Door) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    door.service.behave = answers(head + b"zz\r\n")
    assert (await door.ask("/api/v1/messages")).status == 502

    async def later(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(head)
        await asyncio.sleep(0.05)
        writer.write(b"zz\r\n")
        return True

    door.service.behave = later
    client = await door.connect()
    await client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()


@pytest.mark.promise("W18")
async def test_answer_that_nobody_asked_for_reaches_nobody(door: Door) -> None:
    door.service.behave = answers(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    for _ in range(3):
        assert (await door.ask("/api/v1/messages")).body == b"{}"


async def test_cut_answer_is_not_passed_off_as_whole(door: Door) -> None:
    door.service.behave = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", close=True)
    client = await door.connect()
    await client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()


async def test_absent_service_is_unavailable(open_door: Start) -> None:
    door = await open_door(chat_urls=["http://127.0.0.1:9"])
    answer = await door.ask("/api/v1/messages")
    assert (answer.status, answer["retry-after"]) == (503, "1")
    assert (await door.ask("/api/v1/notifications")).status == 200


@pytest.mark.promise("G32")
async def test_silent_service_is_given_up(open_door: Start) -> None:
    door = await open_door(answer_seconds=0.2)

    async def silent(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.read()
        return False

    door.service.behave = silent
    answer = await door.ask("/api/v1/messages")
    assert answer.status == 504
    assert b"gateway_timeout" in answer.body


@pytest.mark.promise("G30")
async def test_dead_instance_is_passed_over(open_door: Start) -> None:
    second = await Service().start()
    door = await open_door(chat_urls=["http://127.0.0.1:9", second.url])
    statuses = [(await door.ask("/api/v1/messages")).status for _ in range(6)]
    assert statuses == [200] * 6
    await second.stop()


@pytest.mark.promise("G30")
async def test_instances_share_the_work(open_door: Start) -> None:
    pair = [await Service().start(), await Service().start()]
    door = await open_door(chat_urls=[service.url for service in pair])
    for _ in range(4):
        await door.ask("/api/v1/messages")
    assert [len(service.seen) for service in pair] == [2, 2]
    for service in pair:
        await service.stop()


async def test_client_that_leaves_frees_the_service(door: Door) -> None:
    gone = asyncio.Event()

    async def endless(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read()
        gone.set()
        return False

    door.service.behave = endless
    client = await door.connect()
    await client.send(GET)
    await client.head()
    client.close()
    async with asyncio.timeout(5):
        await gone.wait()
