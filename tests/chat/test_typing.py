"""Who is typing."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import text

from chat_service.domain import typing
from libs.db import Database
from parley_client.sockets import ChatClient, Refused
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, Person, running


def said(client: ChatClient, person: Person) -> list[bool]:
    return [p["d"]["on"] for p in client.pushes if p["t"] == "typing" and p["d"]["user_id"] == str(person.id)]


async def tell(client: ChatClient, conversation: str, *, on: bool = True) -> None:
    assert await client.request("typing", f"c:{conversation}", {"on": on}) == {}


async def heard(node: Node, owner: Person, conversation: str, listener: ChatClient, person: Person) -> list[bool]:
    """What was heard before a message that was sent afterwards by the same process."""
    await node.say(owner, conversation, "the end")
    await listener.push("message.new", content="the end")
    return said(listener, person)


@pytest.mark.promise("C37")
async def test_others_hear_it_on_every_process(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(ann, conversation) as typist, two.client(bob, conversation) as listener:
        await tell(typist, conversation)
        await listener.until(lambda c: said(c, ann) == [True])
        await tell(typist, conversation, on=False)
        await listener.until(lambda c: said(c, ann) == [True, False])


@pytest.mark.promise("C37")
async def test_who_falls_silent_has_stopped(
    one: Node, two: Node, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert typing.EXPIRY_SECONDS <= 6
    monkeypatch.setattr(typing, "EXPIRY_SECONDS", 0.2)
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with two.client(bob, conversation) as listener:
        async with one.client(ann, conversation) as typist:
            await tell(typist, conversation)
        await listener.until(lambda c: said(c, ann) == [True, False])


@pytest.mark.promise("C37")
async def test_more_often_than_every_two_seconds_is_dropped(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    loop = asyncio.get_running_loop()
    async with one.client(ann, conversation) as typist, two.client(bob, conversation) as listener:
        began = loop.time()
        for _ in range(5):
            await tell(typist, conversation)
        most = 1 + (loop.time() - began) // 2
        assert 1 <= len(await heard(one, ann, conversation, listener, ann)) <= most


@pytest.mark.promise("C37")
async def test_nothing_of_it_is_stored(one: Node, two: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(ann, conversation) as typist, two.client(bob, conversation) as listener:
        await tell(typist, conversation)
        await listener.until(lambda c: said(c, ann) == [True])
    async with database.transaction() as db:
        query = text("SELECT event_seq FROM conversation WHERE id = :c")
        assert await db.scalar(query, {"c": conversation}) == 1
    async with two.client(bob, resume={f"c:{conversation}": (1, 1)}) as late:
        assert await heard(one, ann, conversation, late, ann) == []


@pytest.mark.promise("C37")
async def test_in_a_large_conversation_nobody_hears_it(settings_for: SettingsFor, two: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    conversation = await two.group(ann, bob, carol)
    async with (
        running(settings_for(typing_max_members=2)) as small,
        small.client(ann, conversation) as typist,
        two.client(bob, conversation) as listener,
    ):
        await tell(typist, conversation)
        assert await heard(small, ann, conversation, listener, ann) == []


@pytest.mark.promise("C37")
async def test_who_may_not_post_does_not_type(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob, kind="channel")
    async with one.client(bob, conversation) as typist, two.client(ann, conversation) as listener:
        await tell(typist, conversation)
        assert await heard(one, ann, conversation, listener, bob) == []


@pytest.mark.promise("C37")
async def test_a_block_ends_it_both_ways_at_once(one: Node, two: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob, kind="direct")
    async with one.client(bob, conversation) as blocked, one.client(ann, conversation) as blocker:
        await tell(blocked, conversation)
        await tell(blocker, conversation)
        await blocker.until(lambda c: said(c, ann) == said(c, bob) == [True])
        async with database.transaction() as db:
            query = text("UPDATE member SET barred = true WHERE conversation_id = :c AND user_id = :u")
            await db.execute(query, {"c": conversation, "u": bob.id})
        typing.forget_everywhere(two.context.hub, UUID(conversation))
        stream = one.context.hub.streams[UUID(conversation)]
        async with asyncio.timeout(30):
            while typing.of(stream).may:
                await asyncio.sleep(0.01)
        for client in (blocked, blocker):
            await tell(client, conversation, on=False)
        assert await heard(two, ann, conversation, blocker, bob) == [True]
        assert said(blocked, ann) == [True]


async def test_only_who_follows_the_conversation_types(one: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    for person in (bob, eve):
        async with one.client(person) as client:
            with pytest.raises(Refused) as refused:
                await client.request("typing", f"c:{conversation}", {"on": True})
            assert refused.value.code == "not_subscribed"


async def test_who_was_removed_types_no_more(one: Node, two: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    conversation = await one.group(ann, bob, carol)
    async with one.client(bob, conversation) as typist, two.client(carol, conversation) as listener:
        await two.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
        await typist.push("gone")
        with pytest.raises(Refused):
            await typist.request("typing", f"c:{conversation}", {"on": True})
        assert await heard(one, ann, conversation, listener, bob) == []
