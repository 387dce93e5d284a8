"""Jumping to a message, and to the first that is unread."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person


async def listed(node: Node, person: Person, conversation: str, **query: Any) -> Any:
    answer = await node.call(person, "GET", f"/conversations/{conversation}/messages", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def spoken(node: Node, ann: Person, bob: Person, count: int = 20) -> tuple[str, list[str]]:
    conversation = await node.group(ann, bob)
    stored = [await node.context.writer.send(UUID(conversation), bob.id, content=f"{n}") for n in range(count)]
    return conversation, [str(one.id) for one in stored]


def seqs(page: Any) -> list[int]:
    return [message["seq"] for message in page["results"]]


@pytest.mark.promise("C65")
async def test_message_is_in_the_middle_of_the_page(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation, ids = await spoken(one, ann, bob)
    page = await listed(one, ann, conversation, around_id=ids[9], limit=6)
    assert (page["anchor"], seqs(page)) == (10, [13, 12, 11, 10, 9, 8])
    older = (await one.http.get(page["next"], headers=ann.headers)).json()
    newer = (await one.http.get(page["previous"], headers=ann.headers)).json()
    assert (seqs(older)[0], seqs(newer)[-1]) == (7, 14)


@pytest.mark.promise("C65")
async def test_first_unread_message_is_in_the_middle(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation, ids = await spoken(one, ann, bob)
    await one.call(ann, "POST", f"/conversations/{conversation}/read", json={"seq": 7})
    async with database.transaction() as db:
        gone = "UPDATE message SET uncounted = true, deleted_at = now(), content = '' WHERE id = :id"
        await db.execute(text(gone), {"id": ids[7]})
    page = await listed(one, ann, conversation, anchor="first_unread", limit=4)
    assert (page["anchor"], seqs(page)) == (9, [11, 10, 9, 8])


@pytest.mark.promise("C65")
async def test_where_everything_is_read_the_newest_page_comes(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation, _ = await spoken(one, ann, bob)
    page = await listed(one, bob, conversation, anchor="first_unread", limit=3)
    assert (page["anchor"], seqs(page)) == (None, [20, 19, 18])
    assert (await listed(one, bob, conversation, limit=3))["results"] == page["results"]


async def test_what_one_may_not_see_is_no_anchor(one: Node, people: People, database: Database) -> None:
    ann, bob, carol = await people(3)
    conversation, ids = await spoken(one, ann, bob, 4)
    elsewhere, others = await spoken(one, ann, bob, 1)
    async with database.transaction() as db:
        await db.execute(text("UPDATE conversation SET history = 'since_joining' WHERE id = :c"), {"c": conversation})
    await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(carol.id)]})
    for person, where, message in (
        (carol, conversation, ids[1]),
        (carol, elsewhere, others[0]),
        (ann, conversation, others[0]),
        (ann, conversation, str(uuid4())),
    ):
        path = f"/conversations/{where}/messages?around_id={message}"
        assert (await one.call(person, "GET", path)).status_code == 404
    assert (await listed(one, carol, conversation, anchor="first_unread"))["anchor"] is None


@pytest.mark.parametrize(
    "query",
    ["around_id=x", "anchor=last", "anchor=first_unread&around=3", f"around_id={UUID(int=7)}&anchor=first_unread"],
)
async def test_bad_anchors_are_refused(one: Node, people: People, query: str) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    assert (await one.call(ann, "GET", f"/conversations/{conversation}/messages?{query}")).status_code == 422
