"""The server says how far streams have come, so a client finds out by itself that it missed something."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from chat_service.domain.log import Log
from parley_client.sockets import ChatClient, Frame
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, Person, running
from tests.chat.test_backpressure import not_reading, session_of


@pytest.fixture(scope="module")
async def quick(settings_for: SettingsFor) -> AsyncIterator[Node]:
    """A process with a short heartbeat."""
    async with running(settings_for(heartbeat_seconds=1, idle_seconds=600)) as node:
        yield node


class Forgetful(ChatClient):
    """Overlooks one event, as if it had been lost on the way."""

    overlooked = "lost"

    async def _take(self, frame: Frame) -> None:
        if frame.get("t") == "message.new" and frame["d"]["content"] == self.overlooked:
            self.overlooked = ""
        else:
            await super()._take(frame)


async def forgetful(node: Node, person: Person, stream: str) -> Forgetful:
    client = Forgetful(node.socket_url)
    await client.open()
    await client.hello(person.token)
    await client.sub(stream)
    return client


@pytest.mark.promise("C43", "C44")
async def test_client_that_lost_the_last_event_learns_of_it_with_the_heartbeat(quick: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await quick.group(ann, bob)
    stream = f"c:{conversation}"
    client = await forgetful(quick, bob, stream)
    await quick.say(ann, conversation, "heard")
    await quick.say(ann, conversation, "lost")
    await client.until(lambda c: any(p["t"] == "pos" and p["d"]["tops"].get(stream) == [1, 3] for p in c.pushes))
    assert client.positions[stream] == (1, 2)
    await client.request("unsub", data={"streams": [stream]})
    outcome = (await client.sub(resume={stream: client.positions[stream]}))[stream]
    assert (outcome["recovered"], outcome["n"]) == (True, 1)
    await client.push("message.new", content="lost")
    await client.close()


@pytest.mark.promise("C44")
async def test_tops_cost_no_question_to_anybody(quick: Node, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = await people(2)
    conversation = await quick.group(ann, bob)
    async with quick.client(bob, conversation) as client:
        await quick.say(ann, conversation, "a word")
        await client.push("message.new")

        async def asked(*_: object) -> None:
            raise AssertionError("PostgreSQL was asked")

        for name in ("tops", "after", "visible_to"):
            monkeypatch.setattr(Log, name, asked)
        assert (await client.push("pos"))["d"]["tops"] == {f"c:{conversation}": [1, 2]}


async def beats(client: ChatClient, count: int) -> None:
    seen = 0
    original = client._take

    async def counted(frame: Frame) -> None:
        nonlocal seen
        seen += frame.get("t") == "hb"
        await original(frame)

    client._take = counted  # type: ignore[method-assign]
    async with asyncio.timeout(20):
        while seen < count:
            await client._arrived.wait()
            client._arrived.clear()


@pytest.mark.promise("C44")
async def test_streams_without_a_change_are_not_named(quick: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation, quiet = await quick.group(ann, bob), await quick.group(ann, bob)
    async with quick.client(bob, conversation, quiet) as client:
        await quick.say(ann, conversation, "a word")
        tops = (await client.push("pos"))["d"]["tops"]
        assert f"c:{quiet}" not in tops
        await beats(client, 4)
        count = len([p for p in client.pushes if p["t"] == "pos"])
        await beats(client, 2)
        assert len([p for p in client.pushes if p["t"] == "pos"]) == count


@pytest.mark.promise("C44")
async def test_slow_reader_is_not_told_of_what_still_waits_for_it(quick: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await quick.group(ann, bob)
    async with quick.client(bob, conversation) as client:
        session = session_of(quick, bob)
        async with not_reading(client, session):
            await quick.say(ann, conversation, "waits")
            now = asyncio.get_running_loop().time()
            session.heard = now + 100
            session.visit(now + 100, 0)
        await client.push("message.new", content="waits")
        first = next(p["t"] for p in client.pushes if p["t"] in ("pos", "message.new"))
        assert first == "message.new"
