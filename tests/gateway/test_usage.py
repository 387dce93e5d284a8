"""Who called how often: counted at the door, in memory, and told to auth now and then."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from gateway.domain.usage import Usage
from libs.contracts.usage import LATENCY_BOUNDS_MS, MOST_ROWS, UsageBatch
from libs.errors import Unavailable
from libs.testing.clock import FakeClock, StillClock
from tests.conftest import IssueToken
from tests.gateway.conftest import Door, Start
from tests.gateway.wire import Seen, Service, answers

MESSAGES = "/api/v1/messages"
TAKEN = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"new":true}'
AWAY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
LOST = "parley_gateway_usage_lost_total"


@pytest.fixture
async def auth() -> AsyncIterator[Service]:
    """What the gateway asks of auth by itself."""
    service = await Service(behave=answers(TAKEN)).start()
    yield service
    await service.stop()


def batches(auth: Service) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for seen in auth.seen if seen.target == "/internal/usage" and seen.complete]


def rows(auth: Service) -> list[dict[str, Any]]:
    """Those of each batch once, as auth counts them."""
    return [row for batch in {each["id"]: each for each in batches(auth)}.values() for row in batch["rows"]]


def total(auth: Service) -> tuple[int, ...]:
    return tuple(sum(row[name] for row in rows(auth)) for name in ("calls", "refused", "errors"))


async def reported(auth: Service, calls: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while total(auth)[0] < calls:
            await asyncio.sleep(0.01)
    return rows(auth)


async def ask(door: Door, token: str, path: str = MESSAGES) -> int:
    return (await door.ask(path, Authorization=f"Bearer {token}")).status


@pytest.mark.promise("G43")
async def test_calls_are_told_by_user_and_route(open_door: Start, auth: Service, issue_token: IssueToken) -> None:
    door = await open_door(auth_url=auth.url, usage_seconds=0.05)
    ada, grace = uuid4(), uuid4()
    for path in (MESSAGES, f"{MESSAGES}/{uuid4()}?q=secret", "/api/v1/users/me"):
        assert await ask(door, issue_token(ada), path) == 200
    assert await ask(door, issue_token(grace)) == 200
    assert (await door.ask(MESSAGES)).status == 200
    told = Counter[tuple[str, str]]()
    for row in await reported(auth, 4):
        told[row["user_id"], row["route"]] += row["calls"]
    assert told == {(str(ada), MESSAGES): 2, (str(ada), "/api/v1/users"): 1, (str(grace), MESSAGES): 1}
    assert all(seen.get("x-service-authorization") for seen in auth.seen)
    assert "secret" not in json.dumps(batches(auth))


@pytest.mark.promise("G43")
async def test_refusals_and_errors_are_told_apart(open_door: Start, auth: Service, issue_token: IssueToken) -> None:
    door = await open_door(auth_url=auth.url, max_body_bytes=10)
    token = issue_token()
    for status in ("200 OK", "404 Not Found", "403 Forbidden", "500 Internal Server Error"):
        door.service.behave = answers(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await ask(door, token)
    door.service.behave = answers(b"nonsense\r\n\r\n", close=True)
    assert await ask(door, token) == 502
    too_large = await door.ask(MESSAGES, "POST", body=b"x" * 11, Authorization=f"Bearer {token}")
    assert too_large.status == 413
    await door.core.usage.flush()
    assert total(auth) == (6, 3, 2)
    assert sum(sum(row["latency"]) for row in rows(auth)) == 6
    assert all(row["micros"] > 0 for row in rows(auth))


async def test_who_left_before_the_answer_was_refused_nothing(
    open_door: Start, auth: Service, issue_token: IssueToken
) -> None:
    door = await open_door(auth_url=auth.url)
    arrived = asyncio.Event()

    async def never(*_: object) -> bool:
        arrived.set()
        await asyncio.Event().wait()
        return False

    door.service.behave = never
    client = await door.connect()
    await client.send(f"GET {MESSAGES} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {issue_token()}\r\n\r\n".encode())
    await arrived.wait()
    client.close()
    async with asyncio.timeout(20):
        while not rows(auth):
            await door.core.usage.flush()
            await asyncio.sleep(0.01)
    assert total(auth) == (1, 0, 0)


@pytest.mark.promise("G43")
async def test_no_request_waits_for_the_log(open_door: Start, auth: Service, issue_token: IssueToken) -> None:
    """Auth takes the report and never answers; requests go on, and their counts are told later."""
    asked = asyncio.Event()

    async def silent(_service: Service, seen: Seen, *_: object) -> bool:
        if seen.target == "/internal/usage":
            asked.set()
        await asyncio.Event().wait()
        return False

    auth.behave = silent
    door = await open_door(auth_url=auth.url, usage_seconds=0.05)
    token = issue_token()
    assert await ask(door, token) == 200
    await asked.wait()
    for _ in range(5):
        assert await ask(door, token) == 200
    auth.behave = answers(TAKEN)
    await reported(auth, 6)
    assert total(auth) == (6, 0, 0)


@pytest.mark.promise("G43")
async def test_what_auth_did_not_take_comes_again_in_the_same_batch(
    open_door: Start, auth: Service, issue_token: IssueToken
) -> None:
    door = await open_door(auth_url=auth.url)
    token = issue_token()
    auth.behave = answers(AWAY)
    await ask(door, token)
    await door.core.usage.flush()
    await door.core.usage.flush()
    await ask(door, token)
    auth.behave = answers(TAKEN)
    await door.core.usage.flush()
    sent = batches(auth)
    assert len({batch["id"] for batch in sent}) == 2
    assert total(auth) == (2, 0, 0)
    before = len(sent)
    await door.core.usage.flush()
    assert len(batches(auth)) == before


@pytest.mark.promise("G43")
async def test_gateway_that_stops_tells_what_is_left(open_door: Start, auth: Service, issue_token: IssueToken) -> None:
    door = await open_door(auth_url=auth.url)
    assert await ask(door, issue_token()) == 200
    assert batches(auth) == []
    door.server.should_exit = True
    assert len(await reported(auth, 1)) == 1


async def test_usage_is_counted_only_where_it_is_wanted(
    open_door: Start, auth: Service, issue_token: IssueToken
) -> None:
    door = await open_door(auth_url=auth.url, usage_seconds=0)
    assert await ask(door, issue_token()) == 200
    assert door.core.usage is None


class Auth:
    """Takes reports, counts each batch once, and loses the answers of some."""

    def __init__(self) -> None:
        self.taken: dict[UUID, UsageBatch] = {}
        self.sizes: list[int] = []
        self.away = False
        self.mute = False

    async def report(self, batch: UsageBatch) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable
        UsageBatch.model_validate(batch.model_dump(mode="json"))
        self.taken[batch.id] = batch
        self.sizes.append(len(batch.rows))
        if self.mute:
            raise Unavailable

    @property
    def calls(self) -> int:
        return sum(row.calls for batch in self.taken.values() for row in batch.rows)


async def test_large_reports_go_in_batches() -> None:
    auth = Auth()
    usage = Usage(auth.report, FakeClock())
    for n in range(2 * MOST_ROWS + 1):
        usage.add(str(UUID(int=n)), b"/r", 200, 0.001)
    await usage.flush()
    assert auth.calls == 2 * MOST_ROWS + 1
    assert max(auth.sizes) <= MOST_ROWS


@pytest.mark.promise("G43")
async def test_lost_answers_lose_and_double_nothing() -> None:
    auth = Auth()
    usage = Usage(auth.report, FakeClock())
    for turn in range(30):
        usage.add(str(UUID(int=turn % 3)), b"/r", 200, 0.001)
        auth.mute, auth.away = turn % 2 == 0, turn % 5 == 0
        await usage.flush()
    auth.mute = auth.away = False
    for _ in range(3):
        await usage.flush()
    assert auth.calls == 30


async def test_batch_that_auth_never_takes_holds_up_no_other() -> None:
    auth, poison = Auth(), str(uuid4())

    async def choosy(batch: UsageBatch) -> None:
        if any(str(row.user_id) == poison for row in batch.rows):
            raise Unavailable
        await auth.report(batch)

    usage = Usage(choosy, FakeClock())
    usage.add(poison, b"/r", 200, 0.001)
    for _ in range(5):
        await usage.flush()
        usage.add(str(uuid4()), b"/r", 200, 0.001)
    await usage.flush()
    assert auth.calls == 5


@pytest.mark.promise("G43")
async def test_calls_are_told_of_the_hour_in_which_they_ended() -> None:
    auth, clock = Auth(), StillClock()
    usage = Usage(auth.report, clock)
    began = clock.seconds()
    for hour in range(3):
        for _ in range(hour + 1):
            usage.add(str(UUID(int=1)), b"/r", 200, 0.001)
        clock.advance(3600)
        usage.sweep()
    await usage.flush()
    told = Counter[int]()
    for batch in auth.taken.values():
        for row in batch.rows:
            told[round((row.hour.timestamp() - began) / 3600)] += row.calls
    assert told == {0: 1, 1: 2, 2: 3}


@pytest.mark.promise("G43")
async def test_memory_is_bounded_while_auth_is_away() -> None:
    auth = Auth()
    auth.away = True
    usage = Usage(auth.report, FakeClock(), most=1000)
    lost = REGISTRY.get_sample_value(LOST) or 0
    for turn in range(30):
        for n in range(100):
            usage.add(str(UUID(int=turn * 100 + n)), b"/r", 200, 0.001)
        await usage.flush()
    known = REGISTRY.get_sample_value(LOST) or 0
    auth.away = False
    for _ in range(3):
        await usage.flush()
    assert auth.calls + known - lost == 3000
    assert 1000 <= auth.calls <= 2000


async def test_report_leaves_early_when_there_is_no_more_room() -> None:
    auth = Auth()
    usage = Usage(auth.report, FakeClock(), most=10)
    running = asyncio.create_task(usage.run(3600))
    async with asyncio.timeout(20):
        for n in range(100):
            usage.add(str(UUID(int=n)), b"/r", 200, 0.001)
            await asyncio.sleep(0)
        while auth.calls < 90:
            await asyncio.sleep(0.01)
    running.cancel()


async def test_report_that_may_have_arrived_is_given_up_before_auth_forgets_it() -> None:
    auth, clock = Auth(), FakeClock()
    usage = Usage(auth.report, clock)
    lost = REGISTRY.get_sample_value(LOST) or 0
    auth.mute = True
    usage.add(str(uuid4()), b"/r", 200, 0.001)
    await usage.flush()
    clock.advance(86_000)
    auth.mute = False
    await usage.flush()
    assert len(auth.sizes) == 1
    assert REGISTRY.get_sample_value(LOST) == lost + 1


async def test_answer_times_are_told_by_class() -> None:
    auth = Auth()
    usage = Usage(auth.report, FakeClock())
    for bound in LATENCY_BOUNDS_MS:
        usage.add(str(UUID(int=1)), b"/r", 200, bound / 1000)
    usage.add(str(UUID(int=1)), b"/r", 200, 60.0)
    await usage.flush()
    ((row,),) = (batch.rows for batch in auth.taken.values())
    assert row.latency == [1] * (len(LATENCY_BOUNDS_MS) + 1)
    assert row.micros == sum(LATENCY_BOUNDS_MS) * 1000 + 60_000_000


async def test_subject_that_is_no_user_of_ours_is_left_out() -> None:
    auth = Auth()
    usage = Usage(auth.report, FakeClock())
    usage.add("nobody", b"/r", 200, 0.001)
    usage.add(str(uuid4()), b"/r", 200, 0.001)
    await usage.flush()
    assert auth.calls == 1
