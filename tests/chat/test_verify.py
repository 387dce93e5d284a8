"""Counting a conversation anew: what is whole is said to be, and every kind of damage is named."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person


@pytest.fixture
def admin(issue_token: Callable[..., str]) -> Person:
    user_id = uuid4()
    return Person(user_id, issue_token(user_id, roles=["admin"]), "admin")


async def verdict(node: Node, admin: Person, conversation: str) -> Any:
    answer = await node.call(admin, "GET", f"/admin/chat/conversations/{conversation}/verify")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def busy(node: Node, ann: Person, bob: Person) -> str:
    conversation = await node.group(ann, bob)
    said = [await node.say(ann, conversation, f"{number}") for number in range(4)]
    await node.say(bob, conversation, "quoting", reply_to=said[0]["id"])
    await node.call(bob, "POST", f"/conversations/{conversation}/read", json={"seq": 3})
    await node.call(ann, "GET", f"/conversations/{conversation}/messages")
    return conversation


@pytest.mark.promise("C71")
async def test_whole_conversation_is_proved(one: Node, people: People, admin: Person) -> None:
    ann, bob = await people(2)
    conversation = await busy(one, ann, bob)
    assert await verdict(one, admin, conversation) == {
        "ok": True,
        "event_seq": 6,
        "message_seq": 5,
        "oldest_event": 1,
        "problems": {},
    }


@pytest.mark.promise("C71")
@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("DELETE FROM event WHERE conversation_id = :c AND seq = 3", "events"),
        ("DELETE FROM event WHERE conversation_id = :c AND seq = 6", "events"),
        ("DELETE FROM message WHERE conversation_id = :c AND seq = 2", "messages"),
        ("DELETE FROM message WHERE conversation_id = :c AND seq = 1", "messages"),
        ("UPDATE conversation SET message_seq = 6, event_seq = 7 WHERE id = :c", "messages"),
        ("UPDATE conversation SET member_count = 7 WHERE id = :c", "members"),
        ("UPDATE member SET last_delivered_seq = 2, last_read_seq = 3 WHERE conversation_id = :c", "watermarks"),
        ("UPDATE member SET last_delivered_seq = 99 WHERE conversation_id = :c", "watermarks"),
        ("UPDATE message SET reactions = '{\"x\": 2}' WHERE conversation_id = :c AND seq = 1", "reactions"),
        ("UPDATE message SET deleted_at = now() WHERE conversation_id = :c AND seq = 1", "deleted"),
        ("UPDATE message SET reply_seq = 4 WHERE conversation_id = :c AND seq = 1", "threads"),
        ("UPDATE message SET content = 'silently' WHERE conversation_id = :c AND seq = 1", "cache"),
    ],
)
async def test_damage_is_named(
    one: Node, people: People, database: Database, admin: Person, damage: str, named: str
) -> None:
    ann, bob = await people(2)
    conversation = await busy(one, ann, bob)
    async with database.transaction() as db:
        # Whatever else works on this database must not stumble over what is broken here.
        await db.execute(text("DELETE FROM dispatch WHERE conversation_id = :c"), {"c": conversation})
        await db.execute(text(damage.replace(":", "\\:").replace("\\:c", ":c")), {"c": conversation})
    said = await verdict(one, admin, conversation)
    assert not said["ok"]
    assert named in said["problems"]


@pytest.mark.promise("C71")
async def test_cut_log_is_no_damage(one: Node, people: People, database: Database, admin: Person) -> None:
    ann, bob = await people(2)
    conversation = await busy(one, ann, bob)
    async with database.transaction() as db:
        for table in ("dispatch WHERE event_seq < 4", "event WHERE seq < 4"):
            await db.execute(text(f"DELETE FROM {table} AND conversation_id = :c"), {"c": conversation})
    said = await verdict(one, admin, conversation)
    assert (said["ok"], said["oldest_event"]) == (True, 4)


async def test_only_administrators_may_ask(one: Node, people: People, issue_token: Callable[..., str]) -> None:
    ann, bob = await people(2)
    conversation = await busy(one, ann, bob)
    for roles in ([], ["support"], ["moderator"]):
        nosy = Person(ann.id, issue_token(ann.id, roles=roles), ann.name)
        answer = await one.call(nosy, "GET", f"/admin/chat/conversations/{conversation}/verify")
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


async def test_what_never_was_is_not_found(one: Node, admin: Person) -> None:
    answer = await one.call(admin, "GET", f"/admin/chat/conversations/{uuid4()}/verify")
    assert answer.status_code == 404


async def test_nothing_of_what_was_written_is_in_the_answer(
    one: Node, people: People, database: Database, admin: Person
) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "very private")
    await one.call(ann, "GET", f"/conversations/{conversation}/messages")
    async with database.transaction() as db:
        await db.execute(
            text("UPDATE message SET content = 'also private' WHERE conversation_id = :c"), {"c": conversation}
        )
    assert (await one.context.recent.kept(UUID(conversation))) is not None
    assert "private" not in str(await verdict(one, admin, conversation))
