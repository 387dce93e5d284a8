"""How many connections there may be at once, and that each is counted until its end, whichever that is."""

import asyncio
import random  # noqa: TID251  -- seeded

import pytest

from gateway.domain.client_ip import Callers
from gateway.domain.crowd import Crowd, Seat
from tests.gateway.conftest import Door, Start, someone
from tests.gateway.test_sockets import echo, joined, upgrade
from tests.gateway.wire import GET, OK, Client, Seen, Service, answers

FAR = {"trusted_proxies": [], "exempt_networks": [], "limit_ip": "10000/s", "limit_socket": "10000/s"}
"""Everybody's connections are counted, those of the tests as well."""
BEGINNINGS = [b"", b"GE", GET[:-2], GET, GET * 3, b"\x00nonsense\r\n\r\n", upgrade(), upgrade()]
BEGINNINGS.append(b"POST /api/v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")


@pytest.mark.promise("G33")
def test_seat_is_given_back_once_however_often_it_is_left() -> None:
    crowd = Crowd(connections=2, per_address=1, sockets_per_address=1)
    caller = Callers([]).direct("203.0.113.9")
    other = Seat(crowd)
    other.take(Callers([]).direct("203.0.113.10"))
    seat = Seat(crowd)
    seat.leave()
    seat.take(caller)
    assert seat.open_socket(caller)
    for _ in range(2):
        seat.leave()
    assert (crowd.taken, len(crowd.addresses), len(crowd.sockets)) == (1, 1, 0)


async def settled(door: Door, taken: int = 0) -> None:
    """Until so many connections are counted."""
    async with asyncio.timeout(20):
        while door.core.crowd.taken != taken:
            await asyncio.sleep(0.01)


async def served(client: Client) -> int:
    await client.send(GET)
    return (await client.answer()).status


@pytest.mark.promise("G33")
async def test_address_has_so_many_connections_and_no_more(open_door: Start) -> None:
    door = await open_door(max_connections_per_address=3, **FAR)
    clients = [await door.connect() for _ in range(3)]
    assert [await served(client) for client in clients] == [200, 200, 200]
    late = await door.connect()
    # It is told before it has asked for anything.
    answer = await late.answer()
    assert (answer.status, answer["connection"]) == (429, "close")
    assert b'"code": "too_many_connections"' in answer.body
    assert answer["x-content-type-options"] == "nosniff"
    assert await late.closed()
    clients.pop().close()
    await settled(door, 2)
    assert await served(await door.connect()) == 200
    assert [await served(client) for client in clients] == [200, 200]


@pytest.mark.promise("G33")
async def test_all_together_have_so_many_and_no_more(open_door: Start) -> None:
    door = await open_door(max_connections=3)
    clients = [await door.connect() for _ in range(3)]
    assert [await served(client) for client in clients] == [200, 200, 200]
    answer = await (await door.connect()).answer()
    assert (answer.status, answer["retry-after"], answer["connection"]) == (503, "1", "close")
    assert b'"code": "connections_exhausted"' in answer.body
    clients.pop().close()
    await settled(door, 2)
    assert await served(await door.connect()) == 200


@pytest.mark.promise("G33")
@pytest.mark.parametrize(
    "spared", [{"trusted_proxies": ["127.0.0.0/8"]}, {"exempt_networks": ["127.0.0.1/32"]}], ids=["proxy", "exempt"]
)
async def test_proxies_of_ours_and_exempt_networks_are_spared(open_door: Start, spared: dict[str, list[str]]) -> None:
    door = await open_door(**{**FAR, **spared}, max_connections_per_address=2)
    clients = [await door.connect() for _ in range(5)]
    assert [await served(client) for client in clients] == [200] * 5


@pytest.mark.promise("G33")
async def test_ipv6_network_is_one_address(open_door: Start) -> None:
    door = await open_door(max_connections_per_address=2, proxy_protocol=["127.0.0.1/32"], **FAR)
    found = []
    for host in ("1", "2", "3"):
        client = await door.connect()
        await client.send(f"PROXY TCP6 2001:db8:7::{host} ::1 1 2\r\n".encode() + GET)
        found.append((await client.answer()).status)
    assert found == [200, 200, 429]


@pytest.mark.promise("G33", "G22")
async def test_caller_behind_a_proxy_has_so_many_sockets(open_door: Start, caller: str) -> None:
    door = await open_door(max_sockets_per_address=2)
    door.service.behave = echo

    async def opens(address: str) -> tuple[int, Client]:
        client = await door.connect()
        await client.send(upgrade(fields=f"X-Forwarded-For: {address}\r\n"))
        return (await client.head())[0], client

    (_, first), (_, second) = [await opens(caller) for _ in range(2)]
    status, refused = await opens(caller)
    assert status == 429
    assert b'"code": "too_many_sockets"' in await refused.reader.read(-1)
    assert (await opens(someone()))[0] == 101
    refused.close()
    first.close()
    second.close()
    await settled(door, 1)
    assert [(await opens(caller))[0] for _ in range(2)] == [101, 101]


@pytest.mark.promise("G33")
async def test_service_that_refuses_a_socket_leaves_none_counted(open_door: Start, caller: str) -> None:
    door = await open_door(max_sockets_per_address=1)
    door.service.behave = answers(OK)
    for _ in range(3):
        client = await door.connect()
        await client.send(upgrade(fields=f"X-Forwarded-For: {caller}\r\n"))
        assert (await client.answer()).status == 200
        client.close()
        await settled(door)
    assert len(door.core.crowd.sockets) == 0


@pytest.mark.promise("G33")
async def test_silent_tunnel_that_is_cut_is_counted_no_more(open_door: Start) -> None:
    door = await open_door(socket_seconds=0.3, **FAR)
    client = await joined(door)
    assert (door.core.crowd.taken, len(door.core.crowd.sockets)) == (1, 1)
    assert await client.closed()
    await settled(door)
    assert (len(door.core.crowd.addresses), len(door.core.crowd.sockets)) == (0, 0)


async def live(door: Door, chance: random.Random) -> None:
    """Begins something, and ends somehow."""
    client = await door.connect()
    try:
        await client.send(chance.choice(BEGINNINGS))
        await asyncio.sleep(chance.random() * 0.2)
        ending = chance.randrange(4)
        if ending == 0:
            client.writer.transport.abort()
        elif ending == 1:
            client.close()
        elif ending == 2:
            client.writer.write_eof()
            await client.closed()
    except OSError:
        pass  # the gateway was quicker
    assert door.core.crowd.taken <= 40


@pytest.mark.promise("G33")
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_ends_a_connection_it_is_counted_once(open_door: Start, seed: int) -> None:
    """Many at once, ended by themselves, by the service and by the gateway, at any point of what they do."""
    door = await open_door(
        header_seconds=0.3, keep_alive_seconds=0.3, body_seconds=0.5, socket_seconds=0.5, max_connections=40, **FAR
    )
    chance = random.Random(seed)

    async def moody(service: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        mood = chance.randrange(4)
        if mood == 0:
            return False  # hangs up
        if mood == 1:
            writer.write(b"nonsense\r\n\r\n")
            return True
        if seen.get("upgrade"):
            return await echo(service, seen, reader, writer)
        writer.write(OK)
        return True

    door.service.behave = moody
    await asyncio.gather(*(live(door, chance) for _ in range(80)))
    await settled(door)
    crowd = door.core.crowd
    assert (len(crowd.addresses), len(crowd.sockets), len(door.core.watched)) == (0, 0, 0)
