"""What managers set of a conversation, what it does, and what each member sets alone."""

from typing import Any

import pytest

from tests.chat.conftest import People
from tests.chat.nodes import Node, Person

FLAGS = {
    "name": "News",
    "description": "of the day",
    "image_url": "https://example.com/a.png",
    "is_private": False,
    "allow_file_sharing": False,
    "allow_voice_messages": False,
    "history": "since_joining",
    "slow_seconds": 30,
}


async def change(node: Node, person: Person, conversation: str, **fields: Any) -> Any:
    return await node.call(person, "PATCH", f"/conversations/{conversation}", json=fields)


async def make(node: Node, person: Person, *others: Person, kind: str = "group", **fields: Any) -> Any:
    body = {"conversation_type": kind, "participants": [str(p.id) for p in others], **fields}
    return await node.call(person, "POST", "/conversations", json=body)


async def test_flags_are_set_at_the_start_and_later(one: Node, people: People) -> None:
    [ann] = await people(1)
    made = (await make(one, ann, **FLAGS)).json()
    assert {flag: made[flag] for flag in FLAGS} == FLAGS
    later = await one.group(ann)
    changed = (await change(one, ann, later, **FLAGS)).json()
    assert {flag: changed[flag] for flag in FLAGS} == FLAGS
    assert changed["version"] == 2


async def test_a_change_tells_of_all_flags(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with two.client(bob, conversation) as client:
        await change(one, ann, conversation, slow_seconds=5)
        told = (await client.push("conversation.changed"))["d"]
    assert told.keys() >= FLAGS.keys() | {"status", "version", "by"}
    assert (told["slow_seconds"], told["version"], told["name"]) == (5, 2, "Team")


@pytest.mark.parametrize(
    "fields",
    [
        {"slow_seconds": -1},
        {"slow_seconds": 21_601},
        {"slow_seconds": "5"},
        {"history": "some"},
        {"status": "gone"},
        {"status": None},
        {"is_private": None},
        {"image_url": "javascript:alert(1)"},
        {"image_url": "https://a b"},
        {"image_url": "https://example.com/" + "a" * 2000},
        {"member_count": 5},
    ],
)
async def test_what_makes_no_sense_is_refused(one: Node, people: People, fields: dict[str, Any]) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    assert (await change(one, ann, conversation, **fields)).status_code == 422


@pytest.mark.parametrize("fields", [{"message_retention_days": 30}, {"expires_at": "2030-01-01T00:00:00Z"}])
async def test_what_is_not_there_yet_is_said(one: Node, people: People, fields: dict[str, Any]) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    for answer in (await change(one, ann, conversation, **fields), await make(one, ann, **fields)):
        assert (answer.status_code, answer.json()["code"]) == (422, "not_supported")
        assert answer.json()["errors"][0]["field"] in fields


@pytest.mark.parametrize("status", ["archived", "closed"])
async def test_nobody_writes_where_it_is_not_active(one: Node, people: People, status: str) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    path = f"/conversations/{conversation}/messages"
    await change(one, ann, conversation, status=status)
    assert (await one.call(bob, "POST", path, json={"content": "?"})).status_code == 403
    shown = (await one.call(bob, "GET", f"/conversations/{conversation}")).json()
    assert (shown["status"], shown["permissions"]["can_post"]) == (status, False)
    assert (await change(one, bob, conversation, status="active")).status_code == 403
    await change(one, ann, conversation, status="active")
    assert (await one.call(bob, "POST", path, json={"content": "!"})).status_code == 201


async def test_two_people_are_private(one: Node, people: People) -> None:
    ann, bob = await people(2)
    assert (await make(one, ann, bob, kind="direct", is_private=False)).status_code == 422
    conversation = await one.group(ann, bob, kind="direct")
    assert (await change(one, ann, conversation, is_private=False)).status_code == 403


async def test_what_is_public_is_found_and_joined(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    name = f"Open {ann.name}"
    conversation = (await make(one, ann, name=name, is_private=False)).json()["id"]
    found = (await one.call(bob, "GET", "/conversations/public", params={"search": name.upper()})).json()["results"]
    assert [(c["id"], c["member_count"]) for c in found] == [(conversation, 1)]
    async with two.client(ann, conversation) as client:
        joined = await one.call(bob, "POST", f"/conversations/{conversation}/join")
        assert (joined.status_code, joined.json()["role"], joined.json()["member_count"]) == (200, "member", 2)
        assert (await client.push("member.added"))["d"]["member_ids"] == [str(bob.id)]
    again = await one.call(bob, "POST", f"/conversations/{conversation}/join")
    assert (again.status_code, again.json()["member_count"]) == (200, 2)
    left = await one.call(bob, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    assert left.status_code == 204


async def test_what_is_private_or_closed_is_not_there(one: Node, people: People) -> None:
    ann, bob = await people(2)
    private = (await make(one, ann, name=f"Own {ann.name}")).json()["id"]
    closed = (await make(one, ann, name=f"Own {ann.name}", is_private=False)).json()["id"]
    await change(one, ann, closed, status="closed")
    direct = await one.group(ann, bob, kind="direct")
    [cid] = await people(1)
    for conversation in (private, closed, direct, str(ann.id)):
        assert (await one.call(cid, "POST", f"/conversations/{conversation}/join")).status_code == 404
    found = await one.call(bob, "GET", "/conversations/public", params={"search": f"Own {ann.name}"})
    assert found.json()["results"] == []


async def test_public_ones_come_in_pages(one: Node, people: People) -> None:
    ann, bob = await people(2)
    name = f"Many {ann.name} %_"
    made = [(await make(one, ann, name=name, is_private=False)).json()["id"] for _ in range(3)]
    page = (await one.call(bob, "GET", "/conversations/public", params={"search": name, "limit": 2})).json()
    rest = (await one.http.get(page["next"], headers=bob.headers)).json()
    assert [c["id"] for c in page["results"] + rest["results"]] == made[::-1]
    assert rest["next"] is None


async def test_a_member_mutes_for_himself_alone(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with two.client(bob) as client:
        body = {"muted_until": "2030-01-01T00:00:00Z", "notify": "mentions"}
        answer = await one.call(bob, "PATCH", f"/conversations/{conversation}/me", json=body)
        assert answer.json() == {"conversation_id": conversation, **body}
        told = (await client.push("conversation.preferences"))["d"]
        assert (told["conversation_id"], told["notify"]) == (conversation, "mentions")
    await one.call(bob, "PATCH", f"/conversations/{conversation}/me", json={"muted_until": None})
    mine, hers = [(await one.call(p, "GET", f"/conversations/{conversation}")).json() for p in (bob, ann)]
    assert (mine["muted_until"], mine["notify"], hers["notify"]) == (None, "mentions", "all")


@pytest.mark.parametrize(
    "body",
    [
        {"notify": None},
        {"notify": "some"},
        {"muted_until": "soon"},
        {"muted_until": "0001-01-01T00:00:00+14:00"},
        {"role": "owner"},
    ],
)
async def test_preferences_that_make_no_sense_are_refused(one: Node, people: People, body: dict[str, Any]) -> None:
    [ann, eve] = await people(2)
    conversation = await one.group(ann)
    assert (await one.call(ann, "PATCH", f"/conversations/{conversation}/me", json=body)).status_code == 422
    assert (await one.call(eve, "PATCH", f"/conversations/{conversation}/me", json={})).status_code == 404


async def test_a_list_is_filtered(one: Node, people: People) -> None:
    ann, bob = await people(2)
    group, channel = await one.group(ann, bob), await one.group(ann, kind="channel")
    direct = await one.group(ann, bob, kind="direct")
    await change(one, ann, channel, status="archived")
    await one.say(ann, group, "Hello")

    async def listed(query: str) -> set[str]:
        answer = await one.call(ann, "GET", f"/conversations?{query}")
        assert answer.status_code == 200, answer.text
        return {c["id"] for c in answer.json()["results"]}

    assert await listed("conversation_type=direct") == {direct}
    assert await listed("status=archived") == await listed("is_active=false") == {channel}
    assert await listed("is_active=true&conversation_type=group") == {group}
    assert await listed("created_at__gte=2020-01-01T00:00:00Z&created_at__lte=2190-01-01T00:00:00Z") == {
        group,
        channel,
        direct,
    }
    assert await listed("created_at__lte=2020-01-01T00:00:00Z") == set()
    assert await listed("last_message_at__gte=2020-01-01T00:00:00Z") == {group}


@pytest.mark.parametrize(
    "query",
    [
        "conversation_type=crowd",
        "status=gone",
        "is_active=perhaps",
        "created_at__gte=soon",
        "created_at__gte=2020-01-01T00:00:00",
        "created_at__gte=0001-01-01T00:00:00%2B14:00",
        "last_message_at__lte=9999-12-31T23:59:59-14:00",
    ],
)
async def test_filters_that_make_no_sense_are_refused(one: Node, people: People, query: str) -> None:
    [ann] = await people(1)
    assert (await one.call(ann, "GET", f"/conversations?{query}")).status_code == 422
