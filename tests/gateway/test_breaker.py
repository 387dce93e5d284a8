"""A service that fails is left alone for a while; what merely takes its time, or says no, is not."""

import asyncio
from dataclasses import dataclass, field
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.domain.breaker import Breaker, Window
from gateway.domain.table import Owner
from tests.gateway.conftest import Door, Start
from tests.gateway.wire import GET, OK, Answer, Seen, Service, answers, read_body

FAILS = answers(b"", close=True)
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"

UNFINISHED = b"POST /api/v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{"


async def silent(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await reader.read()
    return False


async def post(door: Door) -> Answer:
    """What is never asked twice, so that each is one call."""
    return await door.ask("/api/v1/messages", "POST", body=b"{}")


async def until_left_alone(door: Door) -> Answer:
    """The first answer that a failing service had no part in."""
    async with asyncio.timeout(30):
        while (answer := await post(door)).status != 503:
            pass
    return answer


# The whole way.


@pytest.mark.promise("G29")
async def test_failing_service_is_left_alone(open_door: Start) -> None:
    notify = await Service().start()
    door = await open_door(notify_urls=[notify.url])
    door.service.behave = FAILS
    statuses = [(await post(door)).status for _ in range(20)]
    assert statuses == [502] * 20
    connections = door.service.connections
    answer = await post(door)
    assert answer.status == 503
    assert b'"code":"unavailable"' in answer.body.replace(b" ", b"")
    assert 1 <= int(answer["retry-after"]) <= 5
    assert (door.service.connections, len(door.service.seen)) == (connections, 20)
    assert (await door.ask("/api/v1/notifications")).status == 200
    await notify.stop()


@pytest.mark.promise("G29")
async def test_service_that_is_well_again_is_asked_again(open_door: Start) -> None:
    door = await open_door()
    door.service.behave = FAILS
    with capture_logs() as logs:
        await until_left_alone(door)
        door.service.behave = answers(OK)
        async with asyncio.timeout(30):
            while (await post(door)).status != 200:
                await asyncio.sleep(0.1)
        assert [(await post(door)).status for _ in range(10)] == [200] * 10
    said = [(entry["event"], entry["upstream"]) for entry in logs if "upstream" in entry]
    assert said == [("upstream_circuit_opened", door.service.url), ("upstream_circuit_closed", door.service.url)]


async def test_open_circuits_are_counted(open_door: Start) -> None:
    door = await open_door()
    door.service.behave = FAILS
    await until_left_alone(door)
    # As it does each second, and so do the gateways of other tests.
    door.core.sweep()
    assert REGISTRY.get_sample_value("parley_gateway_circuits_open", {"owner": "chat"}) == 1


@pytest.mark.promise("G29")
async def test_trials_are_three_and_one_that_fails_is_enough(open_door: Start) -> None:
    door = await open_door()
    door.service.behave = FAILS
    await until_left_alone(door)
    door.service.seen.clear()
    door.service.behave = silent
    clients = []
    async with asyncio.timeout(30):
        while len(door.service.seen) < 3:
            clients.append(await door.connect())
            await clients[-1].send(GET)
            await asyncio.sleep(0.05)
    assert (await post(door)).status == 503
    assert len(door.service.seen) == 3
    door.service.drop()
    assert int((await until_left_alone(door))["retry-after"]) > 1


@pytest.mark.promise("G29")
async def test_nobody_there_and_nobody_answering_are_failures(open_door: Start) -> None:
    door = await open_door(notify_urls=["http://127.0.0.1:9"], answer_seconds=0.2)
    async with asyncio.timeout(30):
        while (await door.ask("/api/v1/notifications"))["retry-after"] == "1":
            pass
    door.service.behave = silent
    assert {answer.status for answer in await asyncio.gather(*(post(door) for _ in range(20)))} == {504}
    assert (await post(door)).status == 503


@pytest.mark.promise("G29")
async def test_refusals_of_the_service_are_answers(open_door: Start) -> None:
    door = await open_door()
    door.service.behave = answers(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
    assert [(await post(door)).status for _ in range(30)] == [500] * 30


@pytest.mark.promise("G29")
async def test_clients_that_leave_say_nothing(open_door: Start) -> None:
    door = await open_door()
    door.service.behave = silent
    clients = [await door.connect() for _ in range(30)]
    for client in clients:
        await client.send(GET)
    async with asyncio.timeout(10):
        while len(door.service.seen) < 30:
            await asyncio.sleep(0.01)
    for client in clients:
        client.close()
    instance = door.core.groups[Owner.CHAT].instances[0]
    async with asyncio.timeout(10):
        while instance.in_flight:
            await asyncio.sleep(0.01)
    door.service.behave = answers(OK)
    assert (await post(door)).status == 200


@pytest.mark.promise("G29")
async def test_others_do_the_work_of_one_that_fails(open_door: Start) -> None:
    pair = [await Service(behave=FAILS).start(), await Service().start()]
    door = await open_door(chat_urls=[service.url for service in pair])
    async with asyncio.timeout(30):
        while len(pair[0].seen) < 20:
            await post(door)
    assert [(await post(door)).status for _ in range(10)] == [200] * 10
    assert len(pair[0].seen) == 20
    for service in pair:
        await service.stop()


@pytest.mark.promise("G29")
async def test_calls_that_wait_for_an_answer_are_bounded(open_door: Start) -> None:
    door = await open_door(in_flight=2)
    go_on = asyncio.Event()

    async def slow(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await read_body(seen, reader)
        await go_on.wait()
        writer.write(OK)
        return True

    door.service.behave = slow
    waiting = [asyncio.create_task(post(door)) for _ in range(2)]
    async with asyncio.timeout(10):
        while len(door.service.seen) < 2:
            await asyncio.sleep(0.01)
    answer = await post(door)
    assert (answer.status, answer["retry-after"], len(door.service.seen)) == (503, "1", 2)
    go_on.set()
    assert [(await task).status for task in waiting] == [200, 200]
    assert (await post(door)).status == 200


@pytest.mark.promise("G29")
async def test_streams_under_way_are_not_in_the_bound(open_door: Start) -> None:
    door = await open_door(in_flight=1)

    async def endless(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(STREAM)
        await reader.read()
        return False

    door.service.behave = endless
    for _ in range(3):
        client = await door.connect()
        await client.send(GET)
        assert (await client.head())[0] == 200


@pytest.mark.promise("G29")
async def test_bodies_on_their_way_keep_nobody_out(open_door: Start) -> None:
    door = await open_door(in_flight=1)
    uploads = [await door.connect() for _ in range(3)]
    for number, client in enumerate(uploads, 1):
        await client.send(UNFINISHED)
        async with asyncio.timeout(10):
            while len(door.service.seen) < number:
                await asyncio.sleep(0.01)
    assert (await post(door)).status == 200
    for client in uploads:
        await client.send(b"}")
        assert (await client.answer()).status == 200


@pytest.mark.promise("G29")
async def test_body_on_its_way_is_no_trial(open_door: Start) -> None:
    door = await open_door()
    door.service.behave = FAILS
    await until_left_alone(door)
    door.service.behave = answers(OK)
    async with asyncio.timeout(30):
        while True:
            assert (await door.raw(UNFINISHED)).status == 503
            if (await post(door)).status == 200:
                break
            await asyncio.sleep(0.1)


@pytest.mark.promise("G29")
async def test_burst_on_cold_connections_is_bounded(open_door: Start) -> None:
    door = await open_door(in_flight=5)
    door.service.behave = silent
    clients = [await door.connect() for _ in range(20)]
    for client in clients:
        client.writer.write(GET)
    firsts = [asyncio.create_task(client.answer()) for client in clients]
    async with asyncio.timeout(10):
        while sum(task.done() for task in firsts) < 15 or len(door.service.seen) < 5:
            await asyncio.sleep(0.01)
    assert {task.result().status for task in firsts if task.done()} == {503}
    assert door.service.connections == 5
    door.service.behave = answers(OK)
    door.service.drop()
    assert {answer.status for answer in await asyncio.gather(*firsts)} == {200, 503}


@pytest.mark.promise("G29")
async def test_work_over_the_bound_goes_to_the_next(open_door: Start) -> None:
    pair = [await Service(behave=silent).start(), await Service(behave=silent).start()]
    door = await open_door(chat_urls=[service.url for service in pair], in_flight=3)
    for _ in range(6):
        await (await door.connect()).send(GET)
    async with asyncio.timeout(10):
        while [len(service.seen) for service in pair] != [3, 3]:
            await asyncio.sleep(0.01)
    assert (await post(door)).status == 503
    for service in pair:
        await service.stop()


# The rule, against a plainer way to write it.


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=200))
def test_window_forgets_by_the_second(steps: list[tuple[bool, int]]) -> None:
    window, seconds, now = Window(), list[int](), 1000.0
    for adds, quarters in steps:
        now += quarters / 4
        if adds:
            window.add(now)
            seconds.append(int(now))
        assert window.total(now) == sum(second > int(now) - 10 for second in seconds)


@dataclass
class Phase:
    """Between two changes of the circuit."""

    open_until: float | None
    ended: list[tuple[int, bool]] = field(default_factory=list)
    """In which second, and whether it failed."""
    trials: list[str] = field(default_factory=list)
    """How each is doing."""


@dataclass
class Call:
    phase: Phase
    era: int
    trial: int


class Plain:
    """The breaker as its description has it."""

    def __init__(self) -> None:
        self.phase = Phase(None)

    def admits(self, now: float) -> bool:
        until = self.phase.open_until
        return until is None or (now >= until and self._tried() < 3)

    def _tried(self) -> int:
        return sum(state != "left" for state in self.phase.trials)

    def begin(self) -> tuple[Phase, int]:
        self.phase.trials.append("under way")
        return self.phase, len(self.phase.trials) - 1

    def end(self, call: Call, how: str, now: float) -> None:
        phase = call.phase
        if phase is not self.phase:
            return
        phase.trials[call.trial] = how
        if phase.open_until is not None:
            if how == "failed":
                self.phase = Phase(now + 5)
            elif phase.trials.count("well") == 3:
                self.phase = Phase(None)
        elif how != "left":
            phase.ended.append((int(now), how == "failed"))
            recent = [failed for second, failed in phase.ended if second > int(now) - 10]
            if how == "failed" and len(recent) >= 20 and recent.count(True) * 2 >= len(recent):
                self.phase = Phase(now + 5)


PASS = st.tuples(st.just("pass"), st.sampled_from([0.25, 1.0, 2.5, 5.0, 11.0]))
END = st.tuples(st.sampled_from(["failed", "well", "well", "left"]), st.integers(1, 4))
BEGIN = st.tuples(st.just("begin"), st.integers(1, 4))
FAIL = st.tuples(st.just("fail"), st.integers(1, 25))
ANYTHING = st.lists(st.one_of(PASS, BEGIN, END, FAIL), max_size=40)
# To where its trials begin, with calls under way that are older; chance would seldom come there.
HALF_OPEN = st.tuples(BEGIN, st.just(("fail", 20)), st.just(("pass", 5.0))).map(list)
TRIALS = st.lists(st.one_of(BEGIN, END), max_size=12)
STEPS = st.one_of(ANYTHING, st.builds(chain, HALF_OPEN, TRIALS, ANYTHING).map(list))


class Both:
    """The breaker and the plain one, told the same."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.plain = Plain()
        self.calls: list[Call] = []
        self.now = 1000.0

    def begin(self) -> bool:
        admitted = self.breaker.admits(self.now)
        if admitted:
            phase, trial = self.plain.begin()
            self.calls.append(Call(phase, self.breaker.begin(), trial))
        return admitted

    def end(self, call: Call, how: str) -> None:
        self.plain.end(call, how, self.now)
        if how == "failed":
            self.breaker.fail(call.era, self.now)
        elif how == "well":
            self.breaker.succeed(call.era, self.now)
        else:
            self.breaker.forget(call.era)

    def step(self, what: str, amount: float) -> None:
        if what == "pass":
            self.now += amount
        elif what == "begin":
            for _ in range(int(amount)):
                self.begin()
        elif what == "fail":
            # Begun and ended at once; what is under way outlives them.
            for _ in range(int(amount)):
                if self.begin():
                    self.end(self.calls.pop(), "failed")
        elif self.calls:
            # Any of those under way.
            self.end(self.calls.pop(int(amount) % len(self.calls)), what)


@pytest.mark.promise("G29")
@given(STEPS)
def test_breaker_keeps_to_its_rule(steps: list[tuple[str, float]]) -> None:
    both = Both()
    for what, amount in steps:
        both.step(what, amount)
        assert both.breaker.open_until == both.plain.phase.open_until
        assert both.breaker.admits(both.now) == both.plain.admits(both.now)


@pytest.mark.promise("G29")
@pytest.mark.parametrize(("well", "opens"), [(9, False), (10, True), (11, False)])
def test_half_of_twenty_is_enough(well: int, opens: bool) -> None:
    """Ten failures after so many calls that went well: of 19 too few, of 20 half, of 21 less than half."""
    breaker = Breaker()
    for _ in range(well):
        breaker.succeed(breaker.begin(), 1000.0)
    assert [breaker.fail(breaker.begin(), 1000.0) for _ in range(10)] == [False] * 9 + [opens]
