"""What those who come later see of what was said before."""

import pytest
from sqlalchemy import text

from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person


async def since_joining(database: Database, conversation: str) -> None:
    async with database.transaction() as db:
        await db.execute(text("UPDATE conversation SET history = 'since_joining' WHERE id = :c"), {"c": conversation})


async def let_in(node: Node, owner: Person, conversation: str, person: Person) -> None:
    path = f"/conversations/{conversation}/members"
    assert (await node.call(owner, "POST", path, json={"user_ids": [str(person.id)]})).status_code == 200


async def seen(node: Node, person: Person, conversation: str, query: str = "") -> list[str]:
    answer = await node.call(person, "GET", f"/conversations/{conversation}/messages{query}")
    return [message["content"] for message in answer.json()["results"]] if answer.status_code == 200 else []


@pytest.fixture
async def meeting(one: Node, people: People, database: Database) -> tuple[Person, Person, str, str]:
    """Ann said `before` when she was alone, and `after` when Bob was there; he sees what came since."""
    ann, bob = await people(2)
    conversation = await one.group(ann)
    before = await one.say(ann, conversation, "before")
    await since_joining(database, conversation)
    await let_in(one, ann, conversation, bob)
    await one.say(ann, conversation, "after")
    return ann, bob, conversation, before["id"]


@pytest.mark.promise("C60")
@pytest.mark.parametrize("query", ["", "?before=99", "?after=0", "?around=1", "?around=2", "?before=2", "?limit=1"])
async def test_a_newcomer_reads_what_came_since(
    one: Node, meeting: tuple[Person, Person, str, str], query: str
) -> None:
    ann, bob, conversation, _ = meeting
    assert "before" not in await seen(one, bob, conversation, query)
    assert await seen(one, bob, conversation) == ["after"]
    assert await seen(one, ann, conversation) == ["after", "before"]


async def test_a_page_of_a_newcomer_leads_to_nothing_older(one: Node, meeting: tuple[Person, Person, str, str]) -> None:
    _, bob, conversation, _ = meeting
    assert (await one.call(bob, "GET", f"/conversations/{conversation}/messages")).json()["next"] is None


@pytest.mark.promise("C60")
async def test_a_newcomer_is_not_given_an_older_message_by_its_id(
    one: Node, meeting: tuple[Person, Person, str, str]
) -> None:
    ann, bob, _, before = meeting
    assert (await one.call(bob, "GET", f"/messages/{before}")).status_code == 404
    assert (await one.call(ann, "GET", f"/messages/{before}")).status_code == 200


async def test_a_list_shows_no_last_message_from_before(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "before")
    await since_joining(database, conversation)
    await let_in(one, ann, conversation, bob)
    [mine] = (await one.call(bob, "GET", "/conversations")).json()["results"]
    assert (mine["last_message"], mine["unread_count"]) == (None, 0)


@pytest.mark.promise("C60")
async def test_a_position_from_before_is_too_old_for_a_newcomer(
    one: Node, meeting: tuple[Person, Person, str, str]
) -> None:
    ann, bob, conversation, _ = meeting
    stream = f"c:{conversation}"
    async with one.client(bob) as client:
        outcome = (await client.sub(resume={stream: (1, 0)}))[stream]
        assert (outcome["limited"], outcome["n"]) == (True, 0)
        assert client.events(stream) == []
    async with one.client(ann) as client:
        outcome = (await client.sub(resume={stream: (1, 0)}))[stream]
        assert outcome["n"] == 4, outcome


async def test_a_newcomer_resumes_from_joining(one: Node, meeting: tuple[Person, Person, str, str]) -> None:
    _, bob, conversation, _ = meeting
    stream = f"c:{conversation}"
    async with one.client(bob, resume={stream: (1, 2)}) as client:
        await client.push("message.new")
        assert [event["t"] for event in client.events(stream)] == ["member.added", "message.new"]


async def test_with_the_whole_history_a_newcomer_reads_all(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann)
    await one.say(ann, conversation, "before")
    await let_in(one, ann, conversation, bob)
    assert await seen(one, bob, conversation) == ["before"]


@pytest.mark.promise("C60")
async def test_who_has_left_reads_nothing_more(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "while you were here")
    await one.call(bob, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    assert (await one.call(bob, "GET", f"/conversations/{conversation}/messages")).status_code == 404
    assert (await one.call(bob, "GET", f"/messages/{said['id']}")).status_code == 404


@pytest.mark.promise("C60")
async def test_who_comes_back_sees_what_came_since_then(one: Node, meeting: tuple[Person, Person, str, str]) -> None:
    ann, bob, conversation, _ = meeting
    await one.call(bob, "DELETE", f"/conversations/{conversation}/members/{bob.id}")
    await one.say(ann, conversation, "between")
    await let_in(one, ann, conversation, bob)
    await one.say(ann, conversation, "again")
    assert await seen(one, bob, conversation) == ["again"]


@pytest.mark.promise("C60")
@pytest.mark.parametrize("field", ["reply_to", "thread_root_id"])
async def test_a_newcomer_does_not_read_an_older_message_by_answering_it(
    one: Node, meeting: tuple[Person, Person, str, str], field: str
) -> None:
    ann, bob, conversation, before = meeting
    body = {"content": "?", field: before}
    answer = await one.call(bob, "POST", f"/conversations/{conversation}/messages", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert (await one.say(ann, conversation, "!", reply_to=before))["reply_to"]["content"] == "before"


@pytest.mark.promise("C60")
async def test_an_edit_does_not_show_newcomers_what_was_said_before(
    one: Node, two: Node, meeting: tuple[Person, Person, str, str]
) -> None:
    ann, bob, conversation, before = meeting
    stream = f"c:{conversation}"
    async with two.client(bob, conversation) as client:
        edited = await one.call(ann, "PATCH", f"/messages/{before}", json={"content": "before, and more"})
        assert edited.status_code == 200
        told = (await client.push("message.edited"))["d"]
        assert (told["content"], told["veiled"]) == (None, True)
    async with two.client(bob, resume={stream: (1, 2)}) as client:
        await client.push("message.edited")
        assert "before" not in str(client.pushes)
