"""Attacks on what the gateway goes by: addresses, names, limits, sessions, origins. Frames it leaves to the service."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from websockets.asyncio.server import Server, ServerConnection, serve

from deploy.local.servers import ValkeyServer
from libs import revocation
from tests.conftest import IssueToken
from tests.gateway.conftest import Door, Start, someone
from tests.gateway.test_sockets import upgrade
from tests.gateway.wire import Answer


@pytest.mark.promise("W1")
async def test_stranger_stays_in_one_limit_whatever_address_it_claims(open_door: Start) -> None:
    async with ValkeyServer() as server:
        door = await open_door(trusted_proxies=[], exempt_networks=[], limit_ip="3/h", redis_url=server.url)
        found = [(await door.ask("/api/v1/messages", caller=someone(), X_Real_IP=someone())).status for _ in range(5)]
    assert found == [200, 200, 200, 429, 429]


SPOOFED = "203.0.113.66"


@pytest.mark.promise("W2")
@pytest.mark.parametrize(
    "lines",
    [
        f"X-Forwarded-For: {SPOOFED}, 198.51.100.9",
        f"X-Forwarded-For: {SPOOFED}\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 198.51.100.9",
        f"x-fOrWaRdEd-FoR: {SPOOFED}, 198.51.100.9",
        f"X_Forwarded_For: {SPOOFED}\r\nX-Forwarded-For: 198.51.100.9",
        f"X-Forwarded_For: {SPOOFED}\r\nX-Forwarded-For: 198.51.100.9",
        f"Forwarded: for={SPOOFED}\r\nX-Forwarded-For: 198.51.100.9",
        f"X-Real-IP: {SPOOFED}\r\nX-Forwarded-For: 198.51.100.9",
        f"True-Client-IP: {SPOOFED}\r\nX-Forwarded-For: 198.51.100.9",
        f"CF-Connecting-IP: {SPOOFED}\r\nX-Forwarded-For: 198.51.100.9",
    ],
    ids=["left", "three lines", "case", "underscores", "underscore", "Forwarded", "X-Real-IP", "True-Client", "CF"],
)
async def test_right_most_untrusted_hop_is_the_caller(door: Door, lines: str) -> None:
    await door.raw(f"GET /api/v1/messages HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n".encode())
    assert door.service.last.get("x-forwarded-for") == "198.51.100.9"
    assert SPOOFED.encode() not in door.service.last.raw


@pytest.mark.promise("W3")
@pytest.mark.parametrize(
    "hop", ["unknown", "garbage", "host.example.com", "1.2.3.4:999999", "fe80::1%eth0", "0x7f.1", "[::1", "1.2.3"]
)
async def test_garbage_for_an_address_is_nobody_and_never_looked_up(
    door: Door, monkeypatch: pytest.MonkeyPatch, hop: str
) -> None:
    looked_up: list[Any] = []
    real = socket.getaddrinfo

    def watched(host: Any, *rest: Any, **more: Any) -> Any:
        looked_up.append(host)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    answer = await door.ask("/api/v1/messages", caller=f"198.51.100.9, {hop}")
    assert answer.status == 200
    assert door.service.last.get("x-forwarded-for") == "127.0.0.1"
    assert not any(hop in str(host) for host in looked_up)


@pytest.mark.promise("W3")
@pytest.mark.parametrize(("hops", "status"), [(500, 200), (5000, 431)])
async def test_chain_of_hops_is_bounded(door: Door, hops: int, status: int) -> None:
    """Five hundred short ones fit into a head; sixty-four KiB do not."""
    chain = ",".join(["127.0.0.1"] * hops)
    assert (await door.ask("/api/v1/messages", caller=f"{SPOOFED},{chain}")).status == status
    assert not any(SPOOFED.encode() in seen.raw for seen in door.service.seen)


@pytest.mark.promise("W4")
@pytest.mark.parametrize("name", ["X-User-Id", "X-Auth-Roles", "X-Internal-Token", "x_user_id", "X-Request-Id"])
async def test_internal_header_goes_also_where_connection_names_it(door: Door, name: str) -> None:
    await door.ask("/api/v1/messages", **{name.replace("-", "_"): "evil"}, Connection=f"keep-alive, {name}")
    seen = door.service.last
    assert b"evil" not in seen.raw
    assert seen.get("x-request-id")
    assert seen.get("connection") is None


@pytest.fixture
async def chat() -> AsyncIterator[Server]:
    async def talk(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    # Whoever breaks the rules does not say goodbye either, and is not waited for.
    async with serve(talk, "127.0.0.1", 0, max_size=65_536, close_timeout=0.1) as server:
        yield server


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    mask = 0x80 if masked else 0
    size = len(payload)
    length = bytes([mask | size]) if size < 126 else bytes([mask | 127]) + size.to_bytes(8, "big")
    return bytes([first]) + length + (bytes(4) if masked else b"") + payload


@pytest.mark.promise("W12")
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(0x81, b"hi", masked=False), 1002),
        (frame(0x81, b"\xff\xfe"), 1007),
        (frame(0x81, bytes(70_000)), 1009),
        (frame(0x01, b"a" * 40_000) + frame(0x00, b"a" * 40_000), 1009),
        (frame(0xC1, b"hi"), 1002),
        (frame(0x89, bytes(200)), 1002),
    ],
    ids=["unmasked", "bad UTF-8", "over 64 KiB", "fragments", "reserved bit", "long ping"],
)
async def test_frames_are_judged_by_the_service_and_its_verdict_arrives(
    open_door: Start, chat: Server, sent: bytes, code: int
) -> None:
    door = await open_door(socket_urls=[f"http://127.0.0.1:{chat.sockets[0].getsockname()[1]}"])
    client = await door.connect()
    await client.send(upgrade())
    assert (await client.head())[0] == 101
    await client.send(sent)
    async with asyncio.timeout(10):
        said = await client.reader.readexactly(4)
    assert (said[0], int.from_bytes(said[2:4], "big")) == (0x88, code)
    client.close()


@pytest.mark.promise("W13", "G13")
async def test_rotating_through_one_network_of_ipv6_at_two_gateways_wins_nothing(open_door: Start) -> None:
    doors = [await open_door(limit_ip="5/h"), await open_door(limit_ip="5/h")]
    # The network is the first four groups; the caller chooses the rest.
    one, two = uuid4().hex[:4], uuid4().hex[:4]
    callers = [f"2001:db8:{one}:{two}:{number:x}::{number:x}" for number in range(20)]
    asked = (doors[number % 2].ask("/api/v1/messages", caller=caller) for number, caller in enumerate(callers))
    found = await asyncio.gather(*asked)
    assert [answer.status for answer in found].count(200) == 5


@pytest.mark.promise("W13")
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET", "POST", "DELETE"])
async def test_each_method_counts(open_door: Start, caller: str, method: str) -> None:
    door = await open_door(limit_ip="2/h")
    found = [(await door.ask("/api/v1/messages", method, caller=caller)).status for _ in range(4)]
    assert found == [200, 200, 429, 429]


@pytest.mark.promise("W14")
async def test_flushed_redis_under_load_costs_no_error_and_frees_no_ended_session(
    open_door: Start, issue_token: IssueToken
) -> None:
    async with ValkeyServer() as server:
        door = await open_door(redis_url=server.url, limit_user="100000/s", limit_ip="100000/s")
        redis = Redis.from_url(server.url)
        session = str(uuid4())
        ended, good = issue_token(sid=session), issue_token()
        await revocation.publish_session(redis, session)
        async with asyncio.timeout(10):
            while not door.core.revocations.ended(session):
                await asyncio.sleep(0.02)
        found: list[Answer] = []
        for _ in range(5):
            load = [asyncio.create_task(_with(door, token)) for token in (good, ended) * 10]
            await redis.flushall()
            found += await asyncio.gather(*load)
        assert {answer.status for answer in found} == {200, 401}
        assert len([answer for answer in found if answer.status == 200]) == len(found) / 2
        await redis.aclose()


@pytest.mark.promise("W16")
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://sub.good.example.com",
        "https://good.example.com:8443",
        "https://good.example.com.",
    ],
)
async def test_strange_origin_learns_nothing_from_a_preflight_for_a_private_network(
    open_door: Start, origin: str
) -> None:
    door = await open_door(cors_origins=["https://good.example.com"])
    answer = await door.ask(
        "/api/v1/messages",
        "OPTIONS",
        Origin=origin,
        Access_Control_Request_Method="POST",
        Access_Control_Request_Private_Network="true",
    )
    assert [name for name, _ in answer.fields if name.startswith("access-control-")] == []
    assert door.service.seen == []


async def _with(door: Door, token: str) -> Answer:
    return await door.ask("/api/v1/messages", Authorization=f"Bearer {token}")
