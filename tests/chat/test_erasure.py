"""Of somebody whose account is gone nothing stays but an id."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.domain import erasure
from chat_service.worker import HANDLERS
from libs.clock import Clock
from libs.contracts.accounts import Profile, UserDeleted, UserUpdated
from libs.contracts.events import Event, EventData
from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person, assert_gap_free
from tests.chat.test_dispatch import settle


async def hear(database: Database, data: EventData) -> None:
    event = Event(
        id=uuid4(),
        type=data.type,
        producer="auth",
        position=1,
        occurred_at=Clock().now(),
        data=data.model_dump(mode="json"),
    )
    async with database.transaction() as db:
        await HANDLERS[data.type](db, event)


async def erase(database: Database, person: Person) -> None:
    """As the worker does: once it hears of it, and twice, for events are heard again after a crash."""
    for _ in range(2):
        await hear(database, UserDeleted(user_id=person.id))
        await erasure.work(database, Clock())


async def pair(one: Node, ann: Person, bob: Person) -> str:
    body = {"conversation_type": "direct", "participants": [str(bob.id)]}
    conversation: str = (await one.call(ann, "POST", "/conversations", json=body)).json()["id"]
    return conversation


async def read(one: Node, person: Person, path: str) -> Any:
    answer = await one.call(person, "GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.promise("C62")
async def test_words_and_names_go_and_numbers_stay(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(bob, conversation, "a secret")
    await one.say(ann, conversation, "what?", reply_to=said["id"])
    await erase(database, bob)
    answer = await one.call(ann, "GET", f"/conversations/{conversation}/messages")
    assert "a secret" not in answer.text
    assert bob.name not in answer.text
    newest, oldest = answer.json()["results"]
    assert (newest["content"], newest["reply_to"]["content"]) == ("what?", "")
    assert (oldest["seq"], oldest["content"], oldest["sender"]["id"]) == (1, "", str(bob.id))
    assert oldest["sender"]["display_name"] == "Deleted account"
    await assert_gap_free(database, conversation, 2)


@pytest.mark.promise("C62")
async def test_what_was_written_where_one_is_no_longer_goes_too(
    one: Node, people: People, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_CHUNK", 3)
    ann, bob = await people(2)
    conversations = [await one.group(ann, bob) for _ in range(5)]
    for conversation in conversations:
        await one.say(bob, conversation, "a secret")
        await one.call(bob, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    await erase(database, bob)
    for conversation in conversations:
        assert (await read(one, ann, f"/conversations/{conversation}/messages"))["results"][0]["content"] == ""


@pytest.mark.promise("C62")
async def test_others_keep_what_they_wrote(one: Node, people: People, database: Database) -> None:
    ann, bob, cid = await people(3)
    conversation, elsewhere = await one.group(ann, bob, cid), await one.group(ann, cid)
    await one.say(cid, conversation, "mine")
    await one.say(ann, elsewhere, "too")
    await erase(database, bob)
    assert (await read(one, ann, f"/conversations/{conversation}/messages"))["results"][0]["content"] == "mine"
    assert (await read(one, cid, f"/conversations/{elsewhere}/messages"))["results"][0]["content"] == "too"
    shown = await read(one, cid, f"/conversations/{conversation}")
    assert {p["username"] for p in shown["participants"]} == {ann.name, cid.name}
    assert (shown["member_count"], shown["status"]) == (2, "active")


async def test_a_group_gets_another_owner(one: Node, people: People, database: Database) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(bob, ann, cid)
    async with database.transaction() as db:
        values = {"id": UUID(conversation), "user": cid.id}
        await db.execute(
            text("UPDATE member SET role = 'admin' WHERE conversation_id = :id AND user_id = :user"), values
        )
    await erase(database, bob)
    assert (await read(one, cid, f"/conversations/{conversation}"))["role"] == "owner"
    assert (await read(one, ann, f"/conversations/{conversation}"))["role"] == "member"


async def test_the_other_of_two_reads_and_writes_no_more(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await pair(one, ann, bob)
    await one.say(ann, conversation, "Hello?")
    await erase(database, bob)
    shown = await read(one, ann, f"/conversations/{conversation}")
    assert (shown["status"], shown["last_message"]["content"]) == ("closed", "Hello?")
    assert sorted(p["display_name"] for p in shown["participants"]) == ["Deleted account", "User"]
    answer = await one.call(ann, "POST", f"/conversations/{conversation}/messages", json={"content": "Still there?"})
    assert answer.status_code == 403


async def test_whoever_is_there_hears_of_it(
    one: Node, two: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(bob, ann)
    await one.say(bob, conversation, "a secret")
    async with two.client(ann, conversation) as client:
        await hear(database, UserDeleted(user_id=bob.id))
        await erasure.work(database, Clock())
        await settle(database, redis, conversation)
        await client.push("messages.erased", patience=10)
        kinds = [event["t"] for event in client.events(f"c:{conversation}")]
    assert kinds[-3:] == ["member.removed", "member.changed", "messages.erased"]


async def test_nobody_begins_anything_with_who_is_gone(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    await erase(database, bob)
    body = {"conversation_type": "direct", "participants": [str(bob.id)]}
    answer = await one.call(ann, "POST", "/conversations", json=body)
    assert answer.status_code == 422


async def test_no_name_comes_back(database: Database, people: People) -> None:
    [bob] = await people(1)
    await erase(database, bob)
    await hear(database, UserUpdated(profile=Profile(user_id=bob.id, number=1, username=bob.name, version=9)))
    async with database.transaction() as db:
        query = text("SELECT username FROM profile WHERE user_id = :u")
        assert await db.scalar(query, {"u": bob.id}) == "deleted"


async def test_who_was_never_seen_is_erased_without_failure(database: Database) -> None:
    nobody = uuid4()
    await hear(database, UserDeleted(user_id=nobody))
    await erasure.work(database, Clock())
    async with database.transaction() as db:
        assert await db.scalar(text("SELECT count(*) FROM erasure WHERE user_id = :u"), {"u": nobody}) == 0


@pytest.mark.promise("C62")
async def test_requests_blocks_and_all_that_was_ones_own_go(one: Node, people: People, database: Database) -> None:
    ann, bob, cid = await people(3)
    await one.call(bob, "POST", "/interests", json={"to_user": str(ann.id), "message": "a secret"})
    await one.call(bob, "PUT", f"/blocks/{cid.id}")
    await erase(database, bob)
    assert (await read(one, ann, "/interests"))["results"] == []
    async with database.transaction() as db:
        for table, column in (("interest", "from_user_id"), ("block", "user_id"), ("thread_member", "user_id")):
            found = text(f"SELECT count(*) FROM {table} WHERE {column} = :u")
            assert await db.scalar(found, {"u": bob.id}) == 0, table


@pytest.mark.promise("C62")
async def test_reactions_go_and_those_of_others_stay(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "Good?")
    async with database.transaction() as db:
        row = "INSERT INTO reaction VALUES (:c, :m, :u, 'y', now())"
        for person in (ann, bob):
            await db.execute(text(row), {"c": conversation, "m": said["id"], "u": person.id})
        counted = text(
            """UPDATE message SET reactions = '{"y": 2}', forwarded_from = CAST(:f AS jsonb) WHERE id = :m"""
        )
        origin = {
            "message_id": said["id"],
            "conversation_id": conversation,
            "sender": {"id": str(bob.id), "username": bob.name, "display_name": bob.name, "avatar_url": None},
            "sent_at": "2026-01-01T00:00:00Z",
        }
        await db.execute(counted, {"m": said["id"], "f": json.dumps(origin)})
    await erase(database, bob)
    shown = await read(one, ann, f"/messages/{said['id']}")
    assert shown["reactions"] == [{"emoji": "y", "count": 1}]
    assert shown["forwarded_from"]["sender"]["display_name"] == "Deleted account"
    assert bob.name not in str(shown)
