"""The newest page of a conversation, from Redis while that is right."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.domain import recent
from deploy.local.servers import ValkeyServer
from libs.db import Database
from libs.metrics import QUERIES
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person
from tests.freezing import frozen


async def newest(node: Node, person: Person, conversation: str, limit: int = 100) -> tuple[list[dict[str, Any]], str]:
    return await recent.newest(node.context.recent, person.id, UUID(conversation), limit)


async def listed(node: Node, person: Person, conversation: str, query: str = "") -> Any:
    answer = await node.call(person, "GET", f"/conversations/{conversation}/messages{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.promise("C66")
async def test_second_read_comes_from_redis_and_is_the_same(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    for number in range(3):
        await one.say(ann, conversation, f"{number}")
    first, source = await newest(one, ann, conversation)
    again, second_source = await newest(two, bob, conversation)
    assert (source, second_source) == ("database", "redis")
    assert again == first
    assert [m["content"] for m in again] == ["2", "1", "0"]


@pytest.mark.promise("C66")
async def test_page_from_redis_is_the_page_from_the_database(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = [await one.say(ann, conversation, f'"{n}"\n\\') for n in range(4)]
    await one.say(bob, conversation, "quoting", reply_to=said[0]["id"])
    await listed(one, ann, conversation)
    assert (await newest(one, ann, conversation))[1] == "redis"
    page = await listed(one, ann, conversation, "?limit=3")
    by_number = await listed(one, ann, conversation, "?limit=3&before=6")
    assert page["results"] == by_number["results"]
    assert page["next"] == by_number["next"]
    older = (await one.http.get(page["next"], headers=ann.headers)).json()
    assert [m["seq"] for m in older["results"]] == [2, 1]
    assert older["next"] is None


@pytest.mark.promise("C66")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE message SET content = 'edited', version = 2 WHERE conversation_id = :c AND seq = 1",
        "UPDATE message SET content = '', deleted_at = now() WHERE conversation_id = :c AND seq = 1",
        "UPDATE message SET reactions = CAST('{\"+1\": 1}' AS jsonb) WHERE conversation_id = :c AND seq = 1",
    ],
)
async def test_change_is_seen_by_the_next_read_everywhere(
    one: Node, two: Node, people: People, database: Database, change: str
) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "first")
    await one.say(ann, conversation, "second")
    before = [await newest(node, ann, conversation) for node in (one, two)]
    async with database.transaction() as db:
        await db.execute(text("UPDATE conversation SET event_seq = event_seq + 1 WHERE id = :c"), {"c": conversation})
        await db.execute(text(change), {"c": conversation})
    after = [await listed(node, ann, conversation) for node in (one, two)]
    assert after[0]["results"] == after[1]["results"] != before[1][0]


@pytest.mark.promise("C66")
async def test_new_name_of_a_sender_is_seen_by_the_next_read(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(bob, conversation, "hello")
    await listed(one, ann, conversation)
    async with database.transaction() as db:
        await db.execute(
            text("UPDATE profile SET display_name = 'Robert', version = version + 1 WHERE user_id = :u"), {"u": bob.id}
        )
    [message] = (await listed(one, ann, conversation))["results"]
    assert message["sender"]["display_name"] == "Robert"


async def test_who_is_no_member_reads_nothing_from_it(one: Node, people: People) -> None:
    ann, eve = await people(2)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "secret")
    await listed(one, ann, conversation)
    assert (await one.call(eve, "GET", f"/conversations/{conversation}/messages")).status_code == 404


async def test_removed_member_reads_nothing_from_it(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "secret")
    await listed(one, bob, conversation)
    await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    assert (await one.call(bob, "GET", f"/conversations/{conversation}/messages")).status_code == 404


async def test_who_joined_later_sees_no_more_from_it_than_the_policy_allows(
    one: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "before bob")
    async with database.transaction() as db:
        await db.execute(text("UPDATE conversation SET history = 'since_joining' WHERE id = :c"), {"c": conversation})
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(bob.id)]})
    assert (await listed(one, bob, conversation))["results"] == []
    await one.say(ann, conversation, "after bob")
    assert [m["content"] for m in (await listed(one, ann, conversation))["results"]] == ["after bob", "before bob"]
    page = await listed(one, bob, conversation)
    assert [m["content"] for m in page["results"]] == ["after bob"]
    assert page["next"] is None


async def test_hidden_message_is_missing_for_who_hid_it_alone(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = [await one.say(ann, conversation, f"{n}") for n in range(3)]
    async with database.transaction() as db:
        await db.execute(
            text("INSERT INTO hidden_message VALUES (:u, :c, :m, now())"),
            {"u": bob.id, "c": conversation, "m": said[1]["id"]},
        )
    assert [m["seq"] for m in (await listed(one, ann, conversation))["results"]] == [3, 2, 1]
    assert [m["seq"] for m in (await listed(one, bob, conversation))["results"]] == [3, 1]
    assert [m["seq"] for m in (await listed(one, bob, conversation, "?limit=1"))["results"]] == [3]


async def test_empty_conversation_is_kept_too(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    assert await newest(one, ann, conversation) == ([], "database")
    assert await newest(one, ann, conversation) == ([], "redis")


async def test_more_than_a_hundred_are_paged_on(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    for number in range(103):
        await one.context.writer.send(UUID(conversation), ann.id, content=f"{number}")
    page = await listed(one, ann, conversation, "?limit=100")
    assert [m["seq"] for m in page["results"]] == list(range(103, 3, -1))
    older = (await one.http.get(page["next"], headers=ann.headers)).json()
    assert [m["seq"] for m in older["results"]] == [3, 2, 1]


async def test_garbage_and_what_an_older_release_wrote_are_read_anew(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "hello")
    key = recent._key(UUID(conversation))
    for blob in (b"garbage", b"[]", b'{"a":1}', b'[0,1,2,1,[],"0"]\n{}', b"[1]", b"\xff"):
        await one.context.redis.set(key, blob)
        found, source = await newest(one, ann, conversation)
        assert ([m["content"] for m in found], source) == (["hello"], "database"), blob


@pytest.mark.promise("C66")
async def test_without_redis_the_database_answers(
    left: Node, own_valkey: ValkeyServer, own_redis: Redis, people: People
) -> None:
    [ann] = await people(1)
    conversation = await left.group(ann)
    await left.say(ann, conversation, "hello")
    await newest(left, ann, conversation)
    assert (await newest(left, ann, conversation))[1] == "redis"
    await own_redis.flushall()
    assert [m["content"] for m in (await newest(left, ann, conversation))[0]] == ["hello"]
    with frozen(own_valkey):
        found, source = await newest(left, ann, conversation)
    assert ([m["content"] for m in found], source) == (["hello"], "database")


async def test_readers_of_one_moment_read_the_database_once(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "hello")
    before = QUERIES.labels("chat")._value.get()
    found = await asyncio.gather(*(newest(one, ann, conversation) for _ in range(20)))
    assert all([m["content"] for m in messages] == ["hello"] for messages, _ in found)
    # One each for the membership; what goes on beside the test may add a few.
    assert QUERIES.labels("chat")._value.get() - before < 30


async def test_reader_who_comes_as_an_older_read_has_just_ended_reads_anew(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    shown = one.context.recent
    older = asyncio.ensure_future(shown._fill(UUID(conversation)))
    await older
    await one.say(ann, conversation, "hello")
    # As it is between the end of a task and what is called at its end.
    shown._filling[UUID(conversation)] = older  # type: ignore[assignment]  # a task, as there
    async with asyncio.timeout(30):
        found, _ = await newest(one, ann, conversation)
    assert [m["content"] for m in found] == ["hello"]


async def test_readers_amid_writers_never_see_an_older_page_than_they_knew(
    one: Node, two: Node, people: People
) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)

    async def write() -> None:
        for number in range(1, 31):
            await one.context.writer.send(UUID(conversation), ann.id, content=f"{number}")
            found, _ = await newest(two if number % 2 else one, ann, conversation)
            assert found[0]["seq"] == number

    async def read() -> None:
        seen = 0
        for _ in range(60):
            found, _ = await newest(two, ann, conversation)
            top = found[0]["seq"] if found else 0
            assert top >= seen
            assert [m["seq"] for m in found] == list(range(top, 0, -1))
            seen = top

    await asyncio.gather(write(), read(), read())
