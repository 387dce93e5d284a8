"""Members who are away are named to whoever notifies them, once."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.domain import dispatch, presence
from libs.clock import Clock
from libs.db import Database
from tests.chat.conftest import People
from tests.chat.files import change, uploaded
from tests.chat.nodes import Node


async def sent(database: Database, conversation: str) -> list[dict[str, Any]]:
    async with database.transaction() as db:
        query = text(
            "SELECT data FROM outbox WHERE type = 'MessageSent' AND data ->> 'conversation_id' = :c ORDER BY id"
        )
        return list((await db.scalars(query, {"c": conversation})).all())


async def settle(database: Database, redis: Redis, conversation: str) -> list[dict[str, Any]]:
    """What is said about a conversation once nothing of it waits any more."""
    dispatcher = dispatch.Dispatcher(database, redis, Clock())
    # What other tests have left behind comes first, and may be thousands of events.
    async with asyncio.timeout(60):
        while True:
            await dispatcher.step()
            async with database.transaction() as db:
                query = text("SELECT count(*) FROM dispatch WHERE conversation_id = :c")
                if not await db.scalar(query, {"c": conversation}):
                    return await sent(database, conversation)
            await asyncio.sleep(0.05)


async def test_who_is_away_is_named_and_who_is_there_is_not(
    one: Node, two: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    async with two.client(bob):
        said = await one.say(ann, conversation, "x" * 300)
        [event] = await settle(database, redis, conversation)
    assert event["away"] == [str(cid.id)]
    assert event["message_id"] == said["id"]
    assert (event["seq"], event["excerpt"], event["conversation_name"]) == (1, "x" * 200, "Team")
    assert (event["sender_id"], event["sender_name"]) == (str(ann.id), "User")


async def test_who_has_left_the_socket_is_away(one: Node, people: People, database: Database, redis: Redis) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(bob), one.client(bob):
        pass
    async with one.client(bob):
        await one.say(ann, conversation, "seen")
        assert await settle(database, redis, conversation) == []
    async with asyncio.timeout(10):
        while not await presence.away(redis, [bob.id]):
            await asyncio.sleep(0.02)
    await one.say(ann, conversation, "not seen")
    [event] = await settle(database, redis, conversation)
    assert event["excerpt"] == "not seen"


async def test_events_name_few_people_each(
    one: Node, people: People, database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_AT_ONCE", 3)
    ann, *others = await people(8)
    conversation = await one.group(ann, *others)
    await one.say(ann, conversation, "all")
    events = await settle(database, redis, conversation)
    assert sorted(len(event["away"]) for event in events) == [1, 3, 3]
    assert {user for event in events for user in event["away"]} == {str(p.id) for p in others}


async def test_connections_of_a_dead_process_count_for_nothing_and_are_removed(redis: Redis) -> None:
    user, other = uuid4(), uuid4()
    await redis.hset(f"pu:{user}", "conn", "dead-node")
    await redis.hset(f"pu:{other}", mapping={"a": "dead-node", "b": "live-node"})
    await redis.set("pn:live-node", 1, ex=30)
    assert await presence.away(redis, [user, other]) == {user}
    assert await redis.exists(f"pu:{user}") == 0
    assert await redis.hgetall(f"pu:{other}") == {b"b": b"live-node"}


async def test_presence_is_written_again_after_redis_has_forgotten(one: Node, people: People, redis: Redis) -> None:
    [ann] = await people(1)
    async with one.client(ann):
        node = one.context.presence._node
        await redis.delete(f"pu:{ann.id}", f"pn:{node}")
        async with asyncio.timeout(10):
            while await presence.away(redis, [ann.id]):
                await asyncio.sleep(0.05)


async def test_several_workers_share_the_work(one: Node, people: People, database: Database, redis: Redis) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await asyncio.gather(*(one.context.writer.send(UUID(conversation), ann.id, content=f"{n}") for n in range(100)))
    workers = [dispatch.Dispatcher(database, redis, Clock()) for _ in range(4)]
    await asyncio.gather(*(worker.step() for worker in workers))
    events = await settle(database, redis, conversation)
    assert sorted(event["seq"] for event in events) == list(range(1, 101))


async def test_a_log_that_was_cut_by_hand_holds_nobody_up(
    one: Node, people: People, database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await settle(database, redis, conversation)
    monkeypatch.setattr(dispatch, "_BATCH", 2)
    for content in ("lost", "lost too", "kept"):
        said = await one.say(ann, conversation, content)
    async with database.transaction() as db:
        query = "DELETE FROM event WHERE conversation_id = :c AND message_id <> :m"
        await db.execute(text(query), {"c": conversation, "m": said["id"]})
    [event] = await settle(database, redis, conversation)
    assert event["excerpt"] == "kept"


@pytest.mark.promise("C17")
async def test_of_a_reply_in_a_thread_its_followers_are_told_and_who_is_named(
    one: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob, cid, dan = await people(4)
    conversation = await one.group(ann, bob, cid, dan)
    root = await one.say(ann, conversation, "root")
    await settle(database, redis, conversation)
    await one.say(bob, conversation, "aside", thread_root_id=root["id"], mentions={"user_ids": [str(cid.id)]})
    await one.say(bob, conversation, "aloud", thread_root_id=root["id"], also_in_conversation=True)
    [_, aside, aloud] = await settle(database, redis, conversation)
    assert set(aside["away"]) == {str(ann.id), str(cid.id)}
    assert set(aloud["away"]) == {str(ann.id), str(cid.id), str(dan.id)}


async def test_nobody_is_told_of_what_is_deleted_before_its_turn(
    one: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "too fast", mentions={"all": True})
    await change(database, "message", "id = :id", {"id": said["id"]}, deleted_at=Clock().now(), content="")
    assert await settle(database, redis, conversation) == []


async def test_who_has_blocked_the_sender_is_not_told(
    one: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    async with database.transaction() as db:
        query = text("INSERT INTO block (user_id, blocked_id, created_at) VALUES (:bob, :ann, :now)")
        await db.execute(query, {"bob": bob.id, "ann": ann.id, "now": Clock().now()})
    await one.say(ann, conversation, "hello", mentions={"user_ids": [str(bob.id)]})
    [event] = await settle(database, redis, conversation)
    assert (event["away"], event["mentioned"]) == ([str(cid.id)], [])


async def test_of_a_message_without_words_the_file_is_named(
    one: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "", attachments=[await uploaded(database, ann, "image", name="sea.png")])
    [event] = await settle(database, redis, conversation)
    assert event["excerpt"] == "sea.png"
