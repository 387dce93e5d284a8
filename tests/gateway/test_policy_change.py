"""What holds at the door changes with the file while the gateway runs, and no request fails for it."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.domain.policy_file import PolicyFile
from tests.gateway.conftest import Door, Parts, Start, replace, someone, write_policy
from tests.gateway.wire import GET, Seen, Service, answer_ok

ANSWER = "/api/v1/messages"


async def obeyed(door: Door, parts: Parts) -> None:
    """Until the gateway has taken up the new file by itself."""
    assert door.policy_file is not None
    before = door.core.policy
    write_policy(door.policy_file, parts)
    async with asyncio.timeout(20):
        while door.core.policy is before:
            await asyncio.sleep(0.01)


def gauge(name: str) -> float:
    return REGISTRY.get_sample_value(f"parley_gateway_policy_{name}") or 0.0


async def around(door: Door, request: bytes, parts: Parts) -> list[int]:
    """What becomes of a request that is under way while the file changes, and of the same behind it, which finds all
    that its connection remembers."""
    let = asyncio.Event()

    async def slowly(service: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await let.wait()
        return await answer_ok(service, seen, reader, writer)

    door.service.behave = slowly
    client = await door.connect()
    await client.send(request * 2)
    async with asyncio.timeout(10):
        while not door.service.seen:
            await asyncio.sleep(0.01)
    await obeyed(door, parts)
    let.set()
    statuses = [(await client.answer()).status for _ in range(2)]
    door.service.behave = answer_ok
    return statuses


def get(caller: str) -> bytes:
    return GET.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {caller}\r\n\r\n".encode())


@pytest.mark.promise("G36")
async def test_busy_connection_obeys_a_new_route_at_its_next_request(open_door: Start) -> None:
    door = await open_door(policy={"limits": {"login": "5/min"}})
    assert await around(door, GET, {"routes": {ANSWER: None}}) == [200, 404]


@pytest.mark.promise("G36")
async def test_busy_connection_obeys_a_new_limit_at_its_next_request(open_door: Start) -> None:
    caller = someone()
    door = await open_door(limit_ip="1/h")
    # What was counted before counts no more than the new limit could have.
    assert await around(door, get(caller), {"limits": {"ip": "2/min"}}) == [200, 200]
    assert (await door.ask(ANSWER, caller=caller)).status == 429


@pytest.mark.promise("G36")
async def test_caller_who_was_refused_is_judged_anew(open_door: Start) -> None:
    caller = someone()
    door = await open_door(limit_ip="1/h")
    assert [(await door.ask(ANSWER, caller=caller)).status for _ in range(3)] == [200, 429, 429]
    await obeyed(door, {"limits": {"ip": "2/min"}})
    assert [(await door.ask(ANSWER, caller=caller)).status for _ in range(2)] == [200, 429]
    await obeyed(door, {"limits": {"ip": "100/s burst 1000 by address"}})
    assert (await door.ask(ANSWER, caller=caller)).status == 200


@pytest.mark.promise("G36")
async def test_no_request_fails_while_the_file_changes(open_door: Start) -> None:
    door = await open_door(policy={"limits": {"login": "5/min"}})
    done = asyncio.Event()
    statuses: list[int] = []

    async def work() -> None:
        client = await door.connect()
        while not done.is_set():
            await client.send(GET)
            statuses.append((await client.answer()).status)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(work())
        for burst in range(3):
            await obeyed(door, {"limits": {"ip": f"100/s burst {200 + burst}"}, "networks": {"ipv4": 24 + burst}})
        before = len(statuses)
        async with asyncio.timeout(10):
            while len(statuses) < before + 100:
                await asyncio.sleep(0.01)
        done.set()
    assert set(statuses) == {200}


@pytest.mark.promise("G36")
async def test_bad_file_leaves_the_last_good_one(open_door: Start) -> None:
    door = await open_door(policy={"routes": {"/shop": {"owner": "chat"}}})
    assert door.policy_file is not None
    loaded = gauge("loaded_timestamp_seconds")
    with capture_logs() as lines:

        def refusals() -> list[str]:
            # A gateway on a busy machine may have other things to say.
            return [line["reason"] for line in lines if line["event"] == "policy_refused"]

        for content in ("version: 1\nroutes: {/shop: nothing}", "half of a {"):
            seen = len(refusals())
            replace(door.policy_file, content)
            async with asyncio.timeout(20):
                while len(refusals()) == seen:
                    await asyncio.sleep(0.01)
            assert gauge("refused") == 1
            assert (await door.ask("/shop")).status == 200
        told = refusals()
    assert len(told) == 2
    assert "line 2, routes > /shop: must be a mapping" in told[0]
    assert gauge("loaded_timestamp_seconds") == loaded
    await obeyed(door, {"routes": {"/shop": {"owner": "chat"}, "/u": None}})
    assert gauge("refused") == 0
    assert gauge("loaded_timestamp_seconds") > loaded
    assert [(await door.ask(path)).status for path in ("/shop", "/u/x")] == [200, 404]


def test_bad_file_is_spoken_of_once(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: 1\n")
    policy = PolicyFile(file)
    policy.read()
    with capture_logs() as lines:
        for _ in range(3):
            assert policy.reload() is None
        assert lines == []
        file.write_text("version: one\n")
        for _ in range(3):
            assert policy.reload() is None
        file.unlink()
        for _ in range(3):
            assert policy.reload() is None
    assert [line["event"] for line in lines] == ["policy_refused"] * 2
    file.write_text("version: 1\n")
    assert policy.reload() is not None


# Whom limits count as one.


@pytest.mark.promise("G13")
@pytest.mark.parametrize(
    ("networks", "one", "same", "other"),
    [
        ({"ipv6": 48}, "2001:db8:1:1::1", "2001:db8:1:ffff::2", "2001:db8:2::1"),
        ({"ipv6": 128}, "2001:db8:3::1", "2001:db8:3:0::1", "2001:db8:3::2"),
        ({"ipv4": 24}, "198.19.1.1", "198.19.1.200", "198.19.2.1"),
    ],
)
async def test_limits_count_networks_of_the_width_that_the_file_names(
    open_door: Start, networks: dict[str, int], one: str, same: str, other: str
) -> None:
    door = await open_door(policy={"networks": networks}, limit_ip="1/h")
    assert [(await door.ask(ANSWER, caller=who)).status for who in (one, same, other)] == [200, 429, 200]


@pytest.mark.promise("G13")
async def test_busy_connection_obeys_a_new_width_at_its_next_request(open_door: Start) -> None:
    door = await open_door(limit_ip="1/h")
    parts: Parts = {"networks": {"ipv4": 24}, "limits": {"ip": "1/h"}}
    assert await around(door, get("198.19.3.1"), parts) == [200, 200]
    assert [(await door.ask(ANSWER, caller=f"198.19.{net}.9")).status for net in (3, 4)] == [429, 200]
