"""Who has blocked whom, and what that ends."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import text

from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person
from tests.chat.test_contacts import write_to
from tests.chat.test_interests import ask, befriend, events


async def block(node: Node, by: Person, whom: Person | UUID) -> int:
    user_id = whom.id if isinstance(whom, Person) else whom
    return (await node.call(by, "PUT", f"/blocks/{user_id}")).status_code


async def unblock(node: Node, by: Person, whom: Person) -> int:
    return (await node.call(by, "DELETE", f"/blocks/{whom.id}")).status_code


async def post(node: Node, person: Person, conversation: str, content: str = "Hello") -> int:
    path = f"/conversations/{conversation}/messages"
    return (await node.call(person, "POST", path, json={"content": content})).status_code


@pytest.mark.promise("C57")
async def test_who_is_blocked_does_not_get_through(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = (await write_to(one, ann, bob)).json()["id"]
    assert await block(one, ann, bob) == 204
    assert [await post(node, bob, conversation) for node in (one, two)] == [403, 403]
    assert (await one.call(bob, "GET", f"/conversations/{conversation}")).json()["permissions"]["can_post"] is False
    assert await unblock(one, ann, bob) == 204
    assert await post(two, bob, conversation) == 201


@pytest.mark.promise("C57")
async def test_neither_begins_anything_with_the_other(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    await block(one, ann, bob)

    for by, to in ((ann, bob), (bob, ann)):
        refused = await write_to(one, by, to)
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")
        assert (await ask(one, by, to)).status_code == 404

    assert await unblock(one, ann, bob) == 204
    assert (await write_to(one, bob, ann)).status_code == 201
    assert [e["blocked"] for e in await events(database, "BlockChanged", ann, bob)] == [True, False]


@pytest.mark.promise("C57")
async def test_who_is_blocked_lets_the_other_in_nowhere(one: Node, people: People) -> None:
    ann, bob = await people(2)
    await block(one, ann, bob)
    group = await one.group(bob)
    body = {"user_ids": [str(ann.id)]}
    assert (await one.call(bob, "POST", f"/conversations/{group}/members", json=body)).status_code == 422
    made = {"conversation_type": "group", "participants": [str(ann.id)]}
    assert (await one.call(bob, "POST", "/conversations", json=made)).status_code == 422


@pytest.mark.promise("C57")
async def test_a_block_ends_what_they_were_to_each_other(one: Node, people: People, database: Database) -> None:
    ann, bob, cid = await people(3)
    conversation = (await befriend(one, ann, bob))["conversation_id"]
    await ask(one, cid, ann)
    await block(one, ann, bob)
    await block(one, ann, cid)
    assert (await one.call(ann, "GET", "/contacts")).json()["results"] == []
    assert (await events(database, "InterestChanged", ann, bob))[-1]["status"] == "withdrawn"
    assert (await events(database, "InterestChanged", ann, cid))[-1]["status"] == "withdrawn"
    await unblock(one, ann, bob)
    assert (await one.call(bob, "GET", "/contacts")).json()["results"] == []
    assert await post(one, bob, conversation) == 201


async def test_blocking_twice_is_blocking_once(one: Node, two: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    assert await asyncio.gather(*(block(node, ann, bob) for node in (one, two, one, two))) == [204] * 4
    assert len(await events(database, "BlockChanged", ann, bob)) == 1
    assert [await unblock(one, ann, bob) for _ in range(2)] == [204, 204]
    assert len(await events(database, "BlockChanged", ann, bob)) == 2


async def test_a_list_is_ones_own(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    await block(one, ann, bob)
    await block(one, ann, cid)
    page = (await one.call(ann, "GET", "/blocks?limit=1")).json()
    rest = (await one.http.get(page["next"], headers=ann.headers)).json()
    listed = {b["user"]["id"] for b in page["results"] + rest["results"]}
    assert listed == {str(bob.id), str(cid.id)}
    assert (await one.call(bob, "GET", "/blocks")).json()["results"] == []


async def test_nobody_and_oneself_are_not_blocked(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    assert await block(one, ann, ann) == 422
    async with database.transaction() as db:
        await db.execute(text("UPDATE profile SET erased = true WHERE user_id = :u"), {"u": bob.id})
    assert await block(one, ann, bob) == 404


@pytest.mark.promise("C57")
async def test_a_message_on_its_way_is_in_before_the_block_or_not_at_all(
    one: Node, two: Node, people: People, database: Database
) -> None:
    """It has looked whether its sender may write, and waits for the conversation while that changes."""
    ann, bob = await people(2)
    conversation = (await write_to(one, ann, bob)).json()["id"]
    async with database.transaction() as db:
        held = text("SELECT 1 FROM conversation WHERE id = :c FOR UPDATE")
        await db.execute(held, {"c": conversation})
        sending = asyncio.create_task(post(two, bob, conversation))
        await waiting(database)
        bar = text("UPDATE member SET barred = true WHERE conversation_id = :c AND user_id = :u")
        await db.execute(bar, {"c": conversation, "u": bob.id})
    assert await sending == 403


async def waiting(database: Database) -> None:
    """Until a statement waits for a lock."""
    async with asyncio.timeout(10):
        while True:
            async with database.transaction() as db:
                if await db.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                    return
            await asyncio.sleep(0.01)


@pytest.mark.promise("C57")
async def test_after_the_answer_nothing_gets_in(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = (await write_to(one, ann, bob)).json()["id"]
    sends = [asyncio.create_task(post(two, bob, conversation, str(n))) for n in range(20)]
    await block(one, ann, bob)
    shown = (await one.call(ann, "GET", f"/conversations/{conversation}/messages?limit=100")).json()["results"]
    accepted = [status for status in await asyncio.gather(*sends) if status == 201]
    assert len(accepted) == len(shown)
    assert await post(two, bob, conversation) == 403


@pytest.mark.promise("C57")
async def test_typing_does_not_pass(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = (await write_to(one, ann, bob)).json()["id"]
    stream = f"c:{conversation}"
    async with one.client(ann, conversation) as hers, two.client(bob, conversation) as his:
        await his.request("typing", stream, {"on": True})
        await hers.push("typing")
        await block(one, ann, bob)
        before = len([f for f in hers.pushes if f.get("t") == "typing"])
        await his.request("typing", stream, {"on": True})
        await one.say(ann, conversation, "You are silent")
        await hers.push("message.new")
        assert len([f for f in hers.pushes if f.get("t") == "typing" and f["d"]["on"]]) <= before
