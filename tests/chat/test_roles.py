"""Who may do what in a conversation, and who says so."""

import asyncio
from typing import Any

import pytest

from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, Person, running


async def give(node: Node, by: Person, conversation: str, to: Person, role: str) -> int:
    path = f"/conversations/{conversation}/members/{to.id}"
    return (await node.call(by, "PATCH", path, json={"role": role})).status_code


async def role(node: Node, person: Person, conversation: str) -> str:
    found: str = (await node.call(person, "GET", f"/conversations/{conversation}")).json()["role"]
    return found


async def post(node: Node, person: Person, conversation: str) -> int:
    path = f"/conversations/{conversation}/messages"
    return (await node.call(person, "POST", path, json={"content": "Hello"})).status_code


async def add(node: Node, by: Person, conversation: str, *people: Person, **more: Any) -> int:
    body = {"user_ids": [str(p.id) for p in people], **more}
    return (await node.call(by, "POST", f"/conversations/{conversation}/members", json=body)).status_code


@pytest.mark.promise("C58")
@pytest.mark.parametrize("wanted", ["admin", "moderator", "guest", "read_only", "member"])
async def test_an_owner_gives_roles_and_takes_them(one: Node, people: People, wanted: str) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    assert await give(one, ann, conversation, bob, wanted) == 200
    assert await role(one, bob, conversation) == wanted
    assert await give(one, ann, conversation, bob, "member") == 200
    assert await role(one, bob, conversation) == "member"


@pytest.mark.promise("C58")
async def test_nobody_raises_anybody_to_or_above_oneself(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    await give(one, ann, conversation, bob, "admin")
    for wanted in ("owner", "admin"):
        assert await give(one, bob, conversation, cid, wanted) == 403
        assert await give(one, bob, conversation, bob, "owner") == 403
    assert await give(one, bob, conversation, ann, "member") == 403
    assert await give(one, bob, conversation, cid, "moderator") == 200
    assert await give(one, cid, conversation, bob, "member") == 403
    assert await give(one, cid, conversation, cid, "admin") == 403


@pytest.mark.promise("C58")
async def test_the_owner_hands_over_and_is_an_admin_then(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with two.client(bob, conversation) as client:
        assert await give(one, ann, conversation, bob, "owner") == 200
        await client.push("member.changed", user_id=str(ann.id))
        told = [e["d"] for e in client.events(f"c:{conversation}") if e["t"] == "member.changed"]
    assert {change["user_id"]: change["role"] for change in told} == {str(bob.id): "owner", str(ann.id): "admin"}
    assert [await role(one, p, conversation) for p in (ann, bob)] == ["admin", "owner"]


async def test_of_two_who_are_handed_the_conversation_at_once_one_owns_it(one: Node, two: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    answers = await asyncio.gather(
        give(one, ann, conversation, bob, "owner"), give(two, ann, conversation, cid, "owner")
    )
    assert sorted(answers) == [200, 403]
    roles = sorted([await role(one, p, conversation) for p in (ann, bob, cid)])
    assert roles == ["admin", "member", "owner"]


async def test_everybody_steps_down_but_the_owner(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    await give(one, ann, conversation, bob, "admin")
    assert await give(one, bob, conversation, bob, "member") == 200
    assert await give(one, ann, conversation, ann, "member") == 409


@pytest.mark.promise("C58")
async def test_who_only_reads_does_not_write(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann)
    assert await add(one, ann, conversation, bob, role="read_only") == 200
    assert await add(one, ann, conversation, cid, role="guest") == 200
    assert [await post(one, p, conversation) for p in (ann, bob, cid)] == [201, 403, 201]
    assert (await one.call(bob, "GET", f"/conversations/{conversation}/messages")).status_code == 200


@pytest.mark.promise("C58")
async def test_in_a_channel_only_some_speak(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    channel = await one.group(ann, bob, cid, kind="channel")
    await give(one, ann, channel, bob, "moderator")
    assert [await post(one, p, channel) for p in (ann, bob, cid)] == [201, 201, 403]
    shown = (await one.call(cid, "GET", f"/conversations/{channel}")).json()["permissions"]
    assert (shown["can_post"], shown["can_manage"]) == (False, False)


async def test_guests_and_moderators_let_nobody_in(one: Node, people: People) -> None:
    ann, bob, cid, dan = await people(4)
    conversation = await one.group(ann, bob, cid)
    await give(one, ann, conversation, bob, "guest")
    await give(one, ann, conversation, cid, "moderator")
    assert [await add(one, p, conversation, dan) for p in (bob, cid)] == [403, 403]
    await give(one, ann, conversation, cid, "admin")
    assert await add(one, cid, conversation, dan, role="admin") == 403
    assert await add(one, ann, conversation, dan, role="owner") == 403
    assert await add(one, cid, conversation, dan, role="moderator") == 200


async def test_two_people_have_no_roles(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob, kind="direct")
    assert await give(one, ann, conversation, bob, "read_only") == 409


async def test_strangers_learn_nothing_of_roles(one: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    assert await give(one, eve, conversation, bob, "admin") == 404
    assert await give(one, ann, conversation, eve, "admin") == 404
    assert await give(one, ann, conversation, bob, "king") == 422


async def test_a_conversation_holds_so_many(settings_for: SettingsFor, people: People) -> None:
    async with running(settings_for(conversation_members=2)) as node:
        ann, bob, cid = await people(3)
        conversation = await node.group(ann)
        assert await add(node, ann, conversation, bob) == 200
        assert await add(node, ann, conversation, cid) == 409
        assert await add(node, ann, conversation, bob) == 200
        shown = (await node.call(ann, "GET", f"/conversations/{conversation}")).json()
        assert (shown["member_count"], len(shown["participants"])) == (2, 2)


@pytest.mark.promise("C61")
async def test_people_are_added_at_a_bounded_rate(settings_for: SettingsFor, people: People) -> None:
    async with running(settings_for(people_rate=0.01, people_burst=2)) as node:
        ann, bob = await people(2)
        conversation = await node.group(ann)
        answers = [await add(node, ann, conversation, bob) for _ in range(3)]
        assert answers == [200, 200, 429]
        body = {"conversation_type": "group", "participants": []}
        refused = [await node.call(ann, "POST", "/conversations", json=body) for _ in range(2)][-1]
        assert (refused.status_code, int(refused.headers["Retry-After"]) > 10) == (429, True)
