"""The PROXY protocol: load balancers that pass bytes say first whom they pass them for, and nobody else can."""

import asyncio
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.announcements import announcement
from gateway.domain.wire import Malformed
from tests.gateway.conftest import Door, Start, someone
from tests.gateway.wire import GET, Client

BALANCER = ["127.0.0.1/32"]
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TCP4, TCP6, UNIX = 0x11, 0x21, 0x31


def v1(source: str, family: str = "TCP4", target: str = "192.0.2.1") -> bytes:
    return f"PROXY {family} {source} {target} 56324 443\r\n".encode()


def v2(addresses: bytes, family: int = TCP4, command: int = 0x21, more: bytes = b"") -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(addresses) + len(more)) + addresses + more


def tcp4(source: str) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 56324, 443)


def tcp6(source: str) -> bytes:
    target = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    return socket.inet_pton(socket.AF_INET6, source) + target + struct.pack("!HH", 56324, 443)


async def announced(door: Door, *pieces: bytes) -> Client:
    client = await door.connect()
    for piece in pieces:
        await client.send(piece)
    return client


async def caller_of(door: Door, *pieces: bytes) -> str | None:
    """As whom the service knows the client."""
    client = await announced(door, *pieces)
    assert (await client.answer()).status == 200
    return door.service.last.get("x-forwarded-for")


@pytest.mark.promise("G3")
@pytest.mark.parametrize(
    ("begins", "expected"),
    [
        (v1("203.0.113.9"), "203.0.113.9"),
        (v1("2001:DB8:0::9", "TCP6", "::1"), "2001:db8::9"),
        (v1("::ffff:203.0.113.9", "TCP6", "::1"), "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN ff:ff 1 whatever\r\n", "127.0.0.1"),
        (v2(tcp4("203.0.113.9")), "203.0.113.9"),
        (v2(tcp6("2001:db8::9"), TCP6), "2001:db8::9"),
        (v2(tcp6("::ffff:203.0.113.9"), TCP6), "203.0.113.9"),
        (v2(tcp4("203.0.113.9"), more=b"\x04\x00\x03abc" + b"\xea\x00\x02xy"), "203.0.113.9"),
        (v2(b"", 0x00, command=0x20), "127.0.0.1"),
        (v2(tcp4("203.0.113.9"), command=0x20), "127.0.0.1"),
        (v2(b"\xff" * 40, 0x77, command=0x20), "127.0.0.1"),
        (v2(b"", 0x00), "127.0.0.1"),
        (v2(b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0"), UNIX), "127.0.0.1"),
    ],
)
async def test_announced_address_takes_the_place_of_the_peer(open_door: Start, begins: bytes, expected: str) -> None:
    door = await open_door(proxy_protocol=BALANCER, trusted_proxies=[])
    assert await caller_of(door, begins + GET) == expected
    assert await caller_of(door, begins, GET) == expected


@pytest.mark.promise("G3")
@pytest.mark.parametrize("begins", [v1("203.0.113.9"), v2(tcp6("2001:db8::9"), TCP6, more=bytes(300))], ids=["1", "2"])
async def test_announcement_may_arrive_byte_by_byte(open_door: Start, begins: bytes) -> None:
    door = await open_door(proxy_protocol=BALANCER, trusted_proxies=[])
    client = await door.connect()
    client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in begins + GET:
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.answer()).status == 200
    assert door.service.last.get("x-forwarded-for") in {"203.0.113.9", "2001:db8::9"}
    # The connection goes on as any other.
    await client.send(GET + GET)
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.promise("G3")
async def test_forwarded_addresses_count_if_the_announced_one_is_trusted(open_door: Start) -> None:
    door = await open_door(proxy_protocol=BALANCER, trusted_proxies=["10.0.0.0/8"])
    forwarded = b"GET /api/v1/messages HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n"
    assert await caller_of(door, v1("10.1.1.1") + forwarded) == "198.51.100.7"
    assert await caller_of(door, v1("203.0.113.9") + forwarded) == "203.0.113.9"


@pytest.mark.promise("G3")
async def test_limits_count_the_announced_address(open_door: Start) -> None:
    door = await open_door(proxy_protocol=BALANCER, trusted_proxies=[], exempt_networks=[], limit_ip="1/h")
    one, other = someone(), someone()
    found = [(await (await announced(door, v1(address), GET)).answer()).status for address in (one, one, other)]
    assert found == [200, 429, 200]


@pytest.mark.promise("G3")
@pytest.mark.parametrize(
    "begins",
    [
        GET,
        b"\r\n" + GET,
        b"proxy TCP4 203.0.113.9 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n",
        b"PROXY  TCP4 203.0.113.9 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2 \r\n",
        b"PROXY TCP4 203.0.113.09 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1 65536\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 01 2\r\n",
        b"PROXY TCP4 203.0.113.9 nobody 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 203.0.113.9 192.0.2.1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP5 203.0.113.9 192.0.2.1 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY UNKNOWN " + b"x" * 93 + b"\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE[:-1] + b"\r" + v2(tcp4("203.0.113.9"))[12:],
        v2(tcp4("203.0.113.9"), command=0x11),
        v2(tcp4("203.0.113.9"), command=0x22),
        v2(tcp4("203.0.113.9")[:-1]),
        v2(tcp4("203.0.113.9"), TCP6),
        v2(tcp4("203.0.113.9"), 0x12),
        v2(tcp4("203.0.113.9"), 0x41),
        v2(b"/run/a".ljust(108, b"\0"), UNIX),
        v2(tcp4("203.0.113.9"), more=bytes(5000)),
    ],
)
async def test_balancer_that_does_not_announce_properly_hears_nothing(open_door: Start, begins: bytes) -> None:
    door = await open_door(proxy_protocol=BALANCER)
    client = await announced(door, begins, GET)
    assert await client.closed()
    assert door.service.seen == []
    assert not door.core.watched


@pytest.mark.promise("G3")
@pytest.mark.parametrize("begins", [v1("203.0.113.9"), v2(tcp4("203.0.113.9"))], ids=["1", "2"])
async def test_announcement_of_a_stranger_is_a_bad_request(open_door: Start, begins: bytes) -> None:
    for networks in ([], ["10.0.0.0/8"]):
        door = await open_door(proxy_protocol=networks)
        client = await announced(door, begins + GET)
        assert (await client.answer()).status == 400
        assert await client.closed()
        assert door.service.seen == []
        assert (await door.raw(GET)).status == 200


@pytest.mark.promise("G3")
async def test_second_announcement_is_a_bad_request(open_door: Start) -> None:
    door = await open_door(proxy_protocol=BALANCER)
    client = await announced(door, v1("203.0.113.9") + v1("203.0.113.10") + GET)
    assert (await client.answer()).status == 400


@pytest.mark.promise("G3")
@pytest.mark.parametrize("begins", [b"", b"PROXY TCP4 ", SIGNATURE, v1("203.0.113.9"), v1("203.0.113.9") + b"GET /"])
async def test_announcement_is_part_of_the_head_and_has_its_deadline(open_door: Start, begins: bytes) -> None:
    door = await open_door(proxy_protocol=BALANCER, header_seconds=0.2)
    client = await announced(door, begins)
    assert await client.closed()
    assert (len(door.core.watched), door.core.crowd.taken) == (0, 0)


@pytest.mark.promise("G3")
async def test_client_may_leave_before_it_is_announced(open_door: Start) -> None:
    door = await open_door(proxy_protocol=BALANCER)
    client = await announced(door, b"PROXY TCP4 ")
    async with asyncio.timeout(10):
        while not door.core.watched:
            await asyncio.sleep(0.01)
        client.close()
        while door.core.watched:
            await asyncio.sleep(0.01)


async def test_stopping_gateway_waits_for_no_announcement(open_door: Start) -> None:
    door = await open_door(proxy_protocol=BALANCER)
    client = await announced(door, b"PROXY TCP4 ")
    async with asyncio.timeout(10):
        while not door.core.watched:
            await asyncio.sleep(0.01)
    door.server.should_exit = True
    assert await client.closed()


KNOWN = [v1("203.0.113.9"), b"PROXY UNKNOWN\r\n", v2(tcp4("203.0.113.9")), v2(tcp6("2001:db8::9"), TCP6, more=b"abc")]


@pytest.mark.promise("G3")
@given(begins=st.sampled_from(KNOWN), rest=st.binary(max_size=20), cut=st.integers(0, 80))
def test_every_part_of_an_announcement_waits_for_the_rest_of_it(begins: bytes, rest: bytes, cut: int) -> None:
    whole = announcement(begins + rest)
    assert whole is not None
    assert whole.end == len(begins)
    assert announcement(begins[: min(cut, len(begins) - 1)]) is None


@pytest.mark.promise("G3")
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda more: SIGNATURE + more)))
def test_any_bytes_are_an_announcement_or_none(data: bytes) -> None:
    try:
        found = announcement(data)
    except Malformed:
        return
    assert found is None or found.end <= len(data)
