"""The list of attacks on a gateway, each by its name, byte by byte: what it must be answered, and what nobody may see.

Beside the tests of each part, which go deeper: a name of the list that is not here stands in one of them.
"""

import asyncio
import gzip

import pytest

from gateway.domain.metrics import TALLY
from tests.gateway.conftest import Door, Start
from tests.gateway.test_framing import CHUNKED, VECTORS, post
from tests.gateway.wire import GET, OK, Counts, answers, begins

# As the list names them, with the vectors of test_framing and the status that each must get.
SMUGGLING = {
    "CL+TE": ("CL then TE", 400),
    "TE+CL order": ("TE then CL", 400),
    "dup CL same": ("same CL twice", 400),
    "dup CL diff": ("two CL", 400),
    "CL list `1, 1`": ("CL list", 400),
    "CL `+1`": ("CL plus", 400),
    "CL `0x1`": ("CL hexadecimal", 400),
    "CL `-1`": ("CL negative", 400),
    "CL `1_0`": ("CL underscore", 400),
    "TE `xchunked`": ("TE xchunked", 400),
    "TE `chunked, identity`": ("TE chunked, identity", 400),
    "TE `gzip, chunked`": ("TE gzip, chunked", 400),
    "TE dup": ("TE twice", 400),
    "TE with \\x0b": ("TE vertical tab", 400),
    "HTTP/1.0 + TE": ("TE on HTTP/1.0", 400),
    "GET + body": ("fat GET", 400),
    "space before colon": ("space before colon", 400),
    "obs-fold": ("folded header", 400),
    "bare LF headers": ("bare LF in headers", 400),
    "bare CR in value": ("bare CR in value", 400),
    "NUL in value": ("NUL in value", 400),
    "empty header name": ("empty name", 400),
    "header name with (": ("parenthesis in name", 400),
    "no Host": ("no Host", 400),
    "two Hosts": ("two Hosts", 400),
    "absolute-form": ("absolute target", 400),
    "space in target": ("space in target", 400),
    "raw UTF-8 target": ("raw UTF-8 in target", 400),
    "chunk size `+`": ("chunk size plus", 400),
    "chunk bare LF": ("chunk bare LF", 400),
    "chunk ext LF": ("chunk extension LF", 400),
    "chunk bad terminator": ("chunk without end", 400),
    "trailer CL": ("trailer CL", 400),
    "lower-case method": ("lower-case method", 400),
    "HTTP/1.9": ("HTTP/1.9", 400),
    "h2c upgrade": ("h2c upgrade", 400),
    "TRACE": ("TRACE", 405),
    "CONNECT": ("CONNECT", 405),
}
FAT = (
    b"GET /api/v1/auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 45\r\n\r\n"
    b"GET /internal/x HTTP/1.1\r\nHost: evil.host\r\n\r\n"
)


def refused() -> float:
    """How many requests the gateway has counted as refused, for whatever reason."""
    return sum(
        sample.value
        for metric in TALLY.collect()
        for sample in metric.samples
        if sample.name == "parley_gateway_refused_total"
    )


def test_the_list_is_whole() -> None:
    assert len(SMUGGLING) == 38


@pytest.mark.promise("W5", "G35")
@pytest.mark.parametrize("name", SMUGGLING)
async def test_smuggling_is_refused_counted_and_reaches_nobody(door: Door, name: str) -> None:
    vector, status = SMUGGLING[name]
    before = refused()
    client = await door.connect()
    await client.send((FAT if vector == "fat GET" else VECTORS[vector]) + GET)
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (status, "close")
    assert await client.closed()
    assert door.service.seen == []
    assert refused() == before + 1
    # Nothing of what came is said back.
    assert not any(word in answer.body for word in (b"internal", b"evil", b"chunked", b"0x1", b"api.example.com"))


STRICT = ["/api/v1/auth/token", "/api/v1/auth/login", "/api/v1/auth/register", "/api/v1/auth/password/forgot"]


@pytest.mark.promise("W17")
@pytest.mark.parametrize("path", [*STRICT, "/api/v1/auth/otp/request", "/api/auth/login/", "/api/users/register"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "framing", ["Content-Length: 2\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
async def test_fat_get_is_refused_where_passwords_and_codes_are(
    door: Door, path: str, method: str, framing: str
) -> None:
    client = await door.connect()
    await client.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{framing}".encode())
    answer = await client.answer(head_only=method == "HEAD")
    assert (answer.status, answer["connection"]) == (400, "close")
    assert await client.closed()
    assert door.service.seen == []


@pytest.mark.promise("W17")
async def test_thin_get_and_post_pass_there(door: Door) -> None:
    assert (await door.ask(STRICT[0])).status == 200
    assert (await door.ask(STRICT[0], "POST", body=b"{}")).status == 200
    assert (await door.ask(STRICT[0], Content_Length="0")).status == 200


@pytest.mark.promise("W17")
async def test_headers_that_rewrite_change_neither_path_nor_method_nor_host(door: Door) -> None:
    await door.ask(
        "/api/v1/messages",
        X_Forwarded_Host="evil.example",
        X_Forwarded_Server="evil.example",
        X_Original_URL="/api/v1/admin/auth",
        X_Rewrite_URL="/api/v1/admin/auth",
        X_HTTP_Method_Override="DELETE",
        X_HTTP_Method="DELETE",
        X_Method_Override="DELETE",
    )
    seen = door.service.last
    assert (seen.method, seen.target) == ("GET", "/api/v1/messages")
    assert seen.get("x-forwarded-host") == "api.example.com"
    assert b"evil" not in seen.raw
    assert b"DELETE" not in seen.raw
    assert b"admin" not in seen.raw


# Response splitting, in what a client sends: each carrier with a raw line break, an encoded one, and U+010D, whose low
# byte is a carriage return.
BREAKS = {"raw CRLF": b"\r\nX-Injected: 1", "raw LF": b"\nX-Injected: 1", "encoded": b"%0d%0aX-Injected:1"}
WIDE = "č".encode()


@pytest.mark.promise("W6")
@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("carrier", ["path", "query", "header"])
async def test_line_break_in_a_request_makes_no_header(door: Door, carrier: str, name: str) -> None:
    path, query, value = {"path": (BREAKS[name], b"", b""), "query": (b"", BREAKS[name], b"")}.get(
        carrier, (b"", b"", BREAKS[name])
    )
    client = await door.connect()
    await client.send(b"GET /api/v1/messages/a%s?q=%s HTTP/1.1\r\nHost: a\r\nX-A: b%s\r\n\r\n" % (path, query, value))
    answer = await client.answer()
    assert answer.get("x-injected") is None
    if answer.status == 200:
        # A line of its own in the head is a header that the client may send anyhow; encoded it stays what it is.
        assert name == "encoded" or (carrier, name) == ("header", "raw CRLF")
        assert ("x-injected" in door.service.last.names()) is (name == "raw CRLF")
    else:
        assert answer.status == 400
        assert door.service.seen == []
        assert await client.closed()


@pytest.mark.promise("W6")
@pytest.mark.parametrize("carrier", ["path", "query", "header"])
async def test_wide_character_is_never_narrowed(door: Door, carrier: str) -> None:
    parts = [WIDE + b"X-Injected: 1" if carrier == each else b"" for each in ("path", "query", "header")]
    answer = await door.raw(b"GET /api/v1/messages/a%s?q=%s HTTP/1.1\r\nHost: a\r\nX-A: b%s\r\n\r\n" % tuple(parts))
    assert answer.get("x-injected") is None
    if carrier == "header":
        assert b"X-A: b" + WIDE in door.service.last.raw.replace(b"x-a", b"X-A")
    else:
        assert (answer.status, door.service.seen) == (400, [])


@pytest.mark.promise("W6")
@pytest.mark.parametrize("header", ["Location: /next?%s", 'Content-Disposition: attachment; filename="%s.txt"'])
async def test_redirect_target_and_filename_stay_in_their_line(door: Door, header: str) -> None:
    """What a service was made to say: encoded and wide it passes as it is; with a real line break it is not heard."""
    for harmless in ("a%0d%0aX-Injected:1", "ačX-Injected: 1"):
        line = (header % harmless).encode()
        door.service.behave = answers(b"HTTP/1.1 302 Found\r\n" + line + b"\r\nContent-Length: 0\r\n\r\n")
        answer = await door.ask("/api/v1/messages")
        assert (answer.status, answer.get("x-injected")) == (302, None)
        assert answer[header.partition(":")[0].lower()].encode("latin-1") == line.partition(b": ")[2]
    for broken in (b"a\nX-Injected: 1", b"a\rX-Injected: 1", b"a\r\n X-Injected: 1", b"a\x00"):
        line = header.encode().replace(b"%s", broken)
        door.service.behave = answers(b"HTTP/1.1 302 Found\r\n" + line + b"\r\nContent-Length: 0\r\n\r\n")
        answer = await door.ask("/api/v1/messages")
        assert (answer.status, answer.get("x-injected")) == (502, None)


@pytest.mark.promise("W7", "G34")
@pytest.mark.parametrize(
    "path",
    [
        "/api/auth/..%2f..%2finternal",
        "/api/auth/%252e%252e/internal",
        "/api/v1/messages\\..\\internal",
        "//evil.example/api/v1/messages",
        "/api/v1/./messages",
        "/api/v1/messages/../../../internal",
        "/api/v1/messages;a=b",
        "/api/v1/messages/;a=b/x",
        "/api/v1/messages/%00",
        "/api/v1/messages/%c0%ae%c0%ae/internal",
        "/api/v1/messages/%e0%80%af",
        "/api/v1/messages/%f0%80%80%af",
        "/api/v1/messages/%ed%a0%80",
        "/%61pi/v1/messages",
        "/api/v1/%61uth/token",
        "/api%2fv1/messages",
    ],
)
async def test_hidden_path_is_refused(door: Door, path: str) -> None:
    before = refused()
    answer = await door.ask(path)
    assert answer.status == 400
    assert b"internal" not in answer.body
    assert door.service.seen == []
    assert refused() == before + 1


@pytest.mark.promise("W8")
async def test_body_longer_than_its_length_is_no_second_request(door: Door) -> None:
    client = await door.connect()
    await client.send(post(b"Content-Length: 2\r\n", b"{}SMUGGLED /internal HTTP/1.1\r\n\r\n"))
    assert (await client.answer()).status == 200
    assert (await client.answer()).status in (400, 405)
    assert await client.closed()
    assert [seen.body for seen in door.service.seen] == [b"{}"]


@pytest.mark.promise("W8")
async def test_body_shorter_than_its_length_never_completes(open_door: Start) -> None:
    door = await open_door(body_seconds=0.3)
    client = await door.connect()
    await client.send(post(b"Content-Length: 100\r\n", b"{}"))
    assert (await client.answer()).status == 408
    assert await client.closed()
    assert not any(seen.complete for seen in door.service.seen)


@pytest.mark.promise("W8")
async def test_body_that_was_asked_for_and_becomes_huge_is_refused(open_door: Start) -> None:
    door = await open_door(max_body_bytes=100_000)
    door.service.behave = counts = Counts()
    client = await door.connect()
    await client.send(post(CHUNKED + b"Expect: 100-continue\r\n"))
    assert (await client.head())[0] == 100
    for _ in range(40):
        await client.send(b"1000\r\n" + bytes(4096) + b"\r\n")
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (413, "close")
    assert await client.closed()
    assert counts.got <= 102_000


@pytest.mark.promise("W9", "G32")
@pytest.mark.parametrize(
    ("sent", "crowd_size"),
    [(b"GET / HTTP/1.1\r\nX-A: ", 300), (b"", 300), (post(b"Content-Length: 9\r\n", b"x"), 80)],
    ids=["heads", "nothing", "bodies"],
)
async def test_slow_ones_are_closed_and_others_are_served(open_door: Start, sent: bytes, crowd_size: int) -> None:
    door = await open_door(header_seconds=1.0, body_seconds=1.0)
    crowd = []
    for _ in range(crowd_size):
        # Each at once: the first ones may be closed before the last ones have come.
        crowd.append(await door.connect())
        await crowd[-1].send(sent)
    assert [(await door.ask("/api/v1/search")).status for _ in range(20)] == [200] * 20
    async with asyncio.timeout(30):
        for client in crowd:
            await client.reader.read()
    async with asyncio.timeout(10):
        while door.core.watched:
            await asyncio.sleep(0.05)


@pytest.mark.promise("W18")
async def test_head_of_an_answer_that_never_ends_is_given_up(open_door: Start) -> None:
    door = await open_door(answer_seconds=0.3)
    door.service.behave = begins(b"HTTP/1.1 200 OK\r\nX-A: ")
    assert (await door.ask("/api/v1/messages", "POST", body=b"{}")).status == 504
    door.service.behave = answers(OK)
    assert (await door.ask("/api/v1/messages")).status == 200


@pytest.mark.promise("W18")
async def test_body_of_an_answer_that_never_ends_is_cut(open_door: Start) -> None:
    door = await open_door(stream_seconds=0.3)
    door.service.behave = begins(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly")
    client = await door.connect()
    await client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()


@pytest.mark.promise("W20")
async def test_bomb_passes_as_it_is(door: Door) -> None:
    bomb = gzip.compress(bytes(50 << 20))
    assert len(bomb) < 100_000
    answer = await door.ask("/api/v1/messages", "POST", body=bomb, Content_Encoding="gzip")
    assert answer.status == 200
    assert door.service.last.body == bomb
