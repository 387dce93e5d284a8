"""Processes that are killed, told to stop, and readers that stop reading."""

import asyncio
import contextlib
import json
import signal
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.domain import backlog
from chat_service.domain.dispatch import Dispatcher
from chat_service.domain.sending import LANES, Writer
from chat_service.settings import Settings
from libs.clock import Clock
from libs.db import Database
from libs.lanes import Lanes
from parley_client import ChatClient, Closed
from tests.chat.conftest import People
from tests.chat.nodes import Node, assert_gap_free, complete, process, talk

pytestmark = pytest.mark.chaos


@pytest.mark.promise("C3")
async def test_acknowledged_message_survives_kill_9(
    own_settings: Settings, left: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    acknowledged: list[str] = []
    async with process(own_settings) as (node, doomed):
        client = ChatClient(node.socket_url)
        await client.open()
        await client.hello(ann.token)

        async def flood() -> None:
            with contextlib.suppress(Closed):
                while True:
                    answer = await client.send(conversation, f"{len(acknowledged)}")
                    acknowledged.append(answer["id"])

        flooding = asyncio.create_task(flood())
        while len(acknowledged) < 50:
            await asyncio.sleep(0.01)
        await doomed.end(signal.SIGKILL)
        await flooding
        await client.close()
    async with database.transaction() as db:
        query = text("SELECT count(*) FROM message WHERE conversation_id = :c AND id = ANY (:ids)")
        stored = await db.scalar(query, {"c": conversation, "ids": [UUID(i) for i in acknowledged]})
        total = await db.scalar(text("SELECT count(*) FROM message WHERE conversation_id = :c"), {"c": conversation})
    assert stored == len(acknowledged) >= 50
    # The one that was under way may be there, without having been acknowledged.
    assert total in (stored, stored + 1)
    await assert_gap_free(database, conversation, total)


@pytest.mark.promise("C3")
async def test_message_of_a_process_that_died_before_publishing_is_published_by_the_worker(
    left: Node, right: Node, people: People, own_settings: Settings, database: Database, own_redis: Redis
) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    lanes = Lanes("chat", own_settings.database_url.get_secret_value(), LANES)
    dying = Writer(lanes, Clock(), lambda _conversation, _stored: None)
    async with left.client(bob, conversation) as near, right.client(bob, conversation) as far:
        await dying.send(UUID(conversation), ann.id, content="committed, then killed")
        dispatcher = Dispatcher(database, own_redis, Clock())
        async with asyncio.timeout(20):
            while not near.events(f"c:{conversation}") or not far.events(f"c:{conversation}"):
                await dispatcher.step()
                await asyncio.sleep(0.05)
        assert near.events(f"c:{conversation}") == far.events(f"c:{conversation}")
    await lanes.close()


@pytest.mark.promise("C67")
async def test_sigterm_says_goaway_and_answers_what_was_begun(
    own_settings: Settings, left: Node, people: People
) -> None:
    [ann] = await people(1)
    conversation = await left.group(ann)
    async with process(own_settings) as (node, ending):
        client = ChatClient(node.socket_url)
        await client.open()
        await client.hello(ann.token)
        answers = [(await client.ask("send", f"c:{conversation}", {"content": f"{n}"}))[1] for n in range(100)]
        await answers[0]
        await ending.end(signal.SIGTERM)
        closed = await client.until_closed()
        assert closed.code == 4000
        goaway = await client.push("goaway")
        assert goaway["d"]["code"] == 4000
        assert 0 < goaway["d"]["retry_ms"] <= 5000
        acknowledged = [a.result()["seq"] for a in answers if not a.cancelled() and a.exception() is None]
        await client.close()
    page = (await left.call(ann, "GET", f"/conversations/{conversation}/messages?limit=100")).json()
    stored = {message["seq"] for message in page["results"]}
    assert set(acknowledged) <= stored


@pytest.mark.promise("C67", "G37")
async def test_half_closed_socket_is_told_to_come_back(left: Node, people: People) -> None:
    """A gateway that stops hangs up its half; the client behind it still reads."""
    [ann] = await people(1)
    conversation = await left.group(ann)
    url = urlsplit(left.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    hello = {"op": "hello", "i": 1, "d": {"v": 1, "token": ann.token}}
    send = {"op": "send", "i": 2, "s": f"c:{conversation}", "d": {"content": "the last word"}}
    for frame in (hello, send):
        text_ = json.dumps(frame).encode()
        # A mask of zeros changes nothing.
        writer.write(b"\x81\xfe" + len(text_).to_bytes(2, "big") + bytes(4) + text_)
    await reader.readuntil(b"hb_ms")
    writer.write_eof()
    async with asyncio.timeout(20):
        said = await reader.read()
    writer.close()
    assert b"goaway" in said
    assert said.endswith((4000).to_bytes(2, "big") + b"the server restarts")
    # What was begun is finished first.
    page = (await left.call(ann, "GET", f"/conversations/{conversation}/messages")).json()
    assert [message["content"] for message in page["results"]] == ["the last word"]
    async with asyncio.timeout(20):
        while left.context.hub.users.get(ann.id):
            await asyncio.sleep(0.05)


@pytest.mark.promise("C49")
async def test_reader_that_stops_costs_bounded_memory_and_nobody_else(
    left: Node, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob, cid = await people(3)
    conversation = await left.group(ann, bob, cid)
    async with left.client(bob, conversation) as stalled, left.client(cid, conversation) as lively:
        stalled.socket.transport.pause_reading()
        session = next(iter(left.context.hub.users[bob.id]))
        count = 0
        while not session.closed:
            await left.context.writer.send(UUID(conversation), ann.id, content="x" * 9_000)
            count += 1
            assert session.backlog_bytes <= backlog.MAX_BYTES
            assert count < 5_000
        assert session.backlog_bytes == 0
        await lively.until(complete(conversation, count), patience=30)
        assert lively.gaps == []
        stalled.socket.transport.resume_reading()
        assert (await stalled.until_closed(patience=30)).code == 4008
        assert (await stalled.push("goaway"))["d"]["code"] == 4008
        # It comes back and misses nothing.
        position = stalled.positions[f"c:{conversation}"]
    async with left.client(bob, resume={f"c:{conversation}": position}) as again:
        outcome = again.welcome["streams"][f"c:{conversation}"]
        assert outcome["top"] == count + 1


@pytest.mark.promise("C49")
async def test_typing_is_dropped_first_for_a_slow_reader(left: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    async with left.client(bob, conversation) as client:
        session = next(iter(left.context.hub.users[bob.id]))
        session.block()
        for _ in range(60):
            session.push(b"x" * 5_000)
        before = session.backlog_bytes
        session.push_ephemeral(b"typing")
        assert session.backlog_bytes == before > backlog.MAX_BYTES // 4
        client.abort()


async def test_sockets_that_vanish_disturb_nobody(left: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await left.group(ann, bob, cid)
    async with left.client(cid, conversation) as steady:
        talking = asyncio.create_task(talk(left, ann, conversation, 300, pause=0.001))

        async def come_and_go(number: int) -> None:
            while not talking.done():
                async with left.client(bob, conversation) as client:
                    with contextlib.suppress(TimeoutError):
                        await client.push("message.new", patience=1)
                    if number % 2:
                        client.abort()

        await asyncio.gather(*map(come_and_go, range(6)), talking)
        await steady.until(complete(conversation, 300))
        assert (steady.gaps, steady.duplicates) == ([], 0)


async def test_everything_is_forgotten_when_sockets_are_gone(left: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    here = left.context.hub
    for ending in ("close", "abort") * 3:
        async with left.client(bob, conversation) as client:
            if ending == "abort":
                client.abort()
    async with asyncio.timeout(10):
        while bob.id in here.users:
            await asyncio.sleep(0.01)
    assert not any(session.user_id == bob.id for session in here.sessions)
    assert not here.streams[UUID(conversation)].subscribers
    assert not any(session.user_id == bob.id for slot in here._wheel for session in slot)
