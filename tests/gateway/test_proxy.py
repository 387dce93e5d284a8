"""What passes, passes whole: paths, bodies and answers, streamed both ways, whatever the service does."""

import asyncio

import pytest

from tests.gateway.conftest import Door, Start
from tests.gateway.wire import OK, Seen, Service, answers, read_body

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
GET = b"GET /api/v1/messages HTTP/1.1\r\nHost: a\r\n\r\n"


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
        async with asyncio.timeout(5):
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
