"""Damaged traffic, both ways: mutated, spliced, pipelined and split at any byte.

Each request carries a word of its own, and the service sends it back. So it shows who got whose answer, and in what
order; and what reached the service is held against what llhttp reads in the same bytes.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from random import Random  # noqa: TID251  -- seeded, so that a failure can be repeated

import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.gateway.conftest import Door, Start
from tests.gateway.test_framing import CHUNKED, HOST, SMUGGLED, VECTORS, post
from tests.gateway.wire import TIMEOUT, Behaviour, Seen, Service, read_body

# Every connection ends by itself within some of these, so that one that hangs is found.
SHORT = {f"{name}_seconds": 1.0 for name in ("header", "body", "answer", "stream", "socket", "keep_alive")}
INSERTED = [
    *(b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"\xff", b"0\r\n\r\n", b"\r\n\r\n", b" HTTP/1.1\r\n"),
    *(CHUNKED, HOST, b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Connection: close\r\n", b" folded\r\n"),
]
Request = tuple[str, str, bytes]


def request(kind: int, word: str) -> bytes:
    target = f"/api/v1/messages/{word}".encode()
    line = b" " + target + b" HTTP/1.1\r\n" + HOST
    body = word.encode()
    return (
        b"GET" + line + b"\r\n",
        b"GET" + line + b"Accept: */*\r\nX-Long: " + b"a" * 300 + b"\r\n\r\n",
        b"POST" + line + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        b"POST" + line + CHUNKED + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        b"POST"
        + line
        + CHUNKED
        + b"\r\n1;a=b\r\n"
        + body[:1]
        + b"\r\n%x\r\n%s\r\n0\r\nX-T: 1\r\n\r\n" % (31, body[1:]),
        b"PUT" + line + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        b"GET" + line.replace(b"messages", b"users") + b"Connection: keep-alive\r\n\r\n",
        b"GET" + b" /health/live HTTP/1.1\r\n" + HOST + b"\r\n",
    )[kind]


def mutated(data: bytes, dice: Random, times: int) -> bytes:
    """The order of what stays is never changed."""
    for _ in range(times):
        at = dice.randrange(len(data))
        kind = dice.randrange(6)
        if kind == 0:
            data = data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[at + dice.choice([1, 2, 4, 40]) :]
        elif kind == 2:
            at = dice.choice([at, data.find(b"\n", at) + 1])
            data = data[:at] + dice.choice(INSERTED) + data[at:]
        elif kind == 3:
            start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at) + 1
            data = data[:end] + data[start:end] + data[end:]
        elif kind == 4:
            # A part of one request and a part of a later one.
            data = data[:at] + data[dice.randrange(at, len(data)) :]
        else:
            # Most often where a request begins.
            at = dice.choice([0, data.find(b"\r\n\r\n", at) + 4, at])
            data = data[:at] + dice.choice(list(VECTORS.values())) + data[at:]
        data = data or b"\r\n"
    return data


class Reference:
    """What llhttp reads in the bytes of one connection: messages that begin, and those that are complete."""

    def __init__(self, data: bytes) -> None:
        self.begun: list[tuple[str, str]] = []
        self.complete: list[Request] = []
        self._url, self._body = b"", b""
        self._parser = httptools.HttpRequestParser(self)
        with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url, self._body = b"", b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_headers_complete(self) -> None:
        self.begun.append((self._parser.get_method().decode(), self._url.decode("latin-1")))

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self.begun:
            self.complete.append((*self.begun[-1], self._body))


class Answers:
    """Whole answers in what a connection brought; what is no HTTP raises."""

    def __init__(self, data: bytes) -> None:
        self.found: list[tuple[int, bytes]] = []
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        # What a gateway says after `Connection: close` would be an error of its own.
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.found.append((self._parser.get_status_code(), self._body))


async def echo(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    seen.body = await read_body(seen, reader)
    seen.complete = True
    body = seen.target.encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    return True


async def talk(port: int, data: bytes, dice: Random) -> bytes:
    """Sends in pieces, and reads until the gateway closes: one that does not hangs, and fails here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = bytearray()

    async def read() -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                got.extend(piece)

    async with asyncio.timeout(3 * TIMEOUT):
        reading = asyncio.create_task(read())
        at = 0
        # The last one is what uvloop says.
        with contextlib.suppress(ConnectionError, RuntimeError):
            while at < len(data) and not reading.done():
                size = dice.choice([1, 3, 10, 100, 1000])
                writer.write(data[at : at + size])
                at += size
                await asyncio.sleep(0)
        await reading
    writer.close()
    return bytes(got)


@contextlib.asynccontextmanager
async def unharmed(door: Door) -> AsyncIterator[None]:
    """Whatever happens inside leaves no fault, no complaint and nothing behind."""
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    # Tasks of a test before that are collected now have no exception, and are nothing of ours.
    loop.set_exception_handler(lambda _loop, context: faults.append(context) if "exception" in context else None)
    try:
        with capture_logs() as logs:
            yield
            async with asyncio.timeout(3 * TIMEOUT):
                while door.core.watched:
                    await asyncio.sleep(0.05)
    finally:
        loop.set_exception_handler(None)
    assert faults == []
    assert [entry for entry in logs if entry["log_level"] not in ("debug", "info", "warning")] == []
    instances = [instance for group in door.core.groups.values() for instance in group.instances]
    assert {(instance.in_flight, instance.waiting) for instance in instances} == {(0, 0)}
    door.service.behave = echo
    assert (await door.ask("/api/v1/messages")).status == 200


def plain(seen: Seen) -> bool:
    """A head with one reading, whatever parser reads it."""
    names = [name for name, _ in seen.fields]
    framed = names.count("content-length") + names.count("transfer-encoding")
    once = all(names.count(name) == 1 for name in ("host", "x-request-id", "x-forwarded-for"))
    ours = seen.raw.isascii() or seen.target.isascii()
    return (
        once
        and ours
        and framed <= 1
        and seen.target.startswith("/")
        and "\n" not in seen.raw.decode("latin-1").replace("\r\n", "")
    )


def assert_read_alike(door: Door, sent: list[bytes]) -> None:
    """Nothing arrived that others would not find in what was sent, no more often, and with the same body."""
    read = [Reference(data) for data in sent]
    begun = Counter(each for reference in read for each in reference.begun)
    complete = Counter(each for reference in read for each in reference.complete)
    seen = [each for each in door.service.seen if each.target != "/health/ready"]
    assert all(map(plain, seen))
    assert not Counter((each.method, each.target) for each in seen) - begun
    assert not Counter((each.method, each.target, each.body) for each in seen if each.complete) - complete


@pytest.mark.promise("W5", "G35")
@pytest.mark.parametrize("seed", range(4))
async def test_damaged_traffic_does_no_harm(open_door: Start, seed: int) -> None:
    # A machine that pauses for two seconds must not cost all of them their answers.
    door = await open_door(**dict.fromkeys(SHORT, 3.0))
    door.service.behave = echo
    dice = Random(seed)
    owners: dict[str, tuple[int, int]] = {}
    sent = []
    for connection in range(150):
        words = [f"{dice.getrandbits(128):032x}" for _ in range(dice.randint(1, 6))]
        owners |= {word: (connection, number) for number, word in enumerate(words)}
        data = b"".join(request(dice.randrange(8), word) for word in words)
        sent.append(mutated(data, dice, dice.choice([0, 1, 1, 2, 5])))
    async with unharmed(door):
        got = await asyncio.gather(*(talk(door.port, data, dice) for data in sent))
    whole = 0
    for connection, data in enumerate(got):
        words = [body.decode("latin-1").rpartition("/")[2] for status, body in Answers(data).found if status == 200]
        known = [owners[word] for word in words if word in owners]
        assert all(owner == connection for owner, _ in known), "somebody else's answer"
        assert known == sorted(known), "out of order"
        whole += len(known)
    door.service.seen.pop()
    assert_read_alike(door, sent)
    # It is traffic, not noise: most of it still gets its answer.
    assert whole > 100


@pytest.mark.promise("W5", "G35")
async def test_pipelined_requests_of_many_connections_each_get_their_own_answer(open_door: Start) -> None:
    door = await open_door()
    dice = Random(7)

    async def at_leisure(service: Service, seen: Seen, reader: asyncio.StreamReader, w: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(dice.choice([0, 0, 0.002, 0.01]))
        return await echo(service, seen, reader, w)

    door.service.behave = at_leisure
    words = [[f"{dice.getrandbits(128):032x}" for _ in range(20)] for _ in range(40)]
    # The last one ends the connection: a deadline might pass in the midst of it.
    bye = b"GET /api/v1/messages/bye HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
    sent = [b"".join(request(dice.randrange(7), word) for word in mine) + bye for mine in words]
    async with unharmed(door):
        got = await asyncio.gather(*(talk(door.port, data, dice) for data in sent))
    for mine, data in zip(words, got, strict=True):
        # What some expected as an interim answer is none.
        found = [(status, body.decode().rpartition("/")[2]) for status, body in Answers(data).found if status != 100]
        assert found == [(200, word) for word in (*mine, "bye")]


_PIECES = st.sampled_from(
    [
        *(request(kind, "0" * 32) for kind in range(7)),
        *(
            b"GET ",
            b"POST ",
            b"/api/v1/messages/1",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"5\r\nhello\r\n",
        ),
        *(*INSERTED, SMUGGLED, post(b"Content-Length: 5\r\n", b"hello"), b"Transfer-Encoding: identity\r\n"),
    ]
)


@pytest.mark.promise("W5", "G35")
@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pieces=st.lists(_PIECES, min_size=1, max_size=8), cuts=st.lists(st.integers(0, 400), max_size=4))
async def test_what_arrives_is_what_others_read_in_it(door: Door, pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    door.service.seen.clear()
    door.service.behave = echo
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    with contextlib.suppress(ConnectionError, RuntimeError):
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
            writer.write(data[start:end])
            await asyncio.sleep(0)
        writer.write_eof()
        async with asyncio.timeout(TIMEOUT):
            await reader.read(-1)
    writer.close()
    assert_read_alike(door, [data])


ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n%s",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n%s\r\n0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n%s",
    b"HTTP/1.1 404 Not Found\r\nX-Word: %s\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nX-Word: %s\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s",
)
ANSWER_PARTS = [
    *INSERTED,
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"Transfer-Encoding: gzip\r\n",
]


def lying(dice: Random) -> Behaviour:
    """Good answers, most of them damaged, some with another one behind."""

    async def lie(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await read_body(seen, reader)
        word = seen.target.rpartition("/")[2].encode()
        data = dice.choice(ANSWERS) % word
        for _turn in range(dice.choice([0, 0, 1, 1, 2])):
            at = dice.randrange(len(data))
            part = dice.choice(ANSWER_PARTS) if dice.random() < 0.4 else bytes([data[at] ^ 1 << dice.randrange(8)])
            data = data[:at] + part + data[at + dice.choice([0, 1, 1, 3]) :]
        if dice.random() < 0.1:
            data += dice.choice(ANSWERS) % word
        for at in range(0, len(data), size := dice.choice([7, 60, 1000])):
            writer.write(data[at : at + size])
            await asyncio.sleep(0)
        return b"close" not in data and dice.random() < 0.8

    return lie


@pytest.mark.promise("W18")
@pytest.mark.parametrize("seed", range(3))
async def test_damaged_answers_reach_nobody_else(open_door: Start, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    # A service like this would be left alone before it has told half of its lies.
    monkeypatch.setattr("gateway.domain.breaker._LEAST_CALLS", 1_000_000)
    door = await open_door(**SHORT)
    dice = Random(100 + seed)

    door.service.behave = lying(dice)

    async def ask(word: str) -> tuple[int, bytes]:
        """Status and what came of head and body; 0 where the answer was cut."""
        got = await talk(door.port, request(dice.randrange(4), word), dice)
        with contextlib.suppress(httptools.HttpParserError):
            if found := Answers(got).found:
                return found[-1][0], got
        return 0, got

    words = [f"{dice.getrandbits(128):032x}" for _ in range(300)]
    async with unharmed(door):
        got = []
        for start in range(0, len(words), 100):
            got += await asyncio.gather(*map(ask, words[start : start + 100]))
    for word, (_, data) in zip(words, got, strict=True):
        assert not [other for other in words if other != word and other.encode() in data]
    assert Counter(status for status, _ in got)[200] > 50
    assert Counter(status for status, _ in got)[502] > 10
