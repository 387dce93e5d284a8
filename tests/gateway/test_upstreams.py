"""Services that die, lie, hang or leave, and clients that do."""

import asyncio

import pytest

from gateway.domain.table import Owner
from tests.gateway.conftest import Door, Start
from tests.gateway.wire import GET, OK, Behaviour, Seen, Service, answers, begins, read_body

VANISHES = answers(b"", close=True)
STREAMS = begins(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")


def first(behaviour: Behaviour, then: Behaviour) -> Behaviour:
    """Once this, then always that."""

    async def behave(service: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        service.behave = then
        return await behaviour(service, seen, reader, writer)

    return behave


async def hangs(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await reader.read()
    return False


def probed(behaviour: Behaviour, otherwise: Behaviour) -> Behaviour:
    """Probes get this, whatever else is asked gets that."""

    async def behave(service: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        chosen = behaviour if seen.target == "/health/live" else otherwise
        return await chosen(service, seen, reader, writer)

    return behave


def calls(service: Service) -> int:
    return sum(seen.target != "/health/live" for seen in service.seen)


async def until_ailing(door: Door, *expected: bool) -> None:
    instances = door.core.groups[Owner.CHAT].instances
    async with asyncio.timeout(30):
        while [instance.ailing for instance in instances] != list(expected):
            await asyncio.sleep(0.01)


@pytest.mark.promise("G31")
async def test_kept_connection_that_died_costs_the_client_nothing(door: Door) -> None:
    await door.ask("/api/v1/messages")

    async def vanish_once(service: Service, seen: Seen, reader: asyncio.StreamReader, w: asyncio.StreamWriter) -> bool:
        service.behave = answers(OK)
        return False

    door.service.behave = vanish_once
    assert (await door.ask("/api/v1/messages")).status == 200


@pytest.mark.promise("G31")
async def test_post_is_never_sent_twice(door: Door) -> None:
    await door.ask("/api/v1/messages")
    door.service.seen.clear()

    async def vanish(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await read_body(seen, reader)
        return False

    door.service.behave = vanish
    answer = await door.ask("/api/v1/messages", "POST", body=b"{}")
    assert answer.status == 502
    assert len(door.service.seen) == 1


@pytest.mark.promise("G31")
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_what_may_be_done_twice_is_asked_once_more(open_door: Start, method: str) -> None:
    door = await open_door()
    door.service.behave = first(VANISHES, door.service.behave)
    assert (await door.ask("/api/v1/messages", method)).status == 200
    assert len(door.service.seen) == 2


@pytest.mark.promise("G31")
@pytest.mark.parametrize(("method", "body"), [("POST", None), ("PATCH", None), ("POST", b"{}"), ("PUT", b"{}")])
async def test_what_may_not_be_done_twice_is_asked_once(open_door: Start, method: str, body: bytes | None) -> None:
    door = await open_door()
    door.service.behave = VANISHES
    assert (await door.ask("/api/v1/messages", method, body=body)).status == 502
    assert len(door.service.seen) == 1


@pytest.mark.promise("G31")
@pytest.mark.parametrize("kept", [False, True])
async def test_nothing_is_asked_three_times(open_door: Start, kept: bool) -> None:
    door = await open_door()
    if kept:
        await door.ask("/api/v1/messages")
        door.service.seen.clear()
    door.service.behave = VANISHES
    assert (await door.ask("/api/v1/messages")).status == 502
    assert len(door.service.seen) == 2


@pytest.mark.promise("G31")
@pytest.mark.parametrize(
    ("behave", "status"),
    [
        (answers(b"HTTP/1.1 200", close=True), 502),
        (answers(b"HTTP/1.1 100 Go on\r\n\r\n", close=True), 502),
        (hangs, 504),
    ],
    ids=["half a head", "an interim answer", "silence"],
)
async def test_service_that_may_be_at_it_is_not_asked_again(open_door: Start, behave: Behaviour, status: int) -> None:
    door = await open_door(answer_seconds=0.2)
    door.service.behave = behave
    assert (await door.ask("/api/v1/messages")).status == status
    assert len(door.service.seen) == 1


@pytest.mark.promise("G31")
async def test_another_instance_is_asked_where_there_is_one(open_door: Start) -> None:
    pair = [await Service(behave=VANISHES).start(), await Service().start()]
    door = await open_door(chat_urls=[service.url for service in pair])
    pair[1].behave = STREAMS
    client = await door.connect()
    await client.send(GET)
    await client.head()
    pair[1].behave = answers(OK)
    # The one that vanishes has less to do, so it is asked first.
    pair[0].seen.clear()
    assert [(await door.ask("/api/v1/messages")).status for _ in range(6)] == [200] * 6
    assert len(pair[0].seen) == 6
    for service in pair:
        await service.stop()


@pytest.mark.promise("G31")
async def test_service_in_trouble_gets_little_on_top(open_door: Start) -> None:
    door = await open_door()
    # So many that went well that the circuit stays closed, and too few for more than the floor of the budget.
    for _ in range(40):
        await door.ask("/api/v1/messages")
    door.service.drop()
    door.service.seen.clear()
    door.service.behave = VANISHES
    assert {(await door.ask("/api/v1/messages")).status for _ in range(15)} == {502}
    assert len(door.service.seen) == 15 + 10


@pytest.mark.promise("W18")
@pytest.mark.parametrize(
    "lie",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-Big: " + b"a" * (1 << 20) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\nX-Injected: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
    ids=["two lengths", "length and chunks", "other coding", "huge head", "bare LF", "101", "not HTTP", "nothing"],
)
async def test_lying_service_is_not_believed(door: Door, lie: bytes) -> None:
    door.service.behave = answers(lie, close=not lie)
    answer = await door.ask("/api/v1/messages")
    assert answer.status == 502
    assert b"bad_gateway" in answer.body
    connections = door.service.connections
    door.service.behave = answers(OK)
    assert (await door.ask("/api/v1/messages")).status == 200
    assert door.service.connections == connections + 1


@pytest.mark.promise("W18")
async def test_broken_chunk_breaks_the_answer(door: Door) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    door.service.behave = answers(head + b"zz\r\n")
    assert (await door.ask("/api/v1/messages")).status == 502

    async def later(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(head)
        await asyncio.sleep(0.05)
        writer.write(b"zz\r\n")
        return True

    door.service.behave = later
    client = await door.connect()
    await client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()


@pytest.mark.promise("W18")
async def test_answer_that_nobody_asked_for_reaches_nobody(door: Door) -> None:
    door.service.behave = answers(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    for _ in range(3):
        assert (await door.ask("/api/v1/messages")).body == b"{}"


async def test_cut_answer_is_not_passed_off_as_whole(door: Door) -> None:
    door.service.behave = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", close=True)
    client = await door.connect()
    await client.send(GET)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()


async def test_absent_service_is_unavailable(open_door: Start) -> None:
    door = await open_door(chat_urls=["http://127.0.0.1:9"])
    answer = await door.ask("/api/v1/messages")
    assert (answer.status, answer["retry-after"]) == (503, "1")
    assert (await door.ask("/api/v1/notifications")).status == 200


@pytest.mark.promise("G32")
async def test_silent_service_is_given_up(open_door: Start) -> None:
    door = await open_door(answer_seconds=0.2)

    async def silent(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.read()
        return False

    door.service.behave = silent
    answer = await door.ask("/api/v1/messages")
    assert answer.status == 504
    assert b"gateway_timeout" in answer.body


@pytest.mark.promise("G32")
async def test_service_that_does_not_take_the_body_is_given_up(open_door: Start) -> None:
    door = await open_door(answer_seconds=0.2)
    gone = asyncio.Event()

    async def deaf(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await gone.wait()
        return False

    door.service.behave = deaf
    client = await door.connect()
    size = 32 << 20
    client.writer.write(b"POST /api/v1/attachments HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    client.writer.write(bytes(size))
    assert (await client.answer()).status == 504
    gone.set()


@pytest.mark.promise("G32")
async def test_service_that_takes_the_body_slowly_is_waited_for(open_door: Start) -> None:
    door = await open_door(answer_seconds=3.0)
    size = 16 << 20

    async def slow(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        for _ in range(8):
            # Together longer than the deadline, which begins again with every step.
            await asyncio.sleep(0.4)
            await reader.readexactly(size // 8)
        writer.write(OK)
        return True

    door.service.behave = slow
    client = await door.connect()
    client.writer.write(b"POST /api/v1/attachments HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    client.writer.write(bytes(size))
    assert (await client.answer()).status == 200


@pytest.mark.promise("G30")
async def test_dead_instance_is_passed_over(open_door: Start) -> None:
    second = await Service().start()
    door = await open_door(chat_urls=["http://127.0.0.1:9", second.url])
    statuses = [(await door.ask("/api/v1/messages")).status for _ in range(6)]
    assert statuses == [200] * 6
    await second.stop()


@pytest.mark.promise("G30")
async def test_instances_share_the_work(open_door: Start) -> None:
    pair = [await Service().start(), await Service().start()]
    door = await open_door(chat_urls=[service.url for service in pair])
    for _ in range(4):
        await door.ask("/api/v1/messages")
    assert [len(service.seen) for service in pair] == [2, 2]
    for service in pair:
        await service.stop()


@pytest.mark.promise("G30")
@pytest.mark.parametrize(
    "ill",
    [hangs, VANISHES, answers(b"SSH-2.0-OpenSSH_9.6\r\n"), answers(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")],
    ids=["hangs", "hangs up", "not HTTP", "503"],
)
async def test_instance_that_misses_its_probes_comes_last(open_door: Start, ill: Behaviour) -> None:
    pair = [await Service().start(), await Service().start()]
    pair[0].behave = probed(ill, answers(OK))
    door = await open_door(chat_urls=[service.url for service in pair], probe_seconds=0.05)
    await until_ailing(door, True, False)
    assert [(await door.ask("/api/v1/messages")).status for _ in range(6)] == [200] * 6
    assert [calls(service) for service in pair] == [0, 6]
    pair[0].behave = answers(OK)
    await until_ailing(door, False, False)
    for _ in range(4):
        await door.ask("/api/v1/messages")
    assert [calls(service) for service in pair] == [2, 8]
    for service in pair:
        await service.stop()


@pytest.mark.promise("G30")
async def test_instance_that_dies_and_returns(open_door: Start) -> None:
    pair = [await Service().start(), await Service().start()]
    door = await open_door(chat_urls=[service.url for service in pair], probe_seconds=0.05)
    await pair[0].stop()
    await until_ailing(door, True, False)
    # Not even a POST meets it.
    assert {(await door.ask("/api/v1/messages", "POST", body=b"{}")).status for _ in range(6)} == {200}
    await pair[0].start(pair[0].port)
    await until_ailing(door, False, False)
    for _ in range(4):
        await door.ask("/api/v1/messages")
    assert calls(pair[0]) == 2
    for service in pair:
        await service.stop()


@pytest.mark.promise("G30")
async def test_only_instance_is_asked_however_ill(open_door: Start) -> None:
    door = await open_door(probe_seconds=0.05)
    door.service.behave = probed(VANISHES, answers(OK))
    await until_ailing(door, True)
    assert (await door.ask("/api/v1/messages")).status == 200


@pytest.mark.promise("G30")
async def test_process_that_serves_sockets_too_is_probed_once(open_door: Start) -> None:
    pair = [await Service().start() for _ in range(2)]
    door = await open_door(chat_urls=[pair[0].url], notify_urls=[pair[1].url], probe_seconds=0.05)
    for service in pair:
        service.behave = probed(VANISHES, answers(OK))
    async with asyncio.timeout(30):
        while len(pair[0].seen) < 8:
            await asyncio.sleep(0.01)
    # Sockets go to chat's, and are asked for in the same round as notify, which has an address of its own.
    assert len(pair[0].seen) <= len(pair[1].seen) + 1
    assert all(door.core.groups[owner].instances[0].ailing for owner in (Owner.CHAT, Owner.SOCKET))
    for service in pair:
        await service.stop()


@pytest.mark.promise("G30")
async def test_probe_closes_no_circuit(open_door: Start) -> None:
    door = await open_door(probe_seconds=0.05)
    door.service.behave = probed(answers(OK), VANISHES)
    async with asyncio.timeout(30):
        while (await door.ask("/api/v1/messages", "POST")).status != 503:
            pass
    asked, probes = calls(door.service), len(door.service.seen)
    async with asyncio.timeout(30):
        while len(door.service.seen) < probes + 8:
            await asyncio.sleep(0.01)
    assert (await door.ask("/api/v1/messages", "POST")).status == 503
    assert calls(door.service) == asked


async def test_client_that_leaves_frees_the_service(door: Door) -> None:
    gone = asyncio.Event()

    async def endless(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read()
        gone.set()
        return False

    door.service.behave = endless
    client = await door.connect()
    await client.send(GET)
    await client.head()
    client.close()
    async with asyncio.timeout(30):
        await gone.wait()
