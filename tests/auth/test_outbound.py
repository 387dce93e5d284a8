"""Requests to addresses of other people's choosing: where they may go, how long and how much they may take."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import pytest

from auth_service.domain.outbound import Outbound, OutboundFailed
from auth_service.errors import UrlNotAllowed
from libs.outside import is_public

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[Answer], AbstractAsyncContextManager[int]]


@pytest.fixture
def serve() -> Serve:
    """A server that says what the test wants, on a real port."""

    @asynccontextmanager
    async def serving(answer: Answer) -> AsyncIterator[int]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                await answer(writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    return serving


async def refusing(request: httpx2.Request) -> httpx2.Response:
    raise AssertionError(f"{request.url} was visited")


def careful(*answers: Sequence[str]) -> Outbound:
    """Resolves to one list of addresses after the other, and may visit none of them."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0)

    return Outbound(private_networks=False, resolve=resolve, transport=httpx2.MockTransport(refusing))


def says(text: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return answer


@pytest.mark.promise("Z4")
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        "224.0.0.1",
        "255.255.255.255",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "localhost",
        "localhost.",
        "LOCALHOST",
    ],
)
async def test_no_spelling_of_an_inner_address_is_visited(host: str) -> None:
    outbound = Outbound(private_networks=False, transport=httpx2.MockTransport(refusing))
    with pytest.raises((UrlNotAllowed, OutboundFailed)):
        await outbound.get(f"https://{host}/")


@pytest.mark.promise("Z4")
@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "gopher://example.com/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "https://example.com:22/",
        "https://example.com:6379/",
        "https://user@example.com/",
        "https://example.com@127.0.0.1/",
        "https:///path",
        "https://127\u30020\u30020\u30021/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/",
        "https://example.com/\r\nHost: inside",
        "https://example.com:99999/",
        "//example.com/",
        "",
        "https://example.com/" + "a" * 5000,
    ],
)
async def test_odd_addresses_are_refused_before_anybody_is_asked(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        await careful().get(url)


@pytest.mark.promise("Z4")
async def test_one_inner_address_among_several_is_enough_to_refuse() -> None:
    with pytest.raises(UrlNotAllowed):
        await careful(["93.184.216.34", "127.0.0.1"]).get("https://rebinding.example.com/")


@pytest.mark.promise("Z4")
async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """The name server would say 127.0.0.1 the second time."""
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    visited: list[httpx2.Request] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async def answer(request: httpx2.Request) -> httpx2.Response:
        visited.append(request)
        return httpx2.Response(200, stream=httpx2.ByteStream(b"{}"))

    outbound = Outbound(private_networks=False, resolve=resolve, transport=httpx2.MockTransport(answer))
    assert (await outbound.get("https://rebinding.example.com/path")).ok
    [request] = visited
    assert str(request.url) == "https://93.184.216.34/path"
    assert request.headers["host"] == "rebinding.example.com"
    assert request.extensions["sni_hostname"] == "rebinding.example.com"
    assert len(answers) == 1


@pytest.mark.promise("L16", "Z4")
async def test_redirects_are_not_followed(serve: Serve) -> None:
    text = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
    async with serve(says(text)) as port:
        reply = await Outbound(private_networks=True).get(f"http://127.0.0.1:{port}/")
    assert reply.status == 302
    assert not reply.ok


@pytest.mark.promise("L16")
@pytest.mark.parametrize("head", [b"Content-Length: 10485760\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_huge_answer_is_dropped(serve: Serve, head: bytes) -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        for _ in range(160):
            block = b"x" * 65_536
            writer.write(block if b"Length" in head else b"10000\r\n" + block + b"\r\n")
            await writer.drain()
            sent += len(block)

    async with serve(flood) as port:
        with pytest.raises(OutboundFailed):
            await Outbound(private_networks=True).get(f"http://127.0.0.1:{port}/")
    assert sent < 10 << 20


@pytest.mark.promise("L16")
async def test_an_answer_that_trickles_has_five_seconds_in_all(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auth_service.domain.outbound.SECONDS", 0.3)

    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serve(trickle) as port:
        async with asyncio.timeout(30):
            with pytest.raises(OutboundFailed):
                await Outbound(private_networks=True).get(f"http://127.0.0.1:{port}/")


async def test_a_packed_bomb_stays_packed(serve: Serve) -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
    async with serve(says(text)) as port:
        reply = await Outbound(private_networks=True).get(f"http://127.0.0.1:{port}/")
    assert reply.body == b"\x1f\x8b\x08\x00"


@pytest.mark.parametrize("text", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
async def test_what_is_no_http_is_a_failure(serve: Serve, text: bytes) -> None:
    async with serve(says(text)) as port:
        with pytest.raises(OutboundFailed):
            await Outbound(private_networks=True).get(f"http://127.0.0.1:{port}/")


async def test_the_next_address_is_tried_when_the_first_does_not_answer(serve: Serve) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.9", "127.0.0.1"]

    async with serve(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as port:
        outbound = Outbound(private_networks=True, resolve=resolve)
        assert (await outbound.get(f"http://two.example.com:{port}/")).json() == {}


@pytest.mark.parametrize("body", [b"[]", b"nonsense", b"[" * 100_000, b"\xff"])
async def test_what_is_no_object_is_a_failure(serve: Serve, body: bytes) -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with serve(says(text)) as port:
        reply = await Outbound(private_networks=True).get(f"http://127.0.0.1:{port}/")
    with pytest.raises(OutboundFailed):
        reply.json()


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_the_internet_at_large_is_allowed(address: str) -> None:
    assert is_public(address)
