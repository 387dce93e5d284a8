"""A copy of what somebody has in chat."""

import json
from typing import Any

import pytest

from chat_service.domain import exports
from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person
from tests.chat.test_blocks import block
from tests.chat.test_interests import befriend, events


async def copy(node: Node, person: Person) -> tuple[int, list[dict[str, Any]]]:
    answer = await node.call(person, "GET", "/conversations/export")
    return answer.status_code, [json.loads(line) for line in answer.text.splitlines()]


def of(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line["data"] for line in lines if line["kind"] == kind]


@pytest.mark.promise("C62")
async def test_a_copy_has_all_that_is_ones_own(one: Node, people: People, database: Database) -> None:
    ann, bob, cid = await people(3)
    left, stays = await one.group(ann, bob), await one.group(bob, ann)
    await one.say(bob, left, "where I left")
    await one.call(bob, "DELETE", f"/conversations/{left}/members/{bob.id}")
    await one.say(bob, stays, "where I stay")

    await befriend(one, ann, bob)
    await block(one, bob, cid)
    status, lines = await copy(one, bob)
    assert (status, lines[-1]) == (200, {"kind": "end", "lines": len(lines) - 1})
    assert {m["content"] for m in of(lines, "message")} == {"where I left", "where I stay"}
    assert [p["username"] for p in of(lines, "profile")] == [bob.name]
    assert stays in {c["id"] for c in of(lines, "conversation")}
    assert [i["status"] for i in of(lines, "interest")] == ["accepted"]
    assert [b["user_id"] for b in of(lines, "block")] == [str(cid.id)]
    assert [e["actor_id"] for e in await events(database, "Audited", bob) if e["action"] == "export.downloaded"]


@pytest.mark.promise("C62")
async def test_a_copy_has_nothing_of_others(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "not yours")
    _, lines = await copy(one, bob)
    assert "not yours" not in str(lines)
    assert of(lines, "message") == []


async def test_a_long_copy_is_read_in_pieces(one: Node, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_AT_ONCE", 2)
    [ann] = await people(1)
    for conversation in [await one.group(ann) for _ in range(3)]:
        for number in range(5):
            await one.say(ann, conversation, f"{number}")
    _, lines = await copy(one, ann)
    assert (len(of(lines, "message")), len(of(lines, "conversation"))) == (15, 3)


async def test_a_copy_an_hour(one: Node, two: Node, people: People) -> None:
    [ann] = await people(1)
    assert [(await copy(node, ann))[0] for node in (one, two)] == [200, 429]
