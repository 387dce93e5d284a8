"""Finding messages by their words."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from chat_service.domain.dispatch import Dispatcher
from libs.clock import Clock
from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person

Index = Any


@pytest.fixture
async def indexed(one: Node, database: Database) -> Index:
    """`await indexed()`: the worker has looked at everything."""
    dispatcher = Dispatcher(database, one.context.redis, Clock())

    async def work() -> None:
        async with asyncio.timeout(60):
            while True:
                await dispatcher.step()
                async with database.transaction() as db:
                    if not await db.scalar(text("SELECT EXISTS (SELECT 1 FROM dispatch)")):
                        return
                await asyncio.sleep(0.05)

    return work


async def found(node: Node, person: Person, **query: Any) -> list[str]:
    answer = await node.call(person, "GET", "/search", params=query)
    assert answer.status_code == 200, answer.text
    return [message["content"] for message in answer.json()["results"]]


async def changed(database: Database, message: dict[str, Any], kind: str, assignments: str) -> None:
    """As a change of the message is stored."""
    values = {"c": message["conversation_id"], "m": message["id"]}
    async with database.transaction() as db:
        query = "UPDATE conversation SET event_seq = event_seq + 1 WHERE id = :c RETURNING event_seq"
        seq = await db.scalar(text(query), values)
        await db.execute(text(f"UPDATE message SET {assignments} WHERE conversation_id = :c AND id = :m"), values)
        event = "INSERT INTO event SELECT :c, :q, :kind, :m, sender_id, NULL, now() FROM message WHERE id = :m"
        await db.execute(text(event), {**values, "q": seq, "kind": kind})
        await db.execute(
            text("INSERT INTO dispatch (conversation_id, event_seq) VALUES (:c, :q)"), {**values, "q": seq}
        )


@pytest.mark.promise("C63")
async def test_words_are_found_without_regard_to_case_and_accents(one: Node, people: People, indexed: Index) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    for content in ("The Café is open", "cafe closed", "something else"):
        await one.say(bob, conversation, content)
    await indexed()
    assert await found(one, ann, q="CAFE") == ["cafe closed", "The Café is open"]
    assert await found(one, ann, q="open café") == ["The Café is open"]
    assert await found(one, ann, q="caf") == []


@pytest.mark.promise("C63")
async def test_others_conversations_are_not_searched(one: Node, people: People, indexed: Index) -> None:
    ann, eve = await people(2)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "topsecret plan")
    await indexed()
    assert await found(one, ann, q="topsecret") == ["topsecret plan"]
    assert await found(one, eve, q="topsecret") == []
    answer = await one.call(eve, "GET", "/search", params={"q": "topsecret", "in": conversation})
    assert answer.status_code == 404


@pytest.mark.promise("C63")
async def test_who_was_removed_finds_nothing_more(one: Node, people: People, indexed: Index) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "quarterly")
    await indexed()
    assert await found(one, bob, q="quarterly") == ["quarterly"]
    await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    assert await found(one, bob, q="quarterly") == []


@pytest.mark.promise("C63")
async def test_newcomers_find_no_more_than_they_may_read(
    one: Node, people: People, database: Database, indexed: Index
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "budget before")
    async with database.transaction() as db:
        await db.execute(text("UPDATE conversation SET history = 'since_joining' WHERE id = :c"), {"c": conversation})
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(bob.id)]})
    await one.say(ann, conversation, "budget after")
    await indexed()
    assert await found(one, ann, q="budget") == ["budget after", "budget before"]
    assert await found(one, bob, q="budget") == ["budget after"]


@pytest.mark.promise("C63")
async def test_deleted_and_hidden_messages_are_not_found_from_that_moment_on(
    one: Node, people: People, database: Database, indexed: Index
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    deleted, hidden = [await one.say(ann, conversation, f"umbrella {n}") for n in range(2)]
    await indexed()
    async with database.transaction() as db:
        await db.execute(
            text("UPDATE message SET deleted_at = now() WHERE conversation_id = :c AND id = :m"),
            {"c": conversation, "m": deleted["id"]},
        )
        await db.execute(
            text("INSERT INTO hidden_message VALUES (:u, :c, :m, now())"),
            {"u": bob.id, "c": conversation, "m": hidden["id"]},
        )
    assert await found(one, ann, q="umbrella") == ["umbrella 1"]
    assert await found(one, bob, q="umbrella") == []


@pytest.mark.promise("C63")
async def test_edited_message_is_found_by_its_new_words_and_a_deleted_one_leaves_the_index(
    one: Node, people: People, database: Database, indexed: Index
) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    said = await one.say(ann, conversation, "giraffe")
    await indexed()
    await changed(database, said, "message.edited", "content = 'elephant', version = 2")
    await indexed()
    assert await found(one, ann, q="giraffe") == []
    assert await found(one, ann, q="elephant") == ["elephant"]
    await changed(database, said, "message.deleted", "content = '', version = 3, deleted_at = now()")
    assert await found(one, ann, q="elephant") == []
    await indexed()
    async with database.transaction() as db:
        count = "SELECT count(*) FROM message_search WHERE message_id = :m"
        assert await db.scalar(text(count), {"m": said["id"]}) == 0


@pytest.mark.promise("C64")
async def test_one_or_two_characters_of_chinese_japanese_and_korean_are_enough(
    one: Node, people: People, indexed: Index
) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    for content in ("明日東京で会議", "東の空、京の都", "회의는 내일", "meeting"):
        await one.say(ann, conversation, content)
    await indexed()
    assert await found(one, ann, q="東") == ["東の空、京の都", "明日東京で会議"]
    assert await found(one, ann, q="東京") == ["明日東京で会議"]
    assert await found(one, ann, q="会議") == ["明日東京で会議"]
    assert await found(one, ann, q="東京で会") == ["明日東京で会議"]
    assert await found(one, ann, q="회의") == ["회의는 내일"]


async def test_long_runs_and_quoted_words_must_stand_as_they_do(one: Node, people: People, indexed: Index) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    for content in ("one two three", "three two one", "100% sure_thing", "100x surething", "甲乙丙 乙丙丁", "甲乙丙丁"):
        await one.say(ann, conversation, content)
    await indexed()
    assert await found(one, ann, q='"one two"') == ["one two three"]
    assert await found(one, ann, q='"100%"') == ["100% sure_thing"]
    assert await found(one, ann, q="甲乙丙丁") == ["甲乙丙丁"]


@pytest.mark.promise("C63")
async def test_filters(one: Node, people: People, indexed: Index) -> None:
    ann, bob = await people(2)
    here, there = await one.group(ann, bob), await one.group(ann, bob)
    await one.say(ann, here, "pelican one")
    await one.say(bob, here, "pelican two https://example.com/a")
    late = await one.say(bob, there, "pelican three")
    await indexed()
    assert await found(one, ann, q="pelican", **{"in": here}) == ["pelican two https://example.com/a", "pelican one"]
    assert await found(one, ann, q="pelican", **{"from": str(ann.id)}) == ["pelican one"]
    assert await found(one, ann, has="link") == ["pelican two https://example.com/a"]
    assert await found(one, ann, q="pelican", has="file") == []
    assert await found(one, ann, q="pelican", after=late["created_at"]) == []
    assert len(await found(one, ann, q="pelican", before=late["created_at"])) == 2
    assert await found(one, ann, q="pelican", **{"in": there, "from": str(ann.id)}) == []


async def test_pages_lead_through_everything_once(one: Node, people: People, indexed: Index) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    for number in range(7):
        await one.context.writer.send(UUID(conversation), ann.id, content=f"walrus {number}")
    await indexed()
    path, seen = "/api/v1/search?q=walrus&limit=3", []
    while path:
        page = (await one.http.get(path, headers=ann.headers)).json()
        seen += [message["content"] for message in page["results"]]
        path = page["next"]
    assert seen == [f"walrus {number}" for number in reversed(range(7))]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"q": "!!!"},
        {"q": " "},
        {"q": "a" * 201},
        {"q": " ".join(f"w{n}" for n in range(40))},
        {"q": "x", "in": "nonsense"},
        {"q": "x", "has": "anything"},
        {"q": "x", "before": "2026-01-01"},
        {"q": "x", "cursor": "garbage"},
        {"q": "x\x00"},
    ],
)
async def test_bad_queries_are_refused(one: Node, people: People, query: dict[str, Any]) -> None:
    [ann] = await people(1)
    assert (await one.call(ann, "GET", "/search", params=query)).status_code == 422


@pytest.mark.parametrize("q", ["'", "\\", "a' | 'b", "a & !b", "x:*", "%", "_x", '"%"', "')--", "\u202e\ufeffx"])
async def test_no_words_break_the_query(one: Node, people: People, q: str) -> None:
    [ann] = await people(1)
    assert (await one.call(ann, "GET", "/search", params={"q": q})).status_code in (200, 422)


async def test_any_text_can_be_indexed(one: Node, people: People, indexed: Index) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    mark = uuid4().hex
    long = " ".join(f"{n:x}" for n in range(2000))
    for content in (f"{mark} '\\''", f"{mark} {'漢字' * 4000}", f"{mark} {'x' * 9000}", f"{mark} {long}", f"{mark} \\"):
        await one.say(ann, conversation, content[:9990])
    await indexed()
    assert len(await found(one, ann, q=mark)) == 5
