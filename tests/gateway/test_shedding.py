"""More to do than can be done: what can wait is let go of first, and comes back by itself."""

import asyncio
import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from gateway.domain.load import Load, Priority
from tests.gateway.conftest import Door, Start
from tests.gateway.wire import OK, Answer, Seen, Service

LOW, NORMAL, HIGH = "/api/v1/search", "/api/v1/notifications", "/api/v1/auth/token"


def load(lag_seconds: float = 0.05, in_flight: Callable[[], int] = lambda: 0) -> Load:
    return Load(lag_seconds, 10, in_flight)


def settle(measured: Load, late: float) -> Priority:
    """After two seconds as late as that."""
    for _ in range(20):
        measured.note(late)
    return measured.least


async def ask_late(door: Door, path: str) -> Answer:
    """As if the loop had been late for long."""
    settle(door.core.policy.load, 10)
    return await door.ask(path)


async def status(door: Door, path: str, expected: int) -> Answer:
    """Asks until it is so."""
    async with asyncio.timeout(20):
        while (answer := await door.ask(path)).status != expected:
            await asyncio.sleep(0.01)
    return answer


@pytest.mark.promise("G39")
@pytest.mark.parametrize(
    ("late", "least"),
    [(0, Priority.LOW), (0.04, Priority.LOW), (0.1, Priority.NORMAL), (0.2, Priority.NORMAL), (0.4, Priority.HIGH)],
)
def test_the_later_the_loop_the_more_is_let_go(late: float, least: Priority) -> None:
    measured = load()
    assert settle(measured, late) == least
    assert settle(measured, 10) == Priority.HIGH
    assert settle(measured, 0) == Priority.LOW


@pytest.mark.promise("G39")
def test_one_slow_step_sheds_nothing_and_each_change_is_told_once() -> None:
    measured = load()
    with capture_logs() as logs:
        measured.note(0.2)
        assert measured.least == Priority.LOW
        settle(measured, 0.1)
        # Between the limit and half of it nothing changes: it would go to and fro.
        assert settle(measured, 0.03) == Priority.NORMAL
        assert settle(measured, 0.02) == Priority.LOW
    assert [entry["least"] for entry in logs] == ["normal", "low"]


@pytest.mark.promise("G39")
def test_too_many_requests_shed_what_can_wait_and_nothing_else() -> None:
    running = 10
    measured = load(lag_seconds=0, in_flight=lambda: running)
    assert settle(measured, 10) == Priority.LOW
    running = 11
    assert settle(measured, 0) == Priority.NORMAL
    running = 10
    assert settle(measured, 0) == Priority.LOW


@pytest.mark.promise("G39")
async def test_late_loop_answers_what_can_wait_with_503(open_door: Start) -> None:
    door = await open_door(shed_lag_ms=50)

    async def toil() -> None:
        while True:
            time.sleep(0.12)  # noqa: ASYNC251  -- it is the loop that is to be late
            await asyncio.sleep(0)

    busy = asyncio.create_task(toil())
    try:
        answer = await status(door, LOW, 503)
    finally:
        busy.cancel()
    assert (answer["retry-after"], b'"code": "overloaded"' in answer.body) == ("1", True)
    assert LOW not in {seen.target for seen in door.service.seen[-1:]}
    await status(door, LOW, 200)


@pytest.mark.promise("G39")
async def test_signing_in_and_messages_are_never_shed(open_door: Start) -> None:
    door = await open_door(shed_lag_ms=50)
    paths = (HIGH, "/api/v1/auth/token/refresh", "/api/v1/conversations/1/messages", "/ws/", "/health/live")
    assert [(await ask_late(door, path)).status for path in paths] == [200] * len(paths)
    assert [(await ask_late(door, path)).status for path in (NORMAL, LOW, "/api/v1/docs")] == [503] * 3


@pytest.mark.promise("G39")
async def test_crowd_at_the_services_sheds_what_can_wait(open_door: Start) -> None:
    door = await open_door(max_requests=2)
    go_on = asyncio.Event()

    async def hang(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if seen.target == NORMAL:
            await go_on.wait()
        writer.write(OK)
        return True

    door.service.behave = hang
    waiting = [asyncio.create_task(door.ask(NORMAL)) for _ in range(3)]
    await status(door, LOW, 503)
    assert (await door.ask(HIGH)).status == 200
    go_on.set()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 3
    await status(door, LOW, 200)


async def test_other_clients_hear_of_it_in_their_own_shape(open_door: Start) -> None:
    door = await open_door(shed_lag_ms=50)
    answer = await ask_late(door, "/api/users/me")
    assert (answer.status, b'"service_unavailable"' in answer.body) == (503, True)
