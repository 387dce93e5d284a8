"""What chat tells the audit log."""

from typing import Any

import pytest
from sqlalchemy import text

from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person
from tests.chat.test_blocks import block, unblock
from tests.chat.test_flags import change
from tests.chat.test_roles import add, give


async def told(database: Database, *people: Person) -> list[dict[str, Any]]:
    """Of what these people did, in order."""
    async with database.transaction() as db:
        query = text("SELECT data FROM outbox WHERE type = 'Audited' AND data ->> 'actor_id' = ANY (:ids) ORDER BY id")
        return list(await db.scalars(query, {"ids": [str(p.id) for p in people]}))


@pytest.mark.promise("C58")
async def test_who_let_in_raised_and_removed_whom(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann)
    await add(one, ann, conversation, bob)
    await give(one, ann, conversation, bob, "moderator")
    await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    entries = await told(database, ann)
    assert [e["action"] for e in entries] == [
        "conversation.created",
        "member.added",
        "member.role_changed",
        "member.removed",
    ]
    assert [e["subject_id"] for e in entries[2:]] == [str(bob.id)] * 2
    assert {e["data"]["conversation"] for e in entries} == {conversation}
    assert all(e["request_id"] for e in entries)


async def test_settings_and_blocks_without_a_word(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "private words")
    await change(one, ann, conversation, name="private words", slow_seconds=5)
    await block(one, ann, bob)
    await unblock(one, ann, bob)
    entries = await told(database, ann)
    assert [e["action"] for e in entries[1:]] == ["conversation.changed", "block.added", "block.removed"]
    assert entries[1]["data"]["fields"] == ["name", "slow_seconds"]
    assert "private words" not in str(entries)


async def test_what_is_refused_leaves_no_entry(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await give(one, bob, conversation, ann, "member")
    await change(one, bob, conversation, name="Mine")
    assert await told(database, bob) == []


async def test_staff_in_somebodys_place_is_named(
    one: Node, people: People, database: Database, issue_token: Any
) -> None:
    ann, boss = await people(2)
    ann.token = issue_token(ann.id, act={"sub": str(boss.id)})
    await one.group(ann)
    assert [e["action"] for e in await told(database, boss)] == ["conversation.created"]


async def test_who_deletes_what_others_wrote_is_named_and_the_words_are_not(
    one: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    theirs, own = await one.say(bob, conversation, "private words"), await one.say(ann, conversation, "mine")
    for message in (theirs, own):
        assert (await one.call(ann, "DELETE", f"/messages/{message['id']}")).status_code == 204
    [entry] = [e for e in await told(database, ann) if e["action"] == "message.deleted"]
    assert (entry["subject_id"], entry["data"]["message_id"]) == (str(bob.id), theirs["id"])
    assert "private words" not in str(entry)
