"""Pinned messages."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from chat_service.domain import pins
from libs.clock import rfc3339
from libs.db import Database
from libs.testing.clock import StillClock
from parley_client.sockets import Refused
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person, with_role


async def pinned(node: Node, person: Person, conversation: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = (await node.call(person, "GET", f"/conversations/{conversation}/pins")).json()[
        "results"
    ]
    return results


@pytest.mark.promise("C21")
async def test_pins_are_listed_for_everybody_and_told_live(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = [await one.say(ann, conversation, f"{n}") for n in range(2)]
    path = f"/conversations/{conversation}/pins"
    async with two.client(bob, conversation) as client:
        for message in said:
            assert (await one.call(bob, "PUT", f"{path}/{message['id']}")).status_code == 204
        push = await client.push("message.pinned", message_id=said[0]["id"])
        assert (push["d"]["by"], push["d"]["expires_at"]) == (str(bob.id), None)
        found = await pinned(two, ann, conversation)
        assert [pin["message"]["content"] for pin in found] == ["1", "0"]
        assert found[0]["pinned_by"]["username"] == bob.name
        assert (await one.call(ann, "DELETE", f"{path}/{said[1]['id']}")).status_code == 204
        assert (await client.push("message.unpinned"))["d"] == {"message_id": said[1]["id"], "by": str(ann.id)}
    assert [pin["message"]["content"] for pin in await pinned(one, bob, conversation)] == ["0"]


@pytest.mark.promise("C21")
async def test_pin_that_runs_out_is_gone_at_once_and_told_by_the_worker(
    aging: Node, later: StillClock, lasting: People, database: Database
) -> None:
    ann, bob = await lasting(2)
    conversation = await aging.group(ann, bob)
    said = await aging.say(ann, conversation, "today")
    until = rfc3339(later.now() + timedelta(hours=1))
    path = f"/conversations/{conversation}/pins/{said['id']}"
    assert (await aging.call(ann, "PUT", path, json={"expires_at": until})).status_code == 204
    assert [pin["expires_at"] for pin in await pinned(aging, bob, conversation)] == [until]
    later.advance(3600)
    assert await pinned(aging, bob, conversation) == []
    await pins.expire(database, later)
    async with aging.client(bob, resume={f"c:{conversation}": (1, 3)}) as client:
        assert (await client.push("message.unpinned"))["d"] == {"message_id": said["id"], "by": None}
    await pins.expire(database, later)
    assert (await aging.call(ann, "GET", f"/conversations/{conversation}")).json()["event_seq"] == 4


async def test_pinning_again_changes_until_when(aging: Node, later: StillClock, lasting: People) -> None:
    [ann] = await lasting(1)
    conversation = await aging.group(ann)
    said = await aging.say(ann, conversation, "x")
    path = f"/conversations/{conversation}/pins/{said['id']}"
    past = rfc3339(later.now() - timedelta(hours=1))
    assert (await aging.call(ann, "PUT", path, json={"expires_at": past})).status_code == 422
    for body in ({"expires_at": rfc3339(later.now() + timedelta(hours=1))}, {}, {}, None):
        assert (await aging.call(ann, "PUT", path, json=body)).status_code == 204
    assert [pin["expires_at"] for pin in await pinned(aging, ann, conversation)] == [None]
    # Made, said, pinned, and changed once.
    assert (await aging.call(ann, "GET", f"/conversations/{conversation}")).json()["event_seq"] == 4


async def test_who_may_not_pin(one: Node, people: People, database: Database) -> None:
    ann, bob, eve = await people(3)
    conversation, other = await one.group(ann, bob), await one.group(ann)
    said = await one.say(ann, conversation, "x")
    channel = await one.group(ann, bob, kind="channel")
    news = await one.say(ann, channel, "news")
    path = f"/conversations/{conversation}/pins/{said['id']}"
    assert (await one.call(eve, "PUT", path)).status_code == 404
    assert (await one.call(eve, "GET", f"/conversations/{conversation}/pins")).status_code == 404
    assert (await one.call(ann, "PUT", f"/conversations/{other}/pins/{said['id']}")).status_code == 404
    await with_role(database, conversation, bob, "guest")
    assert (await one.call(bob, "PUT", path)).status_code == 403
    assert (await one.call(bob, "PUT", f"/conversations/{channel}/pins/{news['id']}")).status_code == 403
    await one.call(ann, "DELETE", f"/messages/{said['id']}")
    assert (await one.call(ann, "PUT", path)).json()["code"] == "message_deleted"


async def test_there_are_a_hundred_pins_at_most(one: Node, two: Node, people: People, database: Database) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    said = [await one.say(ann, conversation, f"{n}") for n in range(3)]
    async with database.transaction() as db:
        await db.execute(
            text(
                "INSERT INTO pin (conversation_id, message_id, pinned_by, pinned_at)"
                " SELECT :c, gen_random_uuid(), :u, now() FROM generate_series(1, 99)"
            ),
            {"c": conversation, "u": ann.id},
        )
    calls = [
        (one, two)[n % 2].call(ann, "PUT", f"/conversations/{conversation}/pins/{message['id']}")
        for n, message in enumerate(said)
    ]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [204, 409, 409]


async def test_pin_over_a_socket(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "x")
    async with one.client(bob, conversation) as client:
        data = {"message_id": said["id"], "expires_at": "2100-01-01T00:00:00Z"}
        await client.request("pin", f"c:{conversation}", data)
        assert (await client.push("message.pinned"))["d"]["expires_at"] == "2100-01-01T00:00:00Z"
        await client.request("unpin", f"c:{conversation}", {"message_id": said["id"]})
        await client.push("message.unpinned")
        for data in ({}, {"message_id": said["id"], "expires_at": "soon"}, {"message_id": said["id"], "expires_at": 5}):
            with pytest.raises(Refused, match="validation_error"):
                await client.request("pin", f"c:{conversation}", data)
