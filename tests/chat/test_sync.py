"""What changed while a client was away, in one round trip."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from libs.db import Database
from libs.testing.clock import FakeClock
from parley_client import Refused
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, Person, running

Since = dict[str, tuple[int, int]]


async def synced(node: Node, person: Person, since: Since | None = None, token: str | None = None) -> Any:
    body = {"since": since or {}, "token": token}
    answer = await node.call(person, "POST", "/conversations/changes", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def position(node: Node, person: Person, conversation: str) -> tuple[int, int]:
    read = (await node.call(person, "GET", f"/conversations/{conversation}")).json()
    return read["epoch"], read["event_seq"]


@pytest.mark.promise("C47")
async def test_only_what_changed_is_named_with_what_a_list_shows(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversations = [await one.group(ann, bob) for _ in range(3)]
    since = {f"c:{c}": await position(one, ann, c) for c in conversations}
    said = await one.say(bob, conversations[1], "while away")
    [changed] = (await synced(one, ann, since))["changed"]
    last = changed.pop("last")
    assert changed == {
        "s": f"c:{conversations[1]}",
        "top": 2,
        "epoch": 1,
        "n": 1,
        "mentions": 0,
        "last_read_seq": 0,
    }
    assert (last["id"], last["content"], last["sender_name"]) == (said["id"], "while away", "User")


@pytest.mark.promise("C47")
async def test_same_over_the_socket(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(bob, conversation, "hello")
    async with one.client(ann) as client:
        over_socket = await client.request("sync", data={"since": {f"c:{conversation}": [1, 1]}})
    over_http = await synced(one, ann, {f"c:{conversation}": (1, 1)})
    del over_socket["token"], over_http["token"]
    assert over_socket == over_http
    assert len(over_http["changed"]) == 1


@pytest.mark.promise("C47")
async def test_what_is_not_ones_own_any_more_is_gone(one: Node, people: People) -> None:
    ann, bob = await people(2)
    left, stays = await one.group(ann, bob), await one.group(ann, bob)
    since = {f"c:{c}": await position(one, bob, c) for c in (left, stays)} | {f"c:{uuid4()}": (1, 1)}
    await one.call(ann, "DELETE", f"/conversations/{left}/members/{bob.id}")
    answer = await synced(one, bob, since)
    assert set(answer["gone"]) == set(since) - {f"c:{stays}"}
    assert answer["changed"] == []


async def test_without_a_position_everything_is_named(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversations = {f"c:{await one.group(ann, bob)}" for _ in range(3)}
    answer = (await one.call(ann, "GET", "/conversations/changes")).json()
    assert {c["s"] for c in answer["changed"]} == conversations
    assert (answer["gone"], answer["hidden"], answer["more"]) == ([], [], False)


def _token_of(person: Person, issue_token: Callable[..., str], clock: FakeClock) -> None:
    now = int(clock.seconds())
    person.token = issue_token(person.id, iat=now, nbf=now, exp=now + 900, iat_ms=now * 1000)


@pytest.mark.promise("C47")
async def test_token_of_last_week_names_what_changed_since(
    people: People, settings_for: SettingsFor, issue_token: Callable[..., str], database: Database
) -> None:
    [ann] = await people(1)
    clock = FakeClock()
    async with running(settings_for(sync_rate=10_000), clock) as node:
        _token_of(ann, issue_token, clock)
        quiet, read, busy, edited = [await node.group(ann) for _ in range(4)]
        await node.say(ann, edited, "first")
        hidden = await node.say(ann, quiet, "to be hidden")
        clock.advance(600)
        token = (await node.call(ann, "GET", "/conversations/changes")).json()["token"]
        clock.advance(timedelta(days=7).total_seconds())
        _token_of(ann, issue_token, clock)
        await node.say(ann, busy, "new")
        await node.call(ann, "PATCH", f"/conversations/{edited}", json={"name": "renamed"})
        async with database.transaction() as db:
            values = {"u": ann.id, "now": clock.now()}
            await db.execute(
                text("UPDATE member SET touched_at = :now WHERE conversation_id = :c AND user_id = :u"),
                {**values, "c": read},
            )
            await db.execute(
                text("INSERT INTO hidden_message VALUES (:u, :c, :m, :now)"),
                {**values, "c": quiet, "m": hidden["id"]},
            )
        answer = (await node.call(ann, "GET", f"/conversations/changes?token={token}")).json()
        assert {c["s"] for c in answer["changed"]} == {f"c:{c}" for c in (read, busy, edited)}
        assert answer["hidden"] == [hidden["id"]]
        clock.advance(timedelta(days=31).total_seconds())
        _token_of(ann, issue_token, clock)
        old = (await node.call(ann, "GET", f"/conversations/changes?token={token}")).json()
        assert len(old["changed"]) == 4


async def test_last_message_that_one_may_not_see_is_not_shown(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "before bob")
    async with database.transaction() as db:
        await db.execute(text("UPDATE conversation SET history = 'since_joining' WHERE id = :c"), {"c": conversation})
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(bob.id)]})
    [changed] = (await synced(one, bob))["changed"]
    assert changed["last"] is None


@pytest.mark.promise("C47")
async def test_a_thousand_conversations_in_one_answer(one: Node, people: People, database: Database) -> None:
    [ann] = await people(1)
    ids = [uuid4() for _ in range(1001)]
    async with database.transaction() as db:
        await db.execute(
            text(
                "INSERT INTO conversation (id, type, created_by, member_count, event_seq, created_at, updated_at)"
                " SELECT id, 'group', :ann, 1, 1, now(), now() FROM unnest(CAST(:ids AS uuid[])) AS i(id)"
            ),
            {"ids": ids, "ann": ann.id},
        )
        await db.execute(
            text(
                "INSERT INTO member (conversation_id, user_id, role, joined_seq, last_read_seq, joined_at)"
                " SELECT id, :ann, 'owner', 0, 0, now() FROM unnest(CAST(:ids AS uuid[])) AS i(id)"
            ),
            {"ids": ids, "ann": ann.id},
        )
    async with one.client(ann) as client:
        answer = await client.request("sync", data={})
        assert (len(answer["changed"]), answer["more"]) == (1000, True)
        same = {f"c:{c}": (1, 1) for c in ids[:1000]}
        answer = await client.request("sync", data={"since": same})
        assert [c["s"] for c in answer["changed"]] == [f"c:{ids[1000]}"]


@pytest.mark.parametrize(
    "data",
    [
        {"since": {"c:nonsense": [1, 1]}},
        {"since": {f"c:{UUID(int=1)}": [1]}},
        {"since": {f"c:{UUID(int=1)}": [1, -1]}},
        {"since": {f"c:{UUID(int=1)}": [1, 2**70]}},
        {"since": "all"},
        {"token": "garbage"},
        {"token": "WzEsInR3byJd"},
        {"token": "WzEsOTIyMzM3MjAzNjg1NDc3NTgwN10"},
        {"token": 7},
    ],
)
async def test_bad_requests_are_refused(one: Node, people: People, data: dict[str, Any]) -> None:
    [ann] = await people(1)
    answer = await one.call(ann, "POST", "/conversations/changes", json=data)
    assert answer.status_code in (404, 422), answer.text
    async with one.client(ann) as client:
        with pytest.raises(Refused, match=r"validation_error|not_found"):
            await client.request("sync", data=data)


@pytest.mark.promise("C61")
async def test_asking_too_often_is_refused(settings_for: SettingsFor, people: People) -> None:
    [ann] = await people(1)
    async with running(settings_for(sync_rate=2)) as node, node.client(ann) as client:
        asked = [client.request("sync", data={}) for _ in range(10)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Refused)]
        assert refused
        assert all((r.code, r.error["retry_ms"] > 0) == ("rate_limited", True) for r in refused)
