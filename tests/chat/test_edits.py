"""Editing messages, and what they said before."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from libs.db import Database
from libs.testing.clock import StillClock
from parley_client.sockets import Refused
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, Person, running, with_role


async def patch(node: Node, person: Person, message_id: str, **body: Any) -> Any:
    return await node.call(person, "PATCH", f"/messages/{message_id}", json=body)


async def test_edit_reaches_everybody_as_the_whole_message(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with two.client(bob, conversation) as client:
        said = await one.say(ann, conversation, "teh")
        edited = (await patch(one, ann, said["id"], content="the", is_urgent=True, priority="high")).json()
        assert (edited["content"], edited["version"], edited["importance"]) == ("the", 2, "urgent")
        push = await client.push("message.edited")
        assert push["d"] == {key: edited[key] for key in push["d"]}
        assert push["q"] == 3
    assert (await two.call(bob, "GET", f"/messages/{said['id']}")).json()["content"] == "the"


@pytest.mark.promise("C10", "K27")
async def test_edit_is_too_late_one_second_after_the_window(aging: Node, later: StillClock, lasting: People) -> None:
    ann, bob = await lasting(2)
    conversation = await aging.group(ann, bob)
    said = await aging.say(bob, conversation, "old")
    later.advance(300)
    assert (await patch(aging, bob, said["id"], content="in time")).status_code == 200
    later.advance(1)
    answer = await patch(aging, bob, said["id"], content="late")
    assert (answer.status_code, answer.json()["code"]) == (403, "edit_window_expired")
    assert answer.json()["detail"] == "Messages can only be edited within 5 minutes."
    assert (await aging.call(ann, "GET", f"/messages/{said['id']}")).json()["content"] == "in time"
    async with aging.client(bob) as client:
        with pytest.raises(Refused, match="edit_window_expired"):
            await client.request("edit", data={"message_id": said["id"], "content": "late"})


@pytest.mark.promise("C10")
async def test_owner_edits_own_words_however_late(aging: Node, later: StillClock, lasting: People) -> None:
    ann, bob = await lasting(2)
    conversation = await aging.group(ann, bob)
    said = await aging.say(ann, conversation, "rules")
    later.advance(86_400)
    assert (await patch(aging, ann, said["id"], content="new rules")).status_code == 200


@pytest.mark.promise("C10")
async def test_nobody_edits_the_words_of_another_not_even_staff(
    one: Node, people: People, issue_token: Callable[..., str]
) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    said = await one.say(bob, conversation, "mine")
    staff = Person(ann.id, issue_token(ann.id, roles=["admin"]), "ann")
    assert (await patch(one, ann, said["id"], content="x")).status_code == 403
    assert (await patch(one, staff, said["id"], content="x")).status_code == 403
    assert (await patch(one, eve, said["id"], content="x")).status_code == 404
    assert (await one.call(ann, "GET", f"/messages/{said['id']}")).json()["content"] == "mine"


@pytest.mark.promise("C14")
async def test_stale_version_is_409_with_the_current_one(one: Node, people: People) -> None:
    [ann] = await people(1)
    said = await one.say(ann, await one.group(ann), "a")
    assert (await patch(one, ann, said["id"], content="b", version=1)).status_code == 200
    answer = await patch(one, ann, said["id"], content="c", version=1)
    assert (answer.status_code, answer.json()["code"], answer.json()["version"]) == (409, "version_conflict", 2)


@pytest.mark.promise("C14")
async def test_of_edits_of_one_version_at_once_one_wins(one: Node, two: Node, people: People) -> None:
    [ann] = await people(1)
    said = await one.say(ann, await one.group(ann), "0")
    answers = await asyncio.gather(
        *(patch((one, two)[n % 2], ann, said["id"], content=f"{n}!", version=1) for n in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    assert (await one.call(ann, "GET", f"/messages/{said['id']}")).json()["version"] == 2


@pytest.mark.promise("C13")
async def test_what_it_said_before_is_there_with_editor_and_time(one: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    said = await one.say(ann, await one.group(ann, bob), "one")
    edited = (await patch(one, ann, said["id"], content="two")).json()
    await patch(one, ann, said["id"], content="three")
    path = f"/messages/{said['id']}/revisions"
    found = (await one.call(bob, "GET", path)).json()["results"]
    assert [(r["version"], r["content"]) for r in found] == [(3, "three"), (2, "two"), (1, "one")]
    assert [r["written_at"] for r in found[1:]] == [edited["edited_at"], said["created_at"]]
    assert found[2]["editor"]["username"] == ann.name
    assert (await one.call(eve, "GET", path)).status_code == 404
    page = (await one.call(bob, "GET", f"{path}?limit=2")).json()
    rest = (await one.http.get(page["next"], headers=bob.headers)).json()
    assert [r["version"] for r in page["results"] + rest["results"]] == [3, 2, 1]


@pytest.mark.promise("C13")
async def test_of_a_deleted_message_no_version_is_left(one: Node, people: People) -> None:
    ann, bob = await people(2)
    said = await one.say(ann, await one.group(ann, bob), "one")
    await patch(one, ann, said["id"], content="two")
    await one.call(ann, "DELETE", f"/messages/{said['id']}")
    assert (await one.call(bob, "GET", f"/messages/{said['id']}/revisions")).json()["results"] == []
    answer = await patch(one, ann, said["id"], content="three")
    assert (answer.status_code, answer.json()["code"]) == (409, "message_deleted")


@pytest.mark.parametrize(
    "body",
    [
        {"content": ""},
        {"content": " \n"},
        {"content": None},
        {"content": "x" * 10_001},
        {"content": "nul\x00"},
        {"content": 5},
        {"importance": "enormous"},
        {"priority": ""},
        {"sender_id": "somebody"},
        {"version": "first"},
    ],
)
async def test_bad_edit_is_refused_and_changes_nothing(one: Node, people: People, body: dict[str, Any]) -> None:
    [ann] = await people(1)
    said = await one.say(ann, await one.group(ann), "fine")
    assert (await patch(one, ann, said["id"], **body)).status_code == 422
    assert (await one.call(ann, "GET", f"/messages/{said['id']}")).json()["content"] == "fine"


async def test_edit_that_changes_nothing_is_no_edit(one: Node, people: People) -> None:
    [ann] = await people(1)
    said = await one.say(ann, await one.group(ann), "same")
    answer = (await patch(one, ann, said["id"], content="same")).json()
    assert (answer["version"], answer["edited_at"]) == (1, None)


async def test_who_may_not_write_any_more_does_not_edit(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(bob, conversation, "fine")
    await with_role(database, conversation, bob, "read_only")
    answer = await patch(one, bob, said["id"], content="spam")
    assert (answer.status_code, answer.json()["code"]) == (403, "cannot_post")


async def test_edit_of_what_a_member_may_not_see_shows_nobody_its_words(
    one: Node, people: People, database: Database
) -> None:
    ann, bob, carol = await people(3)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "before carol")
    await database_update(database, "UPDATE conversation SET history = 'since_joining' WHERE id = :c", conversation)
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(carol.id)]})
    async with one.client(carol, conversation) as client:
        await patch(one, ann, said["id"], content="still before carol")
        push = await client.push("message.edited")
        assert (push["d"]["content"], push["d"]["veiled"]) == (None, True)
    async with one.client(carol, resume={f"c:{conversation}": (1, 3)}) as client:
        push = await client.push("message.edited")
        assert (push["d"]["content"], push["d"]["veiled"]) == (None, True)
    assert (await one.call(bob, "GET", f"/messages/{said['id']}")).json()["content"] == "still before carol"
    for path in ("", "/revisions", "/reactions"):
        assert (await one.call(carol, "GET", f"/messages/{said['id']}{path}")).status_code == 404


async def database_update(database: Database, statement: str, conversation: str) -> None:
    async with database.transaction() as db:
        await db.execute(text(statement), {"c": conversation})


async def test_edit_over_a_socket(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "teh")
    async with one.client(ann) as here, two.client(bob, conversation) as there:
        answer = await here.request("edit", data={"message_id": said["id"], "content": "the", "version": 1})
        assert answer["version"] == 2
        assert (await there.push("message.edited"))["d"]["content"] == "the"
        for data in ({}, {"message_id": 5}, {"message_id": str(uuid4()), "content": "x"}, {"message_id": said["id"]}):
            if data != {"message_id": said["id"]}:
                with pytest.raises(Refused):
                    await here.request("edit", data=data)


async def test_edits_too_fast_are_refused(settings_for: SettingsFor, people: People) -> None:
    [ann] = await people(1)
    async with running(settings_for(change_rate=0.001, change_burst=2)) as slow:
        said = await slow.say(ann, await slow.group(ann), "0")
        statuses = [(await patch(slow, ann, said["id"], content=f"{n}")).status_code for n in range(1, 4)]
    assert statuses == [200, 200, 429]
