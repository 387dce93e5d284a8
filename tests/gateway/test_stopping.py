"""A gateway that is told to stop: nobody who was on the way is turned away, and nobody is left hanging."""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.gateway.conftest import Door, Start
from tests.gateway.test_sockets import joined
from tests.gateway.wire import GET, TIMEOUT, Client, Seen, Service

# Nobody waits that long: a server whose connections are all gone does not rest.
LONG = 60.0


async def draining(door: Door) -> None:
    """From here on the port is closed, and what is connected has its last chance."""
    door.server.should_exit = True
    async with asyncio.timeout(30):
        while door.server.servers[0].is_serving():
            await asyncio.sleep(0.005)


async def kept(door: Door) -> Client:
    """A connection that rests between two requests."""
    client = await door.connect()
    await client.send(GET)
    answer = await client.answer()
    assert (answer.status, answer.get("connection")) == (200, None)
    return client


@pytest.mark.promise("G37")
async def test_request_on_its_way_to_a_resting_connection_is_answered(open_door: Start) -> None:
    door = await open_door(rest_seconds=LONG)
    one, fresh = await kept(door), await door.connect()
    await draining(door)
    for client in (one, fresh):
        await client.send(GET)
        answer = await client.answer()
        assert (answer.status, answer["connection"]) == (200, "close")
        assert await client.closed()
    assert len(door.service.seen) == 3


@pytest.mark.promise("G37")
async def test_refusals_and_own_pages_say_goodbye_too(open_door: Start) -> None:
    door = await open_door(rest_seconds=LONG)
    clients = [await kept(door) for _ in range(3)]
    await draining(door)
    for client, path in zip(clients, ("/nowhere", "/health/live", "/api/v1/messages"), strict=True):
        await client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert (await client.answer())["connection"] == "close"
        assert await client.closed()


@pytest.mark.promise("G37")
async def test_what_is_pipelined_behind_the_last_answer_does_not_lose_it(open_door: Start) -> None:
    door = await open_door(rest_seconds=LONG)
    client = await kept(door)
    await draining(door)
    await client.send(GET * 50)
    answer = await client.answer()
    assert (answer.status, answer["connection"], answer.body) == (200, "close", b"{}")
    assert await client.closed()
    assert len(door.service.seen) == 2


@pytest.mark.promise("G37")
async def test_head_that_has_begun_to_arrive_is_waited_for(open_door: Start) -> None:
    door = await open_door()
    client, resting = await kept(door), await kept(door)
    await client.send(GET[:20])
    await draining(door)
    # Whoever has nothing on its way is let go of, and that is later.
    assert await resting.closed()
    await client.send(GET[20:])
    answer = await client.answer()
    assert (answer.status, answer["connection"]) == (200, "close")


@pytest.mark.promise("G37")
async def test_answers_that_run_are_finished(open_door: Start) -> None:
    """One whose head was out before, and one whose head comes later."""
    door = await open_door()
    asked, tell = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        early = seen.target.endswith("/early")
        if early:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndo")
        asked.release()
        await tell.wait()
        writer.write(b"ne" if early else b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        return True

    door.service.behave = slow
    early, late, resting = await door.connect(), await door.connect(), await door.connect()
    await early.send(GET.replace(b"messages", b"messages/early"))
    await early.head()
    await late.send(GET)
    for _ in range(2):
        await asked.acquire()
    await draining(door)
    assert await resting.closed()
    tell.set()
    async with asyncio.timeout(TIMEOUT):
        assert await early.reader.read() == b"done"
    answer = await late.answer()
    assert (answer.body, answer["connection"]) == (b"done", "close")


@pytest.mark.promise("G37")
async def test_service_ends_the_tunnels_of_a_gateway_that_stops(open_door: Start) -> None:
    """The gateway only hangs up on the client's behalf. What the service says then arrives whole."""
    door = await open_door()
    client = await joined(door)
    await client.send(b"still here")
    assert await client.reader.readexactly(10) == b"still here"
    await draining(door)
    async with asyncio.timeout(TIMEOUT):
        assert await client.reader.read() == b"bye"


@pytest.mark.promise("G37", "G22")
async def test_closing_code_for_going_away_arrives(open_door: Start) -> None:
    """From a service that says it when its peer hangs up without a close frame, as chat does."""

    async def talk(connection: ServerConnection) -> None:
        transport = connection.transport
        connection.eof_received = lambda: (connection.protocol.send_close(1001), connection.send_data(), None)[2]  # type: ignore[method-assign]
        async for message in connection:
            await connection.send(message)
        transport.close()

    server = await serve(talk, "127.0.0.1", 0)
    door = await open_door(socket_urls=[f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"])
    async with connect(f"ws://127.0.0.1:{door.port}/ws/") as socket:
        await socket.send("x" * 100_000)
        assert await socket.recv() == "x" * 100_000
        await draining(door)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    server.close()
    await server.wait_closed()


@pytest.mark.promise("G37")
async def test_service_that_says_nothing_does_not_keep_the_gateway(
    open_door: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.routes.socket._GOODBYE_SECONDS", 0.1)
    door = await open_door()

    async def deaf(_: Service, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await asyncio.Event().wait()
        return False

    door.service.behave = deaf
    client = await door.connect()
    await client.send(b"GET /ws/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await client.head())[0] == 101
    await draining(door)
    assert await client.closed()
