"""Contacts, and who may be written to without being one."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from libs.contracts.accounts import UserReinstated, UserSuspended
from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person
from tests.chat.test_erasure import hear
from tests.chat.test_interests import answer, ask, befriend, events


async def wants_contacts(database: Database, person: Person) -> None:
    async with database.transaction() as db:
        query = text("UPDATE profile SET direct_messages = 'contacts' WHERE user_id = :u")
        await db.execute(query, {"u": person.id})


async def write_to(node: Node, by: Person, to: Person) -> Any:
    body = {"conversation_type": "direct", "participants": [str(to.id)]}
    return await node.call(by, "POST", "/conversations", json=body)


@pytest.mark.promise("K41")
async def test_who_wants_contacts_is_not_written_to_by_others(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    await wants_contacts(database, bob)
    refused = await write_to(one, ann, bob)
    assert (refused.status_code, refused.json()["code"]) == (403, "interest_required")
    await ask(one, ann, bob)
    assert (await write_to(one, ann, bob)).status_code == 403
    assert (await write_to(one, bob, ann)).status_code == 201


@pytest.mark.promise("K41")
async def test_after_accepting_they_write(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    await wants_contacts(database, bob)
    conversation = (await befriend(one, ann, bob))["conversation_id"]
    again = await write_to(one, ann, bob)
    assert (again.status_code, again.json()["id"]) == (200, conversation)
    await one.say(ann, conversation, "Hello")


@pytest.mark.promise("K41")
async def test_who_takes_words_from_everybody_is_written_to_at_once(one: Node, people: People) -> None:
    ann, bob = await people(2)
    assert (await write_to(one, ann, bob)).status_code == 201


async def test_a_conversation_that_is_there_goes_on(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = (await write_to(one, ann, bob)).json()["id"]
    await wants_contacts(database, bob)
    assert (await write_to(one, ann, bob)).status_code == 200
    await one.say(ann, conversation, "Hello")


async def test_groups_are_for_everybody(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    await wants_contacts(database, bob)
    await one.group(ann, bob)


async def test_contacts_are_listed_and_ended(one: Node, people: People, database: Database) -> None:
    ann, *others = await people(4)
    made = [await befriend(one, ann, other) for other in others]
    page = (await one.call(ann, "GET", "/contacts?limit=2")).json()
    rest = (await one.http.get(page["next"], headers=ann.headers)).json()
    listed = page["results"] + rest["results"]
    assert [c["user"]["id"] for c in listed] == [str(p.id) for p in others[::-1]]
    assert [c["conversation_id"] for c in listed] == [i["conversation_id"] for i in made[::-1]]
    assert (await one.call(others[0], "DELETE", f"/interests/{made[0]['id']}")).status_code == 204
    left = (await one.call(ann, "GET", "/contacts")).json()["results"]
    assert len(left) == 2
    assert (await events(database, "InterestChanged", ann, others[0]))[-1]["status"] == "withdrawn"
    assert (await ask(one, ann, others[0])).status_code == 201


async def test_strangers_are_in_nobodys_list(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    asked = (await ask(one, ann, bob)).json()["id"]
    await answer(one, bob, asked, "decline")
    await ask(one, ann, cid)
    for person in (ann, bob, cid):
        assert (await one.call(person, "GET", "/contacts")).json()["results"] == []
    assert (await one.call(ann, "GET", "/contacts?cursor=nonsense")).status_code == 422


async def test_nothing_is_begun_with_who_is_suspended(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    old = await one.group(ann, bob)
    await hear(database, UserSuspended(user_id=bob.id))
    assert (await write_to(one, ann, bob)).status_code == 422
    assert (await ask(one, ann, bob)).status_code == 404
    added = await one.call(ann, "POST", f"/conversations/{old}/members", json={"user_ids": [str(bob.id)]})
    assert added.status_code == 422
    await one.say(ann, old, "goes on")
    await hear(database, UserReinstated(user_id=bob.id))
    assert (await write_to(one, ann, bob)).status_code == 201


async def test_asking_and_writing_at_once_do_not_wait_for_each_other(one: Node, two: Node, people: People) -> None:
    for _ in range(5):
        ann, bob = await people(2)
        asked, wrote = await asyncio.gather(ask(one, ann, bob), write_to(two, bob, ann))
        assert (asked.status_code, wrote.status_code) == (201, 201)
