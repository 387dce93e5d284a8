"""The socket without a socket: the same events, in the same order, with the same ends."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from chat_service.domain import event_streams, frames
from chat_service.domain.backlog import MAX_BYTES
from chat_service.settings import Settings
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person, process


@dataclass
class Listener:
    """As a browser's EventSource: data, the last id, and when to come back."""

    pushes: list[dict[str, Any]] = field(default_factory=list)
    last_id: str = ""
    retry: int | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    def take(self, line: str) -> None:
        name, _, value = line.partition(": ")
        if name == "data":
            self.pushes.append(json.loads(value))
        elif name == "id":
            self.last_id = value
        elif name == "retry":
            self.retry = int(value)
        self.arrived.set()

    async def until(self, is_there: Any) -> None:
        async with asyncio.timeout(10):
            while not is_there(self):
                self.arrived.clear()
                await self.arrived.wait()

    async def push(self, kind: str) -> dict[str, Any]:
        await self.until(lambda me: any(p.get("t") == kind for p in me.pushes))
        return next(p for p in self.pushes if p.get("t") == kind)

    def said(self) -> list[str]:
        return [p["d"]["content"] for p in self.pushes if p.get("t") == "message.new"]


@contextlib.asynccontextmanager
async def listening(node: Node, person: Person, resume: str = "", **headers: str) -> AsyncIterator[Listener]:
    listener = Listener()
    client = httpx2.AsyncClient(base_url=node.url, timeout=30, trust_env=False)

    async def read() -> None:
        given = {**person.headers, **headers}
        async with client.stream("GET", "/api/v1/stream", params={"resume": resume}, headers=given) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                listener.take(line)
        listener.ended = True
        listener.arrived.set()

    reading = asyncio.create_task(read())
    try:
        await listener.push("welcome")
        yield listener
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        await client.aclose()


async def say_over(node: Node, person: Person, listener: Listener, *said: dict[str, Any]) -> int:
    connection = (await listener.push("welcome"))["d"]["conn"]
    answer = await node.call(person, "POST", f"/stream/{connection}/frames", json={"frames": list(said)})
    return answer.status_code


@pytest.mark.promise("C53")
async def test_stream_tells_what_a_socket_tells(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with listening(one, bob, f"c:{conversation}") as stream, one.client(bob, conversation) as socket:
        await two.say(ann, conversation, "Hello")
        told = await stream.push("message.new")
        assert told == await socket.push("message.new")


@pytest.mark.promise("C53")
async def test_browser_that_comes_back_by_itself_misses_nothing(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with listening(one, bob, f"c:{conversation}@1.1") as stream:
        await one.say(ann, conversation, "seen")
        await stream.until(lambda me: me.last_id == f"c:{conversation}@1.2")
    await one.say(ann, conversation, "missed")
    async with listening(two, bob, f"c:{conversation}@1.1", **{"Last-Event-ID": stream.last_id}) as again:
        await again.push("message.new")
        assert again.said() == ["missed"]
        await again.until(lambda me: me.last_id == f"c:{conversation}@1.3")
    async with listening(one, bob, again.last_id) as third:
        assert (await third.push("welcome"))["d"]["streams"][f"c:{conversation}"]["n"] == 0
        assert third.said() == []


@pytest.mark.promise("C53")
async def test_frames_are_sent_by_post_and_answered_over_the_stream(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with listening(one, bob) as stream:
        sub = {"i": 1, "op": "sub", "d": {"streams": [f"c:{conversation}"]}}
        send = {"i": 2, "op": "send", "s": f"c:{conversation}", "d": {"content": "Hi"}}
        assert await say_over(one, bob, stream, sub) == 204
        await stream.until(lambda me: any(p.get("i") == 1 for p in me.pushes))
        assert await say_over(one, bob, stream, send, {"i": 3, "op": "nonsense"}) == 204
        await stream.push("message.new")
        await stream.until(lambda me: {2, 3} <= {p.get("i") for p in me.pushes})
        assert next(p for p in stream.pushes if p.get("i") == 2)["ok"]["q"] == 2
        assert next(p for p in stream.pushes if p.get("i") == 3)["err"]["code"] == "unknown_op"


@pytest.mark.promise("C53")
async def test_nobody_speaks_on_the_stream_of_somebody_else(one: Node, people: People) -> None:
    ann, eve = await people(2)
    async with listening(one, ann) as stream:
        connection = (await stream.push("welcome"))["d"]["conn"]
        for person, name in ((eve, connection), (ann, uuid4().hex)):
            answer = await one.call(person, "POST", f"/stream/{name}/frames", json={"frames": [{"op": "ping"}]})
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_stream_connection")
    async with one.client(ann) as socket:
        path = f"/stream/{socket.welcome['conn']}/frames"
        assert (await one.call(ann, "POST", path, json={"frames": [{"op": "ping"}]})).status_code == 404


@pytest.mark.promise("C53")
async def test_stream_needs_a_credential_and_membership(one: Node, people: People) -> None:
    ann, eve = await people(2)
    conversation = await one.group(ann)
    assert (await one.http.get("/api/v1/stream")).status_code == 401
    async with listening(one, eve, f"c:{conversation}@1.1") as stream:
        outcome = (await stream.push("welcome"))["d"]["streams"][f"c:{conversation}"]
        assert outcome["err"]["code"] == "not_found"


@pytest.mark.parametrize("resume", ["x", "c:x@1.1", f"c:{UUID(int=7)}@1", f"c:{UUID(int=7)}@1.-1", "n", ",", "c:@"])
async def test_impossible_position_is_refused(one: Node, people: People, resume: str) -> None:
    [ann] = await people(1)
    answer = await one.call(ann, "GET", "/stream", params={"resume": resume})
    assert answer.status_code == 422


@pytest.mark.promise("C53", "C67")
async def test_end_of_the_process_is_told_with_the_time_to_come_back(
    own_settings: Settings, left: Node, people: People
) -> None:
    [ann] = await people(1)
    async with process(own_settings) as (node, ending), listening(node, ann) as stream:
        assert ending.process is not None
        ending.process.send_signal(signal.SIGTERM)
        goaway = await stream.push("goaway")
        assert goaway["d"]["code"] == 4000
        assert stream.retry == goaway["d"]["retry_ms"]
        await stream.until(lambda me: me.ended)
        assert stream.pushes[-1]["t"] == "closed"
        async with asyncio.timeout(10):
            await ending.process.wait()


@pytest.mark.promise("C49", "C53")
async def test_listener_that_stops_reading_costs_bounded_memory(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    port = int(one.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_000)
    path = f"/api/v1/stream?resume=c:{conversation}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bob.token}\r\n\r\n".encode())
    await reader.readuntil(b"welcome")
    session = next(iter(one.context.hub.users[bob.id]))
    count = 0
    while not session.closed:
        await one.context.writer.send(UUID(conversation), ann.id, content="x" * 9_000)
        count += 1
        assert session.backlog_bytes <= MAX_BYTES
        assert count < 5_000
    writer.transport.abort()
    async with asyncio.timeout(20):
        while bob.id in one.context.hub.users:
            await asyncio.sleep(0.01)


async def test_listener_that_vanishes_is_forgotten(one: Node, people: People) -> None:
    [ann] = await people(1)
    async with listening(one, ann):
        assert ann.id in one.context.hub.users
    async with asyncio.timeout(10):
        while ann.id in one.context.hub.users:
            await asyncio.sleep(0.01)


def test_frames_of_any_length_become_events() -> None:
    for size in (0, 100, 126, 70_000):
        payload = b'{"t":"x"}' + b" " * size
        assert event_streams._events(frames.packet(payload)) == b"data: " + payload + b"\n\n"
    assert event_streams._events(frames.packet(b"{}\n[]")) == b"data: {}\n\ndata: []\n\n"
