"""Readers that do not keep up: what they are told, what they lose for now, and how they come back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from chat_service.domain import backlog, frames
from chat_service.domain.sessions import Session
from parley_client.sockets import ChatClient, Refused
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person, complete

_LONG = "x" * 9_000


def session_of(node: Node, person: Person) -> Session:
    return next(iter(node.context.hub.users[person.id]))


@contextlib.asynccontextmanager
async def not_reading(client: ChatClient, session: Session) -> AsyncIterator[None]:
    """The client takes nothing, so the server's buffers are full from the first packet on."""
    client.socket.transport.pause_reading()
    filler = frames.notice("filler", words="x" * 100_000)
    while not session.blocked:
        session.wire.write(filler)
        await asyncio.sleep(0)
    yield
    client.socket.transport.resume_reading()


async def crowd(node: Node, person: Person, conversation: str, session: Session) -> int:
    """Says so much that half of the room is taken, or would be."""
    said = 0
    while said * len(_LONG) < backlog.CROWDED_BYTES + 100_000 and not session.closed:
        await node.context.writer.send(UUID(conversation), person.id, content=_LONG)
        said += 1
    return said


@pytest.mark.promise("C50")
async def test_stream_out_of_focus_becomes_one_resync_and_is_caught_up_with_later(one: Node, people: People) -> None:
    ann, bob = await people(2)
    open_one, other = await one.group(ann, bob), await one.group(ann, bob)
    async with one.client(bob, open_one, other) as client:
        await client.request("focus", data={"streams": [f"c:{open_one}"]})
        session = session_of(one, bob)
        async with not_reading(client, session):
            said = await crowd(one, ann, other, session)
            await one.say(ann, open_one, "seen at once")
            assert session.backlog_bytes < backlog.CROWDED_BYTES
        await client.push("message.new", content="seen at once")
        [resync] = [p for p in client.pushes if p["t"] == "resync"]
        assert resync["s"] == f"c:{other}"
        assert resync["d"]["epoch"] == 1
        assert not client.events(f"c:{other}")
        position = client.positions[f"c:{other}"]
        outcome = (await client.sub(resume={f"c:{other}": position}))[f"c:{other}"]
        assert (outcome["recovered"], outcome["n"]) == (True, said)
        await client.until(complete(other, said))
        await one.say(ann, other, "and on")
        await client.push("message.new", content="and on")
        assert (client.gaps, client.duplicates) == ([], 0)


@pytest.mark.promise("C50")
async def test_nothing_of_a_stream_comes_behind_its_resync(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(bob, conversation) as client:
        await client.request("focus", data={"streams": []})
        session = session_of(one, bob)
        async with not_reading(client, session):
            said = await crowd(one, ann, conversation, session)
        resync = await client.push("resync")
        assert resync["d"]["top"] <= said + 1
        await one.say(ann, conversation, "unheard")
        await client.request("ping")
        assert client.events(f"c:{conversation}") == []


@pytest.mark.promise("C50")
async def test_quiet_stream_out_of_focus_loses_nothing_to_a_loud_one(one: Node, people: People) -> None:
    ann, bob = await people(2)
    loud, quiet = await one.group(ann, bob), await one.group(ann, bob)
    async with one.client(bob, loud, quiet) as client:
        await client.request("focus", data={"streams": []})
        session = session_of(one, bob)
        async with not_reading(client, session):
            await one.say(ann, quiet, "a word")
            await crowd(one, ann, loud, session)
        await client.push("message.new", content="a word")
        assert [p["s"] for p in client.pushes if p["t"] == "resync"] == [f"c:{loud}"]


@pytest.mark.promise("C50")
async def test_client_that_never_says_focus_is_never_told_to_resync(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(bob, conversation) as client:
        session = session_of(one, bob)
        async with not_reading(client, session):
            said = await crowd(one, ann, conversation, session)
        await client.until(complete(conversation, said))
        assert client.gaps == []


@pytest.mark.promise("C49")
async def test_half_full_for_ten_seconds_is_closed_to_be_reconnected(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(bob, conversation) as client:
        session = session_of(one, bob)
        async with not_reading(client, session):
            await crowd(one, ann, conversation, session)
            now = asyncio.get_running_loop().time()
            session.visit(now, 0)
            assert not session.closed
            session.heard = now + 11
            session.visit(now + 11, 0)
            assert session.closed
        assert (await client.until_closed()).code == 4008


@pytest.mark.promise("C49")
async def test_of_receipts_the_latest_of_each_member_waits_for_a_slow_reader(one: Node, people: People) -> None:
    ann, bob, cid, dan = await people(4)
    conversation = await one.group(ann, bob, cid, dan)
    for number in range(6):
        await one.say(ann, conversation, str(number))
    async with one.client(bob, conversation) as client, one.client(ann, conversation) as witness:
        async with not_reading(client, session_of(one, bob)):
            for reader, seq in ((dan, 1), (cid, 2), (cid, 4), (cid, 6)):
                await one.call(reader, "POST", f"/conversations/{conversation}/read", json={"seq": seq})
                await told(witness, reader, seq)
        await client.until(lambda c: len(receipts(c)) == 2)
        await one.say(ann, conversation, "the last")
        await client.push("message.new", content="the last")
    assert receipts(client) == [{str(dan.id): 1}, {str(cid.id): 6}]


async def told(client: ChatClient, reader: Person, seq: int) -> None:
    await client.until(lambda c: {str(reader.id): seq} in receipts(c))


def receipts(client: ChatClient) -> list[dict[str, int]]:
    said = [p["d"]["members"] for p in client.pushes if p["t"] == "receipt"]
    return [{user: marks["read"] for user, marks in members.items()} for members in said]


@pytest.mark.promise("C49")
async def test_slow_readers_and_resyncs_are_counted(one: Node, people: People) -> None:
    def value(name: str) -> float:
        return REGISTRY.get_sample_value(name) or 0.0

    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    before = value("parley_chat_resyncs_total")
    async with one.client(bob, conversation) as client:
        await client.request("focus", data={"streams": []})
        session = session_of(one, bob)
        async with not_reading(client, session):
            await crowd(one, ann, conversation, session)
        await client.push("resync")
    assert value("parley_chat_resyncs_total") == before + 1


@pytest.mark.parametrize("streams", [None, 1, "c:x", {}, [1], ["x"] * 65])
async def test_impossible_focus_is_refused(one: Node, people: People, streams: object) -> None:
    [ann] = await people(1)
    async with one.client(ann) as client:
        with pytest.raises(Refused) as refused:
            await client.request("focus", data={"streams": streams})
    assert refused.value.code == "validation_error"


@pytest.mark.promise("C50")
async def test_focus_may_be_said_with_hello(one: Node, people: People) -> None:
    [ann] = await people(1)
    stream = f"c:{await one.group(ann)}"
    client = ChatClient(one.socket_url)
    await client.open()
    data = {"v": 1, "token": ann.token, "focus": [stream], "device": "phone", "caps": ["batch"]}
    await client.request("hello", data=data)
    assert session_of(one, ann).focus == {stream}
    await client.close()


@pytest.mark.parametrize("said", [{"focus": "c:x"}, {"device": 7}, {"device": "x" * 65}])
async def test_hello_with_an_impossible_part_is_malformed(one: Node, people: People, said: dict[str, object]) -> None:
    [ann] = await people(1)
    client = ChatClient(one.socket_url)
    await client.open()
    await client.ask("hello", data={"v": 1, "token": ann.token, **said})
    assert (await client.until_closed()).code == 4500
    await client.close()


@pytest.mark.promise("C49")
async def test_buffer_below_the_backlog_is_bounded_as_well(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(bob, conversation) as client:
        session = session_of(one, bob)
        client.socket.transport.pause_reading()
        most = 0
        while not session.closed:
            await one.context.writer.send(UUID(conversation), ann.id, content=_LONG)
            most = max(most, session.wire.transport.get_write_buffer_size())  # type: ignore[attr-defined]
        assert 0 < most < 200_000
        client.abort()


@pytest.mark.promise("C49", "C70")
async def test_what_waits_for_slow_readers_is_measured(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(bob, conversation) as client:
        async with not_reading(client, session_of(one, bob)):
            await one.say(ann, conversation, _LONG)
            async with asyncio.timeout(20):
                while (REGISTRY.get_sample_value("parley_chat_backlog_bytes") or 0) < len(_LONG):
                    await asyncio.sleep(0.05)
        await client.push("message.new")
