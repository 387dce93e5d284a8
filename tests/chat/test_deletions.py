"""Deleting messages: for everybody, and for oneself alone."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from libs.db import Database
from libs.testing.clock import StillClock
from parley_client.sockets import Refused
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person, with_role


async def delete(node: Node, person: Person, message_id: str, query: str = "") -> Any:
    return await node.call(person, "DELETE", f"/messages/{message_id}{query}")


async def read(node: Node, person: Person, message_id: str) -> dict[str, Any]:
    message: dict[str, Any] = (await node.call(person, "GET", f"/messages/{message_id}")).json()
    return message


@pytest.mark.promise("C11")
async def test_deleted_message_keeps_its_number_and_nothing_else(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with two.client(bob, conversation) as client:
        said = await one.say(bob, conversation, "secret")
        await one.call(ann, "PUT", f"/messages/{said['id']}/reactions/👍")
        assert (await delete(one, bob, said["id"])).status_code == 204
        push = await client.push("message.deleted")
        assert (push["d"]["content"], push["d"]["reactions"], push["d"]["version"]) == ("", [], 2)
    left = await read(two, ann, said["id"])
    assert (left["seq"], left["sender"], left["created_at"]) == (said["seq"], said["sender"], said["created_at"])
    assert (left["content"], left["reactions"], left["attachments"]) == ("", [], [])
    assert left["deleted_at"] is not None
    listed = (await one.call(ann, "GET", f"/conversations/{conversation}/messages")).json()["results"]
    assert [m["content"] for m in listed] == [""]


@pytest.mark.promise("C11")
async def test_nobody_who_resumes_hears_what_was_deleted(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "secret")
    await one.call(ann, "PATCH", f"/messages/{said['id']}", json={"content": "secret again"})
    await delete(one, ann, said["id"])
    async with two.client(bob, resume={f"c:{conversation}": (1, 1)}) as client:
        await client.push("message.deleted")
        assert [e["t"] for e in client.events(f"c:{conversation}")] == [
            "message.new",
            "message.edited",
            "message.deleted",
        ]
        assert not any("secret" in str(frame) for frame in client.pushes)


@pytest.mark.promise("C11", "K27")
async def test_sender_deletes_for_an_hour_and_others_for_ever(
    aging: Node, later: StillClock, lasting: People, issue_token: Callable[..., str]
) -> None:
    ann, bob, staff = await lasting(3)
    staff.token = issue_token(staff.id, roles=["user", "moderator"], exp=1 << 33)
    conversation = await aging.group(ann, bob)
    first, second, third = [await aging.say(bob, conversation, f"{n}") for n in range(3)]
    later.advance(3600)
    assert (await delete(aging, bob, first["id"])).status_code == 204
    later.advance(1)
    answer = await delete(aging, bob, second["id"])
    assert (answer.status_code, answer.json()["code"]) == (403, "delete_window_expired")
    assert answer.json()["detail"] == "Messages can only be deleted within 1 hour."
    assert (await delete(aging, ann, second["id"])).status_code == 204
    assert (await delete(aging, staff, third["id"])).status_code == 204


@pytest.mark.promise("C11")
async def test_moderator_deletes_and_plain_member_does_not(one: Node, people: People, database: Database) -> None:
    ann, bob, carol, eve = await people(4)
    conversation = await one.group(ann, bob, carol)
    said = await one.say(ann, conversation, "x")
    assert (await delete(one, bob, said["id"])).json()["code"] == "permission_denied"
    assert (await delete(one, eve, said["id"])).status_code == 404
    await with_role(database, conversation, carol, "moderator")
    assert (await delete(one, carol, said["id"])).status_code == 204


async def test_nobody_deletes_the_words_of_the_other_of_two(one: Node, people: People) -> None:
    ann, bob = await people(2)
    direct = await one.group(ann, bob, kind="direct")
    said = await one.say(bob, direct, "mine")
    assert (await delete(one, ann, said["id"])).status_code == 403
    assert (await delete(one, bob, said["id"])).status_code == 204


async def test_deletion_twice_at_once_is_one_event(one: Node, two: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    said = await one.say(ann, conversation, "x")
    answers = await asyncio.gather(*(delete((one, two)[n % 2], ann, said["id"]) for n in range(6)))
    assert {answer.status_code for answer in answers} == {204}
    assert (await one.call(ann, "GET", f"/conversations/{conversation}")).json()["event_seq"] == 3


@pytest.mark.promise("C11")
async def test_nothing_of_a_deleted_message_stays_in_the_database(
    one: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "secret")
    path = f"/messages/{said['id']}"
    await one.call(ann, "PATCH", path, json={"content": "other"})
    await one.call(ann, "PUT", f"{path}/reactions/👍")
    await one.call(bob, "PUT", f"{path}/saved")
    await one.call(ann, "PUT", f"/conversations/{conversation}/pins/{said['id']}")
    await delete(one, ann, said["id"])
    async with database.transaction() as db:
        for table in ("revision", "reaction", "saved_message", "pin"):
            count = text(f"SELECT count(*) FROM {table} WHERE message_id = :id")
            assert await db.scalar(count, {"id": said["id"]}) == 0, table
        kept = text("SELECT content, uncounted FROM message WHERE id = :id")
        assert tuple((await db.execute(kept, {"id": said["id"]})).one()) == ("", True)


@pytest.mark.promise("C11")
async def test_staff_alone_deletes_what_reports_hold(
    one: Node, people: People, database: Database, issue_token: Callable[..., str]
) -> None:
    ann, bob, staff = await people(3)
    conversation = await one.group(ann, bob)
    said = await one.say(bob, conversation, "illegal")
    staff.token = issue_token(staff.id, roles=["moderator"])
    async with database.transaction() as db:
        await db.execute(
            text(
                "INSERT INTO report (id, conversation_id, message_id, reporter_id, reason, comment, snapshot,"
                " created_at) VALUES (:id, :c, :m, :u, 'other', '', '{\"content\": \"illegal\"}', now())"
            ),
            {"id": uuid4(), "c": conversation, "m": said["id"], "u": ann.id},
        )
    assert (await delete(one, ann, said["id"], "?hard=true")).status_code == 403
    assert (await delete(one, ann, said["id"])).status_code == 204
    assert (await delete(one, staff, said["id"], "?hard=true")).status_code == 204
    async with database.transaction() as db:
        found = await db.scalar(text("SELECT snapshot FROM report WHERE message_id = :m"), {"m": said["id"]})
        audited = await db.scalar(
            text("SELECT count(*) FROM outbox WHERE data::text LIKE :like AND data ->> 'actor_id' = :staff"),
            {"like": f"%{said['id']}%", "staff": str(staff.id)},
        )
    assert found == {}
    assert audited == 1


@pytest.mark.promise("C12")
async def test_what_one_deletes_for_oneself_is_gone_on_all_own_devices_only(
    one: Node, two: Node, people: People
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "embarrassing")
    await one.say(ann, conversation, "fine")
    await one.call(ann, "PUT", f"/conversations/{conversation}/pins/{said['id']}")
    await one.call(bob, "PUT", f"/messages/{said['id']}/saved")
    async with two.client(bob) as device, two.client(ann) as other:
        assert (await delete(one, bob, said["id"], "?for=me")).status_code == 204
        push = await device.push("message.hidden")
        assert (push["s"], push["d"]["message_id"]) == (f"u:{bob.id}", said["id"])
        await other.request("ping")
        assert [frame["t"] for frame in other.pushes] == []
    paths = {
        f"/conversations/{conversation}/messages": 1,
        f"/conversations/{conversation}/messages?before=100": 1,
        f"/conversations/{conversation}/messages?after=0": 1,
        f"/conversations/{conversation}/messages?around=1": 1,
        f"/conversations/{conversation}/pins": 0,
        "/messages/saved": 0,
    }
    for path, left in paths.items():
        assert len((await one.call(bob, "GET", path)).json()["results"]) == left, path
    for path in ("", "/revisions", "/reactions"):
        assert (await one.call(bob, "GET", f"/messages/{said['id']}{path}")).status_code == 404
    assert (await read(one, ann, said["id"]))["content"] == "embarrassing"


async def test_what_one_has_hidden_one_does_not_change(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(bob, conversation, "x")
    await delete(one, bob, said["id"], "?for=me")
    calls = [
        ("PATCH", f"/messages/{said['id']}", {"content": "y"}),
        ("DELETE", f"/messages/{said['id']}", None),
        ("PUT", f"/messages/{said['id']}/reactions/👍", None),
        ("PUT", f"/messages/{said['id']}/saved", None),
        ("PUT", f"/conversations/{conversation}/pins/{said['id']}", None),
    ]
    for method, path, body in calls:
        assert (await one.call(bob, method, path, json=body)).status_code == 404, (method, path)


async def test_hiding_twice_is_as_once_and_not_for_strangers(one: Node, people: People) -> None:
    ann, eve = await people(2)
    said = await one.say(ann, await one.group(ann), "x")
    assert (await delete(one, eve, said["id"], "?for=me")).status_code == 404
    assert (await delete(one, ann, said["id"], "?for=me")).status_code == 204
    assert (await delete(one, ann, said["id"], "?for=others")).status_code == 422


@pytest.mark.promise("C15")
async def test_reply_stays_readable_when_what_it_quotes_is_deleted(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "question?")
    reply = await one.say(bob, conversation, "answer!", reply_to=said["id"])
    assert reply["reply_to"] == {
        "id": said["id"],
        "seq": 1,
        "sender_id": str(ann.id),
        "content": "question?",
        "deleted": False,
    }
    await delete(one, ann, said["id"])
    left = await read(one, bob, reply["id"])
    assert left["content"] == "answer!"
    assert (left["reply_to"]["content"], left["reply_to"]["deleted"]) == ("", True)


async def test_delete_over_a_socket(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said, other = await one.say(ann, conversation, "x"), await one.say(ann, conversation, "y")
    async with one.client(bob) as mine, two.client(ann, conversation) as theirs:
        with pytest.raises(Refused, match="permission_denied"):
            await mine.request("delete", data={"message_id": said["id"]})
        await mine.request("delete", data={"message_id": said["id"], "for": "me"})
        assert (await mine.push("message.hidden"))["d"]["message_id"] == said["id"]
        await theirs.request("delete", data={"message_id": other["id"]})
        assert (await theirs.push("message.deleted"))["d"]["id"] == other["id"]
