"""What passes, passes whole: paths, bodies and answers, streamed both ways, whatever the service does."""

import asyncio

import pytest

from tests.gateway.conftest import Door
from tests.gateway.wire import GET, OK, Seen, Service, answers

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"


@pytest.mark.promise("G21")
async def test_path_and_query_arrive_byte_by_byte(door: Door) -> None:
    answer = await door.ask("/api/v1/search?q=a%2Fb%20c&x=%C3%A4&&y")
    assert answer.status == 200
    assert door.service.last.target == "/api/v1/search?q=a%2Fb%20c&x=%C3%A4&&y"


@pytest.mark.promise("G21")
async def test_body_with_length_arrives_with_its_length(door: Door) -> None:
    await door.ask("/api/v1/messages", "POST", body=b'{"content": "x"}', Content_Type="application/json")
    assert door.service.last.body == b'{"content": "x"}'
    assert door.service.last.get("content-length") == "16"
    assert door.service.last.get("content-type") == "application/json"


@pytest.mark.promise("G21")
async def test_chunked_body_arrives_in_chunks_of_ours(door: Door) -> None:
    answer = await door.raw(
        b"POST /api/v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
    )
    assert answer.status == 200
    assert door.service.last.body == b"abcde"
    assert door.service.last.get("transfer-encoding") == "chunked"


async def test_body_split_over_many_writes_arrives(door: Door) -> None:
    client = await door.connect()
    request = b"POST /api/v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789"
    for byte in request:
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.answer()).status == 200
    assert door.service.last.body == b"0123456789"


async def test_get_with_body_is_forwarded_with_exact_framing(door: Door) -> None:
    client = await door.connect()
    await client.send(b"GET /api/v1/search HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /" + GET)
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 200
    assert [(seen.target, seen.body) for seen in door.service.seen] == [
        ("/api/v1/search", b"GET /"),
        ("/api/v1/messages", b""),
    ]


@pytest.mark.promise("G21")
async def test_chunked_answer_comes_whole(door: Door) -> None:
    door.service.behave = answers(CHUNKED)
    answer = await door.ask("/api/v1/messages")
    assert answer.body == b"hello world"
    assert answer.all("transfer-encoding") == ["chunked"]


async def test_answer_that_ends_with_the_connection_gets_an_end(door: Door) -> None:
    door.service.behave = answers(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", close=True)
    client = await door.connect()
    await client.send(GET)
    assert (await client.answer()).body == b"until the end"
    await client.send(GET)
    assert (await client.answer()).body == b"until the end"


async def test_old_client_gets_no_chunks(door: Door) -> None:
    door.service.behave = answers(CHUNKED)
    answer = await door.raw(b"GET /api/v1/messages HTTP/1.0\r\n\r\n")
    assert answer.get("transfer-encoding") is None
    assert answer.body == b"hello world"
    assert door.service.last.get("host") == "localhost"


@pytest.mark.promise("G21")
async def test_head_has_a_length_and_no_body(door: Door) -> None:
    door.service.behave = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    client = await door.connect()
    for _ in range(2):
        await client.send(b"HEAD /api/v1/messages HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer(head_only=True))["content-length"] == "1000"
    door.service.behave = answers(OK)
    await client.send(GET)
    assert (await client.answer()).body == b"{}"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_answers_without_body_leave_the_connection_in_step(door: Door, status: str) -> None:
    door.service.behave = answers(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())
    client = await door.connect()
    for _ in range(3):
        await client.send(GET)
        answer = await client.answer()
        assert answer.status == int(status[:3])
        assert answer.get("transfer-encoding") is None


async def test_informational_answers_are_not_the_answer(door: Door) -> None:
    door.service.behave = answers(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
    answer = await door.ask("/api/v1/messages")
    assert (answer.status, answer.get("link")) == (200, None)


@pytest.mark.promise("G24")
async def test_events_arrive_while_the_stream_is_open(door: Door) -> None:
    told = asyncio.Event()

    async def events(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            writer.write(b"9\r\ndata: %d\n\n\r\n" % number)
            await writer.drain()
            await told.wait()
            told.clear()
        writer.write(b"0\r\n\r\n")
        return True

    door.service.behave = events
    client = await door.connect()
    await client.send(b"GET /api/v1/stream HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.head()
    for number in range(3):
        async with asyncio.timeout(30):
            assert await client.reader.readuntil(b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % number
        told.set()


async def test_one_connection_carries_many_requests(door: Door) -> None:
    client = await door.connect()
    for _ in range(5):
        await client.send(GET)
        answer = await client.answer()
        assert answer.get("connection") is None
    assert len(door.service.seen) == 5


async def test_pipelined_requests_are_answered_in_order(door: Door) -> None:
    async def slow_first(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if seen.target.endswith("/1"):
            await asyncio.sleep(0.05)
        text = seen.target.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        return True

    door.service.behave = slow_first
    client = await door.connect()
    paths = ["/api/v1/messages/1", "/nowhere", "/api/v1/messages/2", "/api/v1/messages/3"]
    await client.send(b"".join(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for path in paths))
    bodies = [await client.answer() for _ in paths]
    assert [answer.status for answer in bodies] == [200, 404, 200, 200]
    assert bodies[0].body == b"/api/v1/messages/1"
    assert bodies[3].body == b"/api/v1/messages/3"


async def test_data_after_connection_close_is_ignored(door: Door) -> None:
    client = await door.connect()
    await client.send(b"GET /api/v1/messages HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (200, "close")
    assert await client.closed()
    assert len(door.service.seen) == 1


async def test_body_is_asked_for_when_the_client_expects_that(door: Door) -> None:
    client = await door.connect()
    await client.send(b"POST /api/v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.head())[0] == 100
    await client.send(b"abc")
    assert (await client.answer()).status == 200
    assert door.service.last.body == b"abc"
    assert door.service.last.get("expect") is None


@pytest.mark.promise("W19")
async def test_answer_before_the_body_ends_the_connection(door: Door) -> None:
    async def early(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}")
        return True

    door.service.behave = early
    client = await door.connect()
    await client.send(b"POST /api/v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nGET /smuggled ")
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (401, "close")
    await client.send(b"HTTP/1.1\r\n\r\n" + GET)
    assert await client.closed()
    door.service.behave = answers(OK)
    assert (await door.ask("/api/v1/messages")).status == 200
    assert [seen.target for seen in door.service.seen] == ["/api/v1/messages", "/api/v1/messages"]
