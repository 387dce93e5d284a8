"""Messages with two readings are refused, and nobody behind the gateway sees a request in them."""

import asyncio

import pytest

from tests.gateway.conftest import Door, Start
from tests.gateway.wire import OK, Counts, Seen, Service

HOST = b"Host: api.example.com\r\n"
TARGET = b"/api/v1/messages"


def post(fields: bytes, body: bytes = b"", *, version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST " + TARGET + b" " + version + b"\r\n" + HOST + fields + b"\r\n" + body


def get(fields: bytes = b"", *, line: bytes = b"GET " + TARGET + b" HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"0\r\n\r\nGET /internal/x HTTP/1.1\r\nHost: a\r\n\r\n"
VECTORS = {
    "CL then TE": post(b"Content-Length: 4\r\n" + CHUNKED, SMUGGLED),
    "TE then CL": post(CHUNKED + b"Content-Length: 4\r\n", SMUGGLED),
    "same CL twice": post(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"x"),
    "two CL": post(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"xy"),
    "CL list": post(b"Content-Length: 1, 1\r\n", b"x"),
    "CL plus": post(b"Content-Length: +1\r\n", b"x"),
    "CL hexadecimal": post(b"Content-Length: 0x1\r\n", b"x"),
    "CL negative": post(b"Content-Length: -1\r\n", b"x"),
    "CL underscore": post(b"Content-Length: 1_0\r\n", b"x"),
    "CL huge": post(b"Content-Length: 99999999999999999999\r\n", b"x"),
    "TE xchunked": post(b"Transfer-Encoding: xchunked\r\n", SMUGGLED),
    "TE chunked, identity": post(b"Transfer-Encoding: chunked, identity\r\n", SMUGGLED),
    "TE gzip, chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", SMUGGLED),
    "TE twice": post(CHUNKED + b"Transfer-Encoding: identity\r\n", SMUGGLED),
    "TE chunked twice": post(CHUNKED + CHUNKED, SMUGGLED),
    "TE vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", SMUGGLED),
    "TE on HTTP/1.0": post(CHUNKED, SMUGGLED, version=b"HTTP/1.0"),
    "space before colon": post(b"Content-Length : 1\r\n", b"x"),
    "folded header": get(b"X-A: b\r\n c\r\n"),
    "folded TE": post(b"Transfer-Encoding:\r\n chunked\r\n", SMUGGLED),
    "bare LF": get().replace(b"\r\n", b"\n"),
    "bare LF in headers": b"GET " + TARGET + b" HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n",
    "bare CR in value": get(b"X-A: b\rc\r\n"),
    "NUL in value": get(b"X-A: b\x00c\r\n"),
    "empty name": get(b": b\r\n"),
    "parenthesis in name": get(b"X(A: b\r\n"),
    "no Host": get(host=b""),
    "empty Host": get(host=b"Host:\r\n"),
    "two Hosts": get(b"Host: evil\r\n"),
    "Host list": get(host=b"Host: a, b\r\n"),
    "Host with path": get(host=b"Host: a/b\r\n"),
    "Host with user": get(host=b"Host: a@b\r\n"),
    "absolute target": get(line=b"GET http://api.example.com" + TARGET + b" HTTP/1.1"),
    "authority target": get(line=b"GET api.example.com:80 HTTP/1.1"),
    "asterisk target": get(line=b"OPTIONS * HTTP/1.1"),
    "space in target": get(line=b"GET " + TARGET + b" x HTTP/1.1"),
    "raw UTF-8 in target": get(line="GET /api/v1/messages/ä HTTP/1.1".encode()),
    "chunk size plus": post(CHUNKED, b"+1\r\nx\r\n0\r\n\r\n"),
    "chunk size 0x": post(CHUNKED, b"0x1\r\nx\r\n0\r\n\r\n"),
    "chunk bare LF": post(CHUNKED, b"1\nx\n0\n\n"),
    "chunk extension LF": post(CHUNKED, b"1;a\nx\r\n0\r\n\r\n"),
    "chunk without end": post(CHUNKED, b"1\r\nxx0\r\n\r\n"),
    "chunk size too long": post(CHUNKED, b"1" * 20 + b"\r\nx\r\n0\r\n\r\n"),
    "trailer CL": post(CHUNKED, b"1\r\nx\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "lower-case method": get(line=b"get " + TARGET + b" HTTP/1.1"),
    "HTTP/1.9": get(line=b"GET " + TARGET + b" HTTP/1.9"),
    "HTTP/2.0": get(line=b"GET " + TARGET + b" HTTP/2.0"),
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "h2c upgrade": get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
    "socket upgrade elsewhere": get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "upgrade with body": b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Content-Length: 4\r\n\r\nabcd",
    "TRACE": get(line=b"TRACE " + TARGET + b" HTTP/1.1"),
    "CONNECT": get(line=b"CONNECT api.example.com:443 HTTP/1.1"),
    "CONNECT path": get(line=b"CONNECT " + TARGET + b" HTTP/1.1"),
    "unknown method": get(line=b"PROPFIND " + TARGET + b" HTTP/1.1"),
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
}


@pytest.mark.promise("W5", "G35")
@pytest.mark.parametrize("name", VECTORS)
async def test_ambiguous_message_is_refused_and_the_connection_closed(door: Door, name: str) -> None:
    client = await door.connect()
    await client.send(VECTORS[name] + b"GET /api/v1/messages/next HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = await client.answer()
    assert answer.status in (400, 405)
    assert answer["connection"] == "close"
    assert await client.closed()
    assert door.service.seen == []


@pytest.mark.promise("W5")
@pytest.mark.parametrize("name", VECTORS)
async def test_ambiguous_message_in_single_bytes_completes_no_request(door: Door, name: str) -> None:
    client = await door.connect()
    for byte in VECTORS[name]:
        try:
            await client.send(bytes([byte]))
        except ConnectionError:
            break
        await asyncio.sleep(0)
    answer = await client.answer()
    assert answer.status in (400, 405)
    assert await client.closed()
    assert not any(seen.complete for seen in door.service.seen)


@pytest.mark.promise("W5")
async def test_broken_message_behind_a_good_one_is_answered_second(door: Door) -> None:
    async def slow(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.05)
        writer.write(OK)
        return True

    door.service.behave = slow
    client = await door.connect()
    await client.send(get() + VECTORS["CL then TE"])
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 400
    assert await client.closed()
    assert len(door.service.seen) == 1


@pytest.mark.promise("W6")
@pytest.mark.parametrize(
    "path",
    ["/api/v1/messages/%0d%0aX-Injected:%201", "/api/v1/messages/a%0aSet-Cookie:b", "/api/v1/messages/%00"],
)
async def test_encoded_line_breaks_in_a_path_are_refused(door: Door, path: str) -> None:
    answer = await door.ask(path)
    assert answer.status == 400
    assert door.service.seen == []


@pytest.mark.promise("W6")
async def test_line_breaks_in_a_query_stay_encoded(door: Door) -> None:
    answer = await door.ask("/api/v1/search?q=a%0d%0aX-Injected:%201&%C4%8D")
    assert answer.status == 200
    assert door.service.last.target == "/api/v1/search?q=a%0d%0aX-Injected:%201&%C4%8D"
    assert "x-injected" not in door.service.last.names()


UNSAFE = [
    "/api/auth/..%2f..%2finternal",
    "/api/auth/%2e%2e/internal",
    "/api/v1/messages/%252e%252e/x",
    "/api/v1/messages/%252f",
    "/api/v1/messages\\..\\x",
    "/api/v1/messages%5cx",
    "//evil.example/api/v1/messages",
    "/api/v1//messages",
    "/api/v1/./messages",
    "/api/v1/messages/..",
    "/api/v1/messages/../../internal",
    "/api/v1/messages;a=b",
    "/api/v1/messages/%00",
    "/api/v1/messages/%c0%af",
    "/api/v1/messages/%ff",
    "/api/v1/messages/%zz",
    "/api/v1/messages/%2",
    "/%61pi/v1/messages",
    "/api/v1/auth/tok%65n",
    "/api/v1/auth/%74oken",
    "/api/v1/auth/password%2dreset",
    "/api/v1/messages#fragment",
    "/api/v1/messages?a#b",
]


@pytest.mark.promise("W7", "G34")
@pytest.mark.parametrize("path", UNSAFE)
async def test_path_with_two_spellings_is_refused(door: Door, path: str) -> None:
    answer = await door.ask(path)
    assert answer.status == 400
    assert door.service.seen == []


@pytest.mark.promise("W7", "G36")
@pytest.mark.parametrize(
    "path",
    [
        "/internal/events",
        "/internal",
        "/",
        "/metrics",
        "/API/v1/messages",
        "/api/v1/messagesx",
        "/api/v2/users",
        "/api",
    ],
)
async def test_path_without_owner_does_not_exist(door: Door, path: str) -> None:
    answer = await door.ask(path)
    assert answer.status == 404
    assert door.service.seen == []


@pytest.mark.promise("W7")
@pytest.mark.parametrize("path", ["/api/v1/messages/a%20b%C3%A4", "/api/v1/users/@me", "/api/v1/users/a:b,c+d", "/ws/"])
async def test_ordinary_path_passes(door: Door, path: str) -> None:
    assert (await door.ask(path)).status == 200
    assert door.service.last.target == path


@pytest.mark.promise("W8")
async def test_declared_body_over_the_limit_is_refused_before_it_is_sent(door: Door) -> None:
    client = await door.connect()
    await client.send(post(b"Content-Length: 1048577\r\nExpect: 100-continue\r\n"))
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (413, "close")
    assert await client.closed()
    assert door.service.seen == []


@pytest.mark.promise("W8")
async def test_chunks_over_the_limit_never_reach_the_service(open_door: Start) -> None:
    door = await open_door(max_body_bytes=100_000)
    door.service.behave = counts = Counts()
    client = await door.connect()
    await client.send(post(CHUNKED))
    for _ in range(30):
        await client.send(b"1000\r\n" + bytes(4096) + b"\r\n")
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (413, "close")
    assert await client.closed()
    assert counts.got <= 102_000


@pytest.mark.promise("W8")
async def test_hooks_and_files_have_limits_of_their_own(door: Door) -> None:
    assert (await door.ask("/hooks/sms", "POST", body=bytes(2 << 20))).status == 200
    assert (await door.ask("/hooks/sms", "POST", body=bytes(4 << 20))).status == 413
    assert (await door.ask("/api/v1/attachments", "POST", body=bytes(4 << 20))).status == 200


@pytest.mark.promise("W9", "G32")
async def test_slow_head_ends_at_its_deadline(open_door: Start) -> None:
    door = await open_door(header_seconds=0.3)
    client = await door.connect()
    silent = await door.connect()
    dripping = asyncio.create_task(drip(client.writer, b"GET / HTTP/1.1\r\nX-A: " + b"a" * 1000))
    assert await client.closed()
    assert await silent.closed()
    dripping.cancel()
    assert (await door.ask("/api/v1/messages")).status == 200


@pytest.mark.promise("W9")
async def test_second_head_has_a_deadline_too(open_door: Start) -> None:
    door = await open_door(header_seconds=0.3)
    client = await door.connect()
    await client.send(get())
    assert (await client.answer()).status == 200
    await client.send(b"GET / HT")
    assert await client.closed()


@pytest.mark.promise("W9", "G32")
async def test_slow_body_ends_below_its_pace(open_door: Start) -> None:
    door = await open_door(body_seconds=0.3)
    client = await door.connect()
    await client.send(post(b"Content-Length: 1000\r\n"))
    dripping = asyncio.create_task(drip(client.writer, bytes(900)))
    answer = await client.answer()
    assert answer.status == 408
    assert await client.closed()
    dripping.cancel()


@pytest.mark.promise("W9")
async def test_reader_that_stops_reading_is_dropped(open_door: Start) -> None:
    door = await open_door(body_seconds=0.3)
    gone = asyncio.Event()

    async def endless(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                await writer.drain()
        finally:
            gone.set()
        return False

    door.service.behave = endless
    client = await door.connect(limit=1 << 16)
    await client.send(get())
    async with asyncio.timeout(30):
        await gone.wait()


@pytest.mark.promise("W9")
async def test_idle_connection_is_closed(open_door: Start) -> None:
    door = await open_door(keep_alive_seconds=0.2)
    client = await door.connect()
    await client.send(get())
    assert (await client.answer()).status == 200
    assert await client.closed()


@pytest.mark.promise("W10", "G33")
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get(b"".join(b"X-%d: a\r\n" % number for number in range(101))), 431),
        (get(b"X-Big: " + b"a" * 17_000 + b"\r\n"), 431),
        (b"GET " + TARGET + b" HTTP/1.1\r\nX-Endless: " + b"a" * 20_000, 431),
        (get(line=b"GET /api/v1/messages?q=" + b"a" * 9000 + b" HTTP/1.1"), 414),
        (b"GET /api/v1/messages?q=" + b"a" * 12_000, 414),
    ],
    ids=["101 headers", "17 KiB", "endless header", "long target", "endless target"],
)
async def test_large_head_is_refused(door: Door, request_bytes: bytes, status: int) -> None:
    for size in (len(request_bytes), 1000):
        client = await door.connect()
        for start in range(0, len(request_bytes), size):
            await client.send(request_bytes[start : start + size])
            await asyncio.sleep(0)
        answer = await client.answer()
        assert answer.status == status
        assert await client.closed()
    assert door.service.seen == []


@pytest.mark.promise("W10")
async def test_head_just_below_the_limits_passes(door: Door) -> None:
    fields = b"".join(b"X-%02d: %s\r\n" % (number, b"a" * 140) for number in range(99))
    assert (await door.raw(get(fields))).status == 200
    assert (await door.raw(get(line=b"GET /api/v1/messages?q=" + b"a" * 8000 + b" HTTP/1.1"))).status == 200


@pytest.mark.promise("W20")
async def test_compressed_body_passes_untouched(door: Door) -> None:
    await door.ask("/api/v1/messages", "POST", body=b"\x1f\x8b\x08", Content_Encoding="gzip")
    assert door.service.last.body == b"\x1f\x8b\x08"
    assert door.service.last.get("content-encoding") == "gzip"


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)
