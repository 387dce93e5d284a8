"""Members come and go."""

import pytest

from tests.chat.conftest import People
from tests.chat.nodes import Node


async def test_added_member_can_read_and_is_told(one: Node, two: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob)
    await one.say(ann, conversation, "before")
    async with two.client(cid) as client, two.client(bob, conversation) as watching:
        path = f"/conversations/{conversation}/members"
        answer = await one.call(ann, "POST", path, json={"user_ids": [str(cid.id), str(bob.id)]})
        assert answer.json()["member_count"] == 3
        await client.push("conversation.joined", conversation_id=conversation)
        assert (await watching.push("member.added"))["d"]["member_ids"] == [str(cid.id)]
        assert "err" not in (await client.sub(f"c:{conversation}"))[f"c:{conversation}"]
    mine = (await one.call(cid, "GET", f"/conversations/{conversation}")).json()
    assert (mine["role"], mine["unread_count"], mine["last_message"]["content"]) == ("member", 0, "before")


async def test_members_are_listed_in_pages(one: Node, people: People) -> None:
    crowd = await people(5)
    conversation = await one.group(*crowd)
    found, path = [], f"/api/v1/conversations/{conversation}/members?limit=2"
    while path:
        page = (await one.http.get(path, headers=crowd[0].headers)).json()
        found += [member["user"]["id"] for member in page["results"]]
        path = page["next"]
    assert found == sorted(str(person.id) for person in crowd)


@pytest.mark.promise("C56")
async def test_removed_member_gets_nothing_more_on_any_process(one: Node, two: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    async with two.client(bob, conversation) as client, two.client(cid, conversation) as other:
        answer = await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
        assert answer.status_code == 204
        await one.say(ann, conversation, "after")
        await other.push("message.new", content="after")
        await client.push("gone")
        await client.push("conversation.left", conversation_id=conversation)
        assert client.events(f"c:{conversation}") == []
        outcome = await client.sub(f"c:{conversation}", resume={f"c:{conversation}": (1, 1)})
        assert outcome[f"c:{conversation}"]["err"]["code"] == "not_found"
        assert (await one.call(bob, "GET", f"/conversations/{conversation}/messages")).status_code == 404


async def test_member_leaves_alone_and_nobody_else_is_removed_by_a_member(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    path = f"/conversations/{await one.group(ann, bob, cid)}/members"
    assert (await one.call(bob, "DELETE", f"{path}/{cid.id}")).status_code == 403
    assert (await one.call(bob, "POST", path, json={"user_ids": [str(cid.id)]})).status_code == 403
    assert (await one.call(bob, "DELETE", f"{path}/{bob.id}")).status_code == 204
    assert (await one.call(bob, "GET", path)).status_code == 404
    assert (await one.call(ann, "DELETE", f"{path}/{bob.id}")).status_code == 404


async def test_owner_leaves_last(one: Node, people: People) -> None:
    ann, bob = await people(2)
    path = f"/conversations/{await one.group(ann, bob)}/members"
    assert (await one.call(ann, "DELETE", f"{path}/{ann.id}")).json()["code"] == "last_owner"
    assert (await one.call(bob, "DELETE", f"{path}/{bob.id}")).status_code == 204
    assert (await one.call(ann, "DELETE", f"{path}/{ann.id}")).status_code == 204


async def test_members_of_a_direct_conversation_are_fixed(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    path = f"/conversations/{await one.group(ann, bob, kind='direct')}/members"
    for method, where, body in (("POST", path, {"user_ids": [str(cid.id)]}), ("DELETE", f"{path}/{ann.id}", None)):
        answer = await one.call(ann, method, where, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "fixed_members")
