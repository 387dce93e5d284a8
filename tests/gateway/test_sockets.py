"""Sockets: judged before the upgrade, bytes afterwards."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.routes import socket
from libs import revocation
from tests.conftest import IssueToken
from tests.gateway.conftest import Door, Start
from tests.gateway.wire import Client, Seen, Service

GOOD = "https://good.example.com"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat.v1\r\n"
)


def upgrade(path: str = "/ws/", fields: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{KEY}{fields}\r\n".encode()


async def echo(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Switches, greets in the same segment, and sends everything back until the end."""
    writer.write(SWITCH + b"\r\nhello")
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")
    return False


async def joined(door: Door) -> Client:
    door.service.behave = echo
    client = await door.connect()
    await client.send(upgrade())
    assert (await client.head())[0] == 101
    assert await client.reader.readexactly(5) == b"hello"
    return client


@pytest.fixture
async def chat() -> Server:
    async def talk(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    return await serve(talk, "127.0.0.1", 0, subprotocols=["chat.v1"])  # type: ignore[list-item]


@pytest.mark.promise("G22")
async def test_real_socket_talks_through_the_gateway(open_door: Start, chat: Server) -> None:
    port = chat.sockets[0].getsockname()[1]
    door = await open_door(socket_urls=[f"http://127.0.0.1:{port}"])
    url = f"ws://127.0.0.1:{door.port}/ws/messages/?token=x"
    async with connect(url, subprotocols=["chat.v1"], max_size=None) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "chat.v1"
        for message in ("hi", "x" * 100_000, b"\x00\xff" * 500_000):
            await socket.send(message)
            assert await socket.recv() == message
    chat.close()
    await chat.wait_closed()


@pytest.mark.promise("G22")
async def test_closing_code_of_the_service_arrives(open_door: Start) -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.close(4001, "no")

    server = await serve(refuse, "127.0.0.1", 0)
    door = await open_door(socket_urls=[f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"])
    async with connect(f"ws://127.0.0.1:{door.port}/ws/") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001
    server.close()
    await server.wait_closed()


async def test_upgrade_carries_headers_of_ours(door: Door) -> None:
    door.service.behave = echo
    client = await door.connect()
    await client.send(upgrade("/ws/?token=abc", "X-User-Id: evil\r\nSec-WebSocket-Protocol: chat.v1\r\n"))
    status, fields = await client.head()
    named = dict(fields)
    assert (status, named["upgrade"], named["sec-websocket-protocol"]) == (101, "websocket", "chat.v1")
    assert "x-request-id" in named
    seen = door.service.last
    assert (seen.target, seen.get("upgrade"), seen.get("connection")) == ("/ws/?token=abc", "websocket", "Upgrade")
    assert seen.get("x-forwarded-for") == "127.0.0.1"
    assert "x-user-id" not in seen.names()


@pytest.mark.promise("G22")
async def test_bytes_pass_both_ways_unchanged(door: Door) -> None:
    client = await joined(door)
    data = bytes(range(256)) * 4000
    client.writer.write(data)
    assert await client.reader.readexactly(len(data)) == data


async def test_what_the_client_sends_early_is_not_lost(door: Door) -> None:
    door.service.behave = echo
    client = await door.connect()
    await client.send(upgrade() + b"early")
    await client.head()
    assert await client.reader.readexactly(10) == b"helloearly"


@pytest.mark.promise("G23")
@pytest.mark.parametrize("place", ["query", "header", "protocol", "cookie"])
async def test_socket_of_an_ended_session_is_cut_where_the_service_did_not_close_it(
    open_door: Start, issue_token: IssueToken, redis: Redis, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(socket, "_REVOKED_SECONDS", 1.0)
    door = await open_door(cors_origins=[GOOD])
    session = str(uuid4())

    async def opened(token: str) -> Client:
        carried = {
            "query": (f"/ws/?a=b&token={token}", ""),
            "header": ("/ws/", f"Authorization: Bearer {token}\r\n"),
            "protocol": ("/ws/", f"Sec-WebSocket-Protocol: chat.v1, bearer, {token}\r\n"),
            "cookie": ("/ws/", f"Origin: {GOOD}\r\nCookie: __Host-at={token}\r\n"),
        }
        client = await door.connect()
        await client.send(upgrade(*carried[place]))
        assert (await client.head())[0] == 101
        assert await client.reader.readexactly(5) == b"hello"
        return client

    door.service.behave = echo
    revoked, other = await opened(issue_token(sid=session)), await opened(issue_token())
    await revocation.publish_session(redis, session)
    async with asyncio.timeout(30):
        while not door.core.revocations.ended(session):
            await asyncio.sleep(0.01)
    # The service has its time to say why.
    revoked.writer.write(b"4504")
    assert await revoked.reader.readexactly(4) == b"4504"
    assert await revoked.closed()
    other.writer.write(b"still here")
    assert await other.reader.readexactly(10) == b"still here"


async def test_half_closed_tunnel_delivers_the_rest(door: Door) -> None:
    client = await joined(door)
    client.writer.write(b"last words")
    client.writer.write_eof()
    assert await client.reader.read(-1) == b"last wordsbye"


async def test_end_of_the_service_ends_the_client(door: Door) -> None:
    client = await joined(door)
    door.service.drop()
    assert await client.closed()


async def test_slow_reader_of_a_tunnel_stops_the_service(door: Door) -> None:
    sent = 0

    async def flood(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        nonlocal sent
        writer.write(SWITCH + b"\r\n")
        while sent < 64 << 20:
            writer.write(bytes(1 << 18))
            await writer.drain()
            sent += 1 << 18
        return False

    door.service.behave = flood
    client = await door.connect(limit=1 << 16)
    await client.send(upgrade())
    await client.head()
    for _ in range(50):
        await asyncio.sleep(0.01)
    assert sent < 24 << 20
    got = 0
    while data := await client.reader.read(1 << 20):
        got += len(data)
    assert got == 64 << 20


@pytest.mark.promise("G22")
async def test_silent_tunnel_is_closed(open_door: Start) -> None:
    door = await open_door(socket_seconds=0.3)
    client = await joined(door)
    assert await client.closed()
    assert not door.core.watched


async def test_service_may_refuse_the_upgrade(door: Door) -> None:
    client = await door.connect()
    await client.send(upgrade())
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (200, "close")
    assert await client.closed()


@pytest.mark.promise("W11", "G22")
@pytest.mark.parametrize(
    "fields",
    [
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: https://good.example.com.evil\r\n",
        "Origin: http://good.example.com\r\n",
        "Origin: https://good.example.com\r\nOrigin: https://evil.example\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n",
        "Sec-Fetch-Mode: websocket\r\n",
        "Cookie: session=1\r\n",
    ],
    ids=["evil", "null", "suffix", "scheme", "two", "browser without", "fetch metadata without", "cookie without"],
)
async def test_page_of_a_strange_origin_opens_no_socket(open_door: Start, fields: str) -> None:
    door = await open_door(cors_origins=[GOOD])
    client = await door.connect()
    await client.send(upgrade(fields=fields))
    assert (await client.answer()).status == 403
    assert await client.closed()
    assert door.service.seen == []


@pytest.mark.promise("W11")
@pytest.mark.parametrize(
    "fields",
    [f"Origin: {GOOD}\r\nUser-Agent: Mozilla/5.0\r\nCookie: a=b\r\n", "Origin: https://api.example.com\r\n", ""],
    ids=["listed", "own", "program"],
)
async def test_listed_origins_and_programs_open_sockets(open_door: Start, fields: str) -> None:
    door = await open_door(cors_origins=[GOOD], public_url="https://api.example.com/")
    door.service.behave = echo
    client = await door.connect()
    await client.send(upgrade(fields=fields))
    assert (await client.head())[0] == 101


@pytest.mark.promise("G22")
async def test_new_sockets_of_one_address_are_limited(open_door: Start, caller: str) -> None:
    door = await open_door(limit_socket="2/h")
    door.service.behave = echo
    found = []
    for _ in range(3):
        client = await door.connect()
        await client.send(upgrade(fields=f"X-Forwarded-For: {caller}\r\n"))
        found.append((await client.head())[0])
    assert found == [101, 101, 429]
