"""Making, finding and changing conversations."""

import asyncio
from uuid import uuid4

import pytest

from tests.chat.conftest import People
from tests.chat.nodes import Node


async def test_group_has_its_maker_as_owner(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    body = {
        "conversation_type": "group",
        "participants": [str(bob.id), str(cid.id)],
        "name": "Team",
        "description": "x",
    }
    answer = await one.call(ann, "POST", "/conversations", json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert {p["id"]: p["role"] for p in made["participants"]} == {
        str(ann.id): "owner",
        str(bob.id): "member",
        str(cid.id): "member",
    }
    assert (made["name"], made["member_count"], made["role"], made["unread_count"]) == ("Team", 3, "owner", 0)
    assert made["last_message"] is None
    assert (made["event_seq"], made["epoch"], made["version"], made["status"]) == (1, 1, 1, "active")


async def test_the_maker_and_repetitions_among_participants_count_once(one: Node, people: People) -> None:
    ann, bob = await people(2)
    body = {"conversation_type": "group", "participants": [str(bob.id), str(bob.id), str(ann.id)]}
    made = (await one.call(ann, "POST", "/conversations", json=body)).json()
    assert made["member_count"] == 2


async def test_direct_conversation_is_given_back_when_made_again(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    first = await one.call(
        ann, "POST", "/conversations", json={"conversation_type": "direct", "participants": [str(bob.id)]}
    )
    again = await two.call(
        bob, "POST", "/conversations", json={"conversation_type": "direct", "participants": [str(ann.id)]}
    )
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert {p["role"] for p in again.json()["participants"]} == {"member"}


@pytest.mark.promise("C5")
async def test_direct_conversation_is_made_once_under_a_hundred_concurrent_creates(
    one: Node, two: Node, people: People
) -> None:
    ann, bob = await people(2)

    async def create(number: int) -> tuple[int, str]:
        node, me, other = (one, ann, bob) if number % 2 else (two, bob, ann)
        body = {"conversation_type": "direct", "participants": [str(other.id)]}
        # All hundred wait for one row: on a busy machine some for longer than they may, and those come back.
        while (answer := await node.call(me, "POST", "/conversations", json=body)).status_code == 503:
            await asyncio.sleep(0.1)
        return answer.status_code, answer.json()["id"]

    answers = await asyncio.gather(*map(create, range(100)))
    assert sorted(status for status, _ in answers) == [200] * 99 + [201]
    assert len({conversation for _, conversation in answers}) == 1


@pytest.mark.parametrize("others", [0, 2])
async def test_direct_conversation_needs_exactly_one_other(one: Node, people: People, others: int) -> None:
    ann, *more = await people(1 + others)
    body = {"conversation_type": "direct", "participants": [str(ann.id), *(str(p.id) for p in more)]}
    answer = await one.call(ann, "POST", "/conversations", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "participants"


async def test_list_has_own_conversations_newest_activity_first(one: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    theirs = await one.group(bob, eve)
    await one.say(bob, theirs, "not for Ann")
    mine = [await one.group(ann, bob) for _ in range(5)]
    await one.say(bob, mine[1], "newest")
    first = (await one.call(ann, "GET", "/conversations?limit=2")).json()
    assert first["results"][0]["last_message"]["content"] == "newest"
    assert first["results"][0]["unread_count"] == 1
    found, page = [c["id"] for c in first["results"]], first
    while page["next"]:
        page = (await one.http.get(page["next"], headers=ann.headers)).json()
        found += [c["id"] for c in page["results"]]
    assert found == [mine[1], mine[4], mine[3], mine[2], mine[0]]


async def test_conversation_of_others_is_not_found(one: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    calls = [
        ("GET", f"/conversations/{conversation}", None),
        ("PATCH", f"/conversations/{conversation}", {"name": "mine"}),
        ("GET", f"/conversations/{conversation}/messages", None),
        ("POST", f"/conversations/{conversation}/messages", {"content": "hi"}),
        ("POST", f"/conversations/{conversation}/read", {"seq": 1}),
        ("GET", f"/conversations/{conversation}/members", None),
        ("POST", f"/conversations/{conversation}/members", {"user_ids": [str(eve.id)]}),
        ("DELETE", f"/conversations/{conversation}/members/{ann.id}", None),
    ]
    for method, path, body in calls:
        answer = await one.call(eve, method, path, json=body)
        nothing = await one.call(eve, method, path.replace(conversation, str(uuid4())), json=body)
        assert answer.status_code == nothing.status_code == 404, (method, path)
        assert answer.json() | {"request_id": ""} == nothing.json() | {"request_id": ""}


async def test_change_of_the_name_reaches_sockets(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with two.client(bob, conversation) as client:
        answer = await one.call(ann, "PATCH", f"/conversations/{conversation}", json={"name": "Crew"})
        assert (answer.json()["name"], answer.json()["description"], answer.json()["version"]) == ("Crew", "", 2)
        push = await client.push("conversation.changed")
        assert (push["d"]["name"], push["q"]) == ("Crew", 2)


async def test_member_without_a_role_cannot_change_the_name(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    assert (await one.call(bob, "PATCH", f"/conversations/{conversation}", json={"name": "x"})).status_code == 403


async def test_stale_version_is_409_and_stale_if_match_412(one: Node, people: People) -> None:
    [ann] = await people(1)
    path = f"/conversations/{await one.group(ann)}"
    etag = (await one.call(ann, "GET", path)).headers["etag"]
    assert (await one.call(ann, "PATCH", path, json={"name": "b", "version": 1})).status_code == 200
    assert (await one.call(ann, "PATCH", path, json={"name": "c", "version": 1})).status_code == 409
    stale = await one.http.patch(
        f"/api/v1{path}",
        json={"name": "d"},
        headers={**ann.headers, "If-Match": etag, "Content-Type": "application/json"},
    )
    assert stale.status_code == 412
    assert (await one.call(ann, "GET", path)).json()["name"] == "b"
