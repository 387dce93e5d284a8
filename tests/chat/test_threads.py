"""Threads: replies that count for themselves, and who follows them."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from libs.db import Database
from parley_client.sockets import Refused
from tests.chat.conftest import People
from tests.chat.files import change
from tests.chat.nodes import Node, Person, assert_gap_free, shared


async def thread(node: Node, person: Person, message_id: str, query: str = "") -> dict[str, Any]:
    answer = await node.call(person, "GET", f"/messages/{message_id}/thread{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def state(node: Node, person: Person, message_id: str) -> tuple[bool, int, int]:
    """Following, read up to, unread."""
    found = (await thread(node, person, message_id))["state"]
    return found["following"], found["last_read_seq"], found["unread_count"]


async def contents(node: Node, person: Person, conversation: str, query: str = "") -> list[str]:
    answer = await node.call(person, "GET", f"/conversations/{conversation}/messages{query}")
    return [message["content"] for message in answer.json()["results"]]


@pytest.mark.promise("C16")
async def test_replies_have_numbers_of_their_own(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    root = await one.say(ann, conversation, "root")
    async with two.client(ann, conversation) as watching:
        first = await one.say(bob, conversation, "first", thread_root_id=root["id"])
        second = await two.say(ann, conversation, "second", thread_root_id=root["id"])
        await watching.until(lambda c: len(c.events(f"c:{conversation}")) == 2)
        pushed = watching.events(f"c:{conversation}")
    assert [frame["d"] for frame in pushed] == [shared(first), shared(second)]
    assert first["thread"] == {
        "root_id": root["id"],
        "seq": 1,
        "also_in_conversation": False,
        "last_seq": 0,
        "last_reply_at": None,
    }
    assert (second["thread"]["seq"], first["seq"], second["seq"]) == (2, 2, 3)
    assert (await one.call(ann, "GET", f"/messages/{second['id']}")).json() == second
    begun = (await one.call(bob, "GET", f"/messages/{root['id']}")).json()["thread"]
    assert (begun["root_id"], begun["seq"], begun["last_seq"]) == (root["id"], None, 2)
    assert begun["last_reply_at"] == second["created_at"]


@pytest.mark.promise("C16")
async def test_replies_are_shown_in_the_conversation_only_on_request(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    root = await one.say(ann, conversation, "root")
    await one.say(bob, conversation, "aside", thread_root_id=root["id"])
    shown = await one.say(bob, conversation, "aloud", thread_root_id=root["id"], also_in_conversation=True)
    assert shown["thread"]["also_in_conversation"] is True
    assert (await one.call(bob, "GET", f"/messages/{shown['id']}")).json() == shown
    assert await contents(one, ann, conversation) == ["aloud", "root"]
    assert await contents(one, ann, conversation, "?after=0") == ["aloud", "root"]
    for query in ("?threads=true", "?threads=true&after=0"):
        assert await contents(one, ann, conversation, query) == ["aloud", "aside", "root"]


@pytest.mark.promise("C16")
async def test_a_thread_has_its_own_unread_count(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    root = await one.say(ann, conversation, "root")
    for n in range(3):
        await one.say(bob, conversation, f"{n}", thread_root_id=root["id"])
    assert await state(one, ann, root["id"]) == (True, 0, 3)
    assert await state(one, bob, root["id"]) == (True, 3, 0)
    path = f"/messages/{root['id']}/thread/read"
    for seq, left in ((2, 1), (1, 1), (99, 0)):
        answer = (await one.call(ann, "POST", path, json={"seq": seq})).json()
        assert (answer["unread_count"], answer["last_seq"]) == (left, 3)
    assert await state(one, ann, root["id"]) == (True, 3, 0)


@pytest.mark.promise("C16")
async def test_a_reply_aside_is_not_unread_in_the_conversation(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    root = await one.say(ann, conversation, "root")
    path = f"/conversations/{conversation}"
    await one.say(bob, conversation, "aside", thread_root_id=root["id"])
    assert (await one.call(ann, "GET", path)).json()["unread_count"] == 0
    await one.say(bob, conversation, "aloud", thread_root_id=root["id"], also_in_conversation=True)
    assert (await one.call(ann, "GET", path)).json()["unread_count"] == 1


async def test_a_reply_aside_neither_leads_the_list_nor_is_shown_in_it(one: Node, people: People) -> None:
    ann, bob = await people(2)
    older, newer = await one.group(ann, bob), await one.group(ann, bob)
    root = await one.say(ann, older, "root")
    await one.say(ann, newer, "newer")
    await one.say(bob, older, "aside", thread_root_id=root["id"])
    listed = (await one.call(ann, "GET", "/conversations")).json()["results"]
    assert [row["last_message"]["content"] for row in listed] == ["newer", "root"]


async def test_replying_aside_leaves_the_conversation_unread(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    root = await one.say(ann, conversation, "root")
    await one.say(bob, conversation, "aside", thread_root_id=root["id"])
    seen = (await one.call(bob, "GET", f"/conversations/{conversation}")).json()
    assert (seen["unread_count"], seen["last_read_seq"]) == (1, 0)


@pytest.mark.promise("C16")
async def test_replies_are_paged_by_their_numbers(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    root, other = [await one.say(ann, conversation, name) for name in ("root", "other")]
    for n in range(1, 8):
        await one.say(ann, conversation, f"{n}", thread_root_id=root["id"])
        await one.say(ann, conversation, "elsewhere", thread_root_id=other["id"])

    async def numbers(query: str) -> list[int]:
        return [reply["thread"]["seq"] for reply in (await thread(one, ann, root["id"], query))["results"]]

    assert await numbers("") == [7, 6, 5, 4, 3, 2, 1]
    assert await numbers("?limit=3") == [7, 6, 5]
    assert await numbers("?limit=3&before=5") == [4, 3, 2]
    assert await numbers("?limit=2&after=2") == [4, 3]
    assert await numbers("?limit=3&around=4") == [5, 4, 3]
    page = await thread(one, ann, root["id"], "?limit=4")
    assert page["root"]["id"] == root["id"]
    older = (await one.http.get(page["next"], headers=ann.headers)).json()
    assert [reply["content"] for reply in older["results"]] == ["3", "2", "1"]
    assert older["next"] is None
    newer = (await one.http.get(older["previous"], headers=ann.headers)).json()
    assert newer["results"] == page["results"]


async def test_a_reply_stands_for_its_thread(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    root = await one.say(ann, conversation, "root")
    reply = await one.say(ann, conversation, "reply", thread_root_id=root["id"])
    assert await thread(one, ann, reply["id"]) == await thread(one, ann, root["id"])


@pytest.mark.promise("C1", "C16")
async def test_racing_replies_through_two_processes_are_numbered_without_a_hole(
    one: Node, two: Node, people: People, database: Database
) -> None:
    everybody = ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    roots = [(await one.say(ann, conversation, name))["id"] for name in ("a", "b")]
    keys = [str(uuid4()) for _ in range(100)]

    async def talk(talker: int) -> list[dict[str, Any]]:
        """Each of ten says ten things in turn, the third of them twice and on both sides at once."""
        said = []
        for n in range(talker, 100, 10):
            to = {} if n % 5 == 0 else {"thread_root_id": roots[n % 2]}
            nodes = (one, two) if n % 3 == 0 else ((one, two)[n // 10 % 2],)
            said += await asyncio.gather(
                *(node.say(everybody[n % 3], conversation, f"{n}", client_msg_id=keys[n], **to) for node in nodes)
            )
        return said

    answers = [answer for said in await asyncio.gather(*map(talk, range(10))) for answer in said]
    by_id = {answer["id"]: answer for answer in answers}
    assert len(by_id) == 100
    for place, root in enumerate(roots):
        replies = [m["thread"]["seq"] for m in by_id.values() if m["thread"] and m["thread"]["root_id"] == root]
        count = len([n for n in range(100) if n % 5 and n % 2 == place])
        assert sorted(replies) == list(range(1, count + 1))
        assert (await thread(one, ann, root))["state"]["last_seq"] == count
    await assert_gap_free(database, conversation, 102)


@pytest.mark.promise("C16")
async def test_no_thread_begins_where_none_can(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation, elsewhere = await one.group(ann, bob), await one.group(ann)
    root = await one.say(ann, conversation, "root")
    reply = await one.say(ann, conversation, "reply", thread_root_id=root["id"])
    foreign = await one.say(ann, elsewhere, "foreign")
    gone = await one.say(ann, conversation, "gone")
    await change(database, "message", "id = :id", {"id": gone["id"]}, deleted_at=one.context.clock.now())
    for wrong in (reply["id"], foreign["id"], gone["id"], str(uuid4())):
        body = {"content": "x", "thread_root_id": wrong}
        answer = await one.call(ann, "POST", f"/conversations/{conversation}/messages", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "thread_root_id")
        async with one.client(ann) as client:
            with pytest.raises(Refused) as refused:
                await client.send(conversation, "x", thread_root_id=wrong)
        assert refused.value.error["errors"][0]["field"] == "thread_root_id"


@pytest.mark.promise("C17")
async def test_who_replies_and_who_began_it_follow_the_thread(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    root = await one.say(ann, conversation, "root")
    await one.say(bob, conversation, "reply", thread_root_id=root["id"])
    assert [(await state(one, person, root["id"]))[0] for person in (ann, bob, cid)] == [True, True, False]


@pytest.mark.promise("C17")
async def test_who_is_named_in_a_thread_follows_it_from_there(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    root = await one.say(ann, conversation, "root")
    for n in range(3):
        await one.say(bob, conversation, f"{n}", thread_root_id=root["id"])
    await one.say(bob, conversation, "see", thread_root_id=root["id"], mentions={"user_ids": [str(cid.id)]})
    assert await state(one, cid, root["id"]) == (True, 3, 1)


@pytest.mark.promise("C17")
async def test_following_can_be_begun_and_ended(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob, cid)
    root = await one.say(ann, conversation, "root")
    path = f"/messages/{root['id']}/thread/follow"
    await one.say(bob, conversation, "one", thread_root_id=root["id"])
    assert (await one.call(cid, "PUT", path)).json()["following"] is True
    await one.say(bob, conversation, "two", thread_root_id=root["id"])
    assert await state(one, cid, root["id"]) == (True, 1, 1)
    assert (await one.call(ann, "DELETE", path)).json()["following"] is False
    await one.say(bob, conversation, "three", thread_root_id=root["id"])
    assert (await state(one, ann, root["id"]))[0] is False
    await one.say(ann, conversation, "back again", thread_root_id=root["id"])
    assert (await state(one, ann, root["id"]))[0] is True


@pytest.mark.promise("C17")
async def test_who_wants_nothing_of_a_thread_before_it_begins_is_left_alone(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    root = await one.say(ann, conversation, "root")
    await one.call(ann, "DELETE", f"/messages/{root['id']}/thread/follow")
    await one.say(bob, conversation, "reply", thread_root_id=root["id"])
    assert (await state(one, ann, root["id"]))[0] is False


async def test_the_socket_does_what_http_does_and_tells_other_devices(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    root = await one.say(ann, conversation, "root")
    await one.say(ann, conversation, "reply", thread_root_id=root["id"])
    async with one.client(bob) as phone, two.client(bob) as laptop:
        assert (await phone.request("follow", data={"root_id": root["id"]}))["following"] is True
        assert (await laptop.push("thread", following=True))["d"]["root_id"] == root["id"]
        assert (await phone.request("thread_read", data={"root_id": root["id"], "seq": 1}))["last_read_seq"] == 1
        assert (await phone.request("unfollow", data={"root_id": root["id"]}))["following"] is False
        await laptop.push("thread", following=False)
        for op, data in (("follow", {}), ("thread_read", {"root_id": root["id"]}), ("unfollow", {"root_id": 7})):
            with pytest.raises(Refused) as refused:
                await phone.request(op, data=data)
            assert refused.value.code == "validation_error"


async def test_threads_are_listed_with_the_last_replied_to_first(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation, elsewhere = await one.group(ann, bob), await one.group(bob, ann)
    roots = [await one.say(ann, conversation, f"root {n}") for n in range(3)]
    other = await one.say(bob, elsewhere, "other")
    for root in (roots[1], roots[0]):
        await one.say(bob, conversation, "reply", thread_root_id=root["id"])
    await one.say(ann, elsewhere, "reply", thread_root_id=other["id"])

    async def listed(person: Person, path: str) -> list[tuple[str, int]]:
        found, address = [], f"/api/v1{path}?limit=1"
        while address:
            page = (await one.http.get(address, headers=person.headers)).json()
            found += [(row["root"]["content"], row["unread_count"]) for row in page["results"]]
            address = page["next"]
        return found

    assert await listed(ann, f"/conversations/{conversation}/threads") == [("root 0", 1), ("root 1", 1)]
    assert await listed(bob, f"/conversations/{conversation}/threads") == [("root 0", 0), ("root 1", 0)]
    assert await listed(ann, "/messages/threads") == [("other", 0), ("root 0", 1), ("root 1", 1)]
    await one.call(ann, "DELETE", f"/messages/{roots[0]['id']}/thread/follow")
    assert await listed(ann, "/messages/threads") == [("other", 0), ("root 1", 1)]
    assert [row[0] for row in await listed(ann, f"/conversations/{conversation}/threads")] == ["root 0", "root 1"]


async def test_strangers_find_no_thread(one: Node, people: People, database: Database) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    root = await one.say(ann, conversation, "root")
    await one.say(bob, conversation, "reply", thread_root_id=root["id"])
    about = f"/messages/{root['id']}/thread"
    calls: list[tuple[str, str, Any]] = [
        ("GET", about, None),
        ("PUT", f"{about}/follow", None),
        ("DELETE", f"{about}/follow", None),
        ("POST", f"{about}/read", {"seq": 1}),
        ("GET", f"/conversations/{conversation}/threads", None),
    ]
    for method, path, body in calls:
        assert (await one.call(eve, method, path, json=body)).status_code == 404
    async with one.client(eve) as client:
        for op in ("follow", "unfollow", "thread_read"):
            with pytest.raises(Refused) as refused:
                await client.request(op, data={"root_id": root["id"], "seq": 1})
            assert refused.value.code == "not_found"
    assert (await one.call(eve, "GET", "/messages/threads")).json()["results"] == []
    async with database.transaction() as db:
        query = text("SELECT count(*) FROM thread_member WHERE user_id = :user")
        assert await db.scalar(query, {"user": eve.id}) == 0


async def test_who_has_left_sees_no_thread_any_more(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    root = await one.say(ann, conversation, "root")
    await one.say(bob, conversation, "reply", thread_root_id=root["id"])
    await one.call(bob, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    assert (await one.call(bob, "GET", "/messages/threads")).json()["results"] == []
    assert (await one.call(bob, "GET", f"/messages/{root['id']}/thread")).status_code == 404


async def test_newcomers_neither_quote_nor_answer_what_they_may_not_see(
    one: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann)
    await change(database, "conversation", "id = :id", {"id": conversation}, history="since_joining")
    old = await one.say(ann, conversation, "between us")
    await one.say(ann, conversation, "reply", thread_root_id=old["id"])
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(bob.id)]})
    new = await one.say(ann, conversation, "welcome")
    path = f"/conversations/{conversation}/messages"
    for key, more in (("reply_to", {}), ("reply_to", {"importance": "urgent"}), ("thread_root_id", {})):
        answer = await one.call(bob, "POST", path, json={"content": "x", key: old["id"], **more})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, key)
        await one.say(bob, conversation, "x", **{key: new["id"]}, **more)
    listed = (await one.call(bob, "GET", f"/conversations/{conversation}/threads")).json()["results"]
    assert [row["root"]["id"] for row in listed] == [new["id"]]
    assert (await one.call(bob, "GET", f"/messages/{old['id']}/thread")).status_code == 404
