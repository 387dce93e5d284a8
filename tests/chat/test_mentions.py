"""Mentions: who may name whom, and that everybody named hears of it once."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.domain import dispatch
from libs.clock import Clock
from libs.db import Database
from parley_client.sockets import Refused
from tests.chat.conftest import People, SettingsFor
from tests.chat.files import change
from tests.chat.nodes import Node, Person, running
from tests.chat.test_dispatch import sent, settle

pytestmark = pytest.mark.promise("C20")


def ids(*people: Person) -> list[str]:
    return [str(person.id) for person in people]


async def mentioned(database: Database, conversation: str) -> list[tuple[UUID, int]]:
    async with database.transaction() as db:
        query = text("SELECT user_id, seq FROM mention WHERE conversation_id = :c")
        return [(row.user_id, row.seq) for row in await db.execute(query, {"c": conversation})]


async def test_message_shows_whom_it_names(one: Node, people: People, database: Database) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    said = await one.say(ann, conversation, "you two", mentions={"user_ids": ids(cid, bob)})
    assert said["mentions"] == {"user_ids": ids(cid, bob), "all": False, "here": False}
    assert (await one.call(ann, "GET", f"/messages/{said['id']}")).json() == said
    assert set(await mentioned(database, conversation)) == {(bob.id, 1), (cid.id, 1)}


async def test_naming_oneself_is_no_mention(one: Node, people: People, database: Database) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "me", mentions={"user_ids": ids(ann)})
    assert await mentioned(database, conversation) == []


async def test_only_members_can_be_named_and_not_too_many(one: Node, people: People, database: Database) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    path = f"/conversations/{conversation}/messages"
    for wrong in (ids(eve), ids(bob, eve), [str(uuid4())], ids(bob, bob), [str(uuid4()) for _ in range(51)], ["bob"]):
        body = {"content": "x", "mentions": {"user_ids": wrong}}
        answer = await one.call(ann, "POST", path, json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"].startswith("mentions.user_ids")
        async with one.client(ann) as client:
            with pytest.raises(Refused) as refused:
                await client.request("send", f"c:{conversation}", body)
        assert refused.value.error["errors"][0]["field"] == "mentions.user_ids"
    assert await mentioned(database, conversation) == []


@pytest.mark.parametrize("whom", ["all", "here"])
@pytest.mark.parametrize(
    ("kind", "role", "may"),
    [
        ("group", "owner", True),
        ("group", "moderator", True),
        ("group", "member", True),
        ("group", "guest", False),
        ("channel", "moderator", True),
    ],
)
async def test_not_everybody_may_mention_all(
    one: Node, people: People, database: Database, *, whom: str, kind: str, role: str, may: bool
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob, kind=kind)
    await change(database, "member", "user_id = :id", {"id": bob.id}, role=role)
    body = {"content": "everybody", "mentions": {whom: True}}
    answer = await one.call(bob, "POST", f"/conversations/{conversation}/messages", json=body)
    assert answer.status_code == (201 if may else 403)
    assert may or answer.json()["code"] == "may_not_mention_all"


async def test_too_large_a_conversation_cannot_be_mentioned(people: People, settings_for: SettingsFor) -> None:
    ann, bob, cid = await people(3)
    async with running(settings_for(mention_all_max=2)) as node:
        small, large = await node.group(ann, bob), await node.group(ann, bob, cid)
        await node.say(ann, small, "all", mentions={"all": True})
        body = {"content": "all", "mentions": {"all": True}}
        answer = await node.call(ann, "POST", f"/conversations/{large}/messages", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "too_many_to_mention")


async def test_who_is_away_hears_that_it_was_a_mention(
    one: Node, two: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob, cid, dan = await people(4)
    conversation = await one.group(ann, bob, cid, dan)
    async with two.client(dan):
        await one.say(ann, conversation, "bob", mentions={"user_ids": ids(bob, dan)})
        [event] = await settle(database, redis, conversation)
    assert (set(event["away"]), event["mentioned"]) == ({*ids(bob, cid)}, ids(bob))


async def test_all_reaches_everybody_and_here_who_is_online(
    one: Node, two: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    async with two.client(bob):
        await one.say(ann, conversation, "here", mentions={"here": True})
        [here] = await settle(database, redis, conversation)
        await one.say(ann, conversation, "all", mentions={"all": True})
        [_, everybody] = await settle(database, redis, conversation)
    assert (here["away"], here["mentioned"], everybody["mentioned"]) == (ids(cid), [], ids(cid))
    assert sorted(await mentioned(database, conversation)) == sorted([(bob.id, 1), (bob.id, 2), (cid.id, 2)])
    overview = (await one.call(cid, "GET", "/conversations/unread")).json()
    assert overview["mentions"] == 1


async def test_newcomers_are_not_mentioned_by_what_was_said_before(
    one: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "between us", mentions={"all": True})
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": ids(cid)})
    [event] = await settle(database, redis, conversation)
    assert event["away"] == event["mentioned"] == ids(bob)
    assert await mentioned(database, conversation) == [(bob.id, 1)]


async def test_mentions_are_told_once_when_workers_die_in_between(
    one: Node, people: People, database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_AT_ONCE", 2)
    ann, *others = await people(6)
    conversation = await one.group(ann, *others)
    for number in range(3):
        await one.say(ann, conversation, f"{number}", mentions={"all": True, "user_ids": ids(others[0])})
    add, calls = dispatch.outbox.add_all, 0

    async def dying(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        done = await add(*args)
        if calls in (1, 3):
            raise asyncio.CancelledError
        return done

    monkeypatch.setattr(dispatch.outbox, "add_all", dying)

    async def work() -> None:
        async with asyncio.timeout(60):
            while True:
                await dispatch.Dispatcher(database, redis, Clock()).step()

    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await work()
    assert await sent(database, conversation) == []
    await asyncio.gather(*(dispatch.Dispatcher(database, redis, Clock()).step() for _ in range(3)))
    events = await settle(database, redis, conversation)
    told = sorted((event["seq"], user) for event in events for user in event["mentioned"])
    assert told == sorted((seq, user) for seq in (1, 2, 3) for user in ids(*others))
    assert len(await mentioned(database, conversation)) == 15


async def test_mentions_of_a_message_sent_again_are_those_of_the_first_time(
    one: Node, two: Node, people: People, database: Database, redis: Redis
) -> None:
    ann, bob, cid = await people(3)
    conversation, key = await one.group(ann, bob, cid), str(uuid4())
    await asyncio.gather(
        *(
            node.say(ann, conversation, "x", client_msg_id=key, mentions={"user_ids": ids(bob)})
            for node in (one, two) * 5
        )
    )
    [event] = await settle(database, redis, conversation)
    assert event["mentioned"] == ids(bob)
    assert await mentioned(database, conversation) == [(bob.id, 1)]


def changed(**columns: Any) -> Callable[[Database, Person], Any]:
    return lambda database, person: change(database, "member", "user_id = :id", {"id": person.id}, **columns)


@pytest.mark.parametrize(
    ("how", "plain", "named"),
    [
        (changed(notify="all"), True, True),
        (changed(notify="mentions"), False, True),
        (changed(notify="none"), False, False),
        (changed(muted_until=datetime(2100, 1, 1, tzinfo=UTC)), False, False),
        (changed(muted_until=datetime(2000, 1, 1, tzinfo=UTC)), True, True),
    ],
    ids=["all", "mentions", "none", "muted", "muted once"],
)
async def test_nobody_is_told_what_they_do_not_want_to_hear(
    one: Node,
    people: People,
    database: Database,
    redis: Redis,
    *,
    how: Callable[[Database, Person], Any],
    plain: bool,
    named: bool,
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await how(database, bob)
    await one.say(ann, conversation, "plain")
    await one.say(ann, conversation, "named", mentions={"user_ids": ids(bob)})
    events = await settle(database, redis, conversation)
    assert [event["excerpt"] for event in events] == ["plain"] * plain + ["named"] * named
