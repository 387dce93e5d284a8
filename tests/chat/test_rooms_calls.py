"""The calls of the Rooms client below `/api/chat`, as literal JSON."""

import asyncio
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person, register


def number(person: Person) -> int:
    return person.id.int % 10**12


async def call(node: Node, person: Person | None, method: str, path: str = "/", **more: Any) -> httpx2.Response:
    headers = {**(person.headers if person else {}), **more.pop("headers", {})}
    return await node.http.request(method, f"/api/chat/conversations{path}", headers=headers, **more)


async def talk(node: Node, owner: Person, *others: Person) -> int:
    answer = await call(node, owner, "POST", json={"participants": [number(p) for p in others]})
    assert answer.status_code == 201, answer.text
    conversation: int = answer.json()["id"]
    return conversation


async def id_of(node: Node, person: Person, conversation: int) -> str:
    found = (await node.call(person, "GET", "/conversations")).json()["results"]
    return next(each["id"] for each in found if each["number"] == conversation)


@pytest.mark.promise("K45", "K46")
async def test_creates_a_conversation_with_the_creator_in_it(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    answer = await call(one, ann, "POST", json={"participants": [number(bob), number(carol)], "name": "ignored"})
    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {"id", "participants", "messages", "created_at"}
    assert type(body["id"]) is int
    assert body["created_at"].endswith("Z")
    assert body["messages"] == []
    assert {p["id"] for p in body["participants"]} == {number(p) for p in (ann, bob, carol)}
    mine = next(p for p in body["participants"] if p["id"] == number(ann))
    assert mine == {"id": number(ann), "username": ann.name, "email": None, "first_name": "User", "last_name": ""}


@pytest.mark.promise("K46")
async def test_creator_may_be_named_too(one: Node, people: People) -> None:
    ann, bob = await people(2)
    answer = await call(one, ann, "POST", json={"participants": [number(ann), str(number(bob)), number(bob)]})
    assert [p["id"] for p in answer.json()["participants"]] == sorted([number(ann), number(bob)])


@pytest.mark.promise("K46")
async def test_same_two_people_get_the_one_that_is_there(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    first = await talk(one, ann, bob)
    assert await talk(one, bob, ann) == first
    assert await talk(one, ann, carol) != first


@pytest.mark.promise("K46")
async def test_same_two_people_at_once(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    numbers = await asyncio.gather(*(talk(node, a, b) for node in (one, two) for a, b in ((ann, bob), (bob, ann))))
    assert len(set(numbers)) == 1


@pytest.mark.promise("K46")
async def test_three_always_make_a_new_group(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    assert await talk(one, ann, bob, carol) != await talk(one, ann, bob, carol)


@pytest.mark.promise("K46", "K2", "K3")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "This field is required."),
        ({"participants": []}, "This list may not be empty."),
        ({"participants": None}, 'Expected a list of items but got type "NoneType".'),
        ({"participants": "2"}, 'Expected a list of items but got type "str".'),
        ({"participants": [None]}, "Incorrect type. Expected pk value, received NoneType."),
        ({"participants": [True]}, "Incorrect type. Expected pk value, received bool."),
        ({"participants": ["x"]}, "Incorrect type. Expected pk value, received str."),
        ({"participants": [1.5]}, "Incorrect type. Expected pk value, received float."),
        ({"participants": [0]}, 'Invalid pk "0" - object does not exist.'),
        ({"participants": [-1]}, 'Invalid pk "-1" - object does not exist.'),
        ({"participants": [1 << 70]}, f'Invalid pk "{1 << 70}" - object does not exist.'),
        ({"participants": [1] * 1001}, "Ensure this field has no more than 1000 elements."),
    ],
    ids=range(12),
)
async def test_bad_participants_are_400(one: Node, people: People, body: Any, said: str) -> None:
    (ann,) = await people(1)
    answer = await call(one, ann, "POST", json=body)
    assert (answer.status_code, answer.json()) == (400, {"participants": [said]})


@pytest.mark.promise("K46")
async def test_alone_is_400(one: Node, people: People) -> None:
    (ann,) = await people(1)
    answer = await call(one, ann, "POST", json={"participants": [number(ann)]})
    assert (answer.status_code, answer.json()) == (400, {"participants": ["Name at least one other person."]})


@pytest.mark.promise("K46")
async def test_who_has_blocked_somebody_does_not_exist_for_them(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    await one.call(bob, "PUT", f"/blocks/{ann.id}")
    for numbers in ([number(bob)], [number(carol), number(bob)]):
        answer = await call(one, ann, "POST", json={"participants": numbers})
        said = f'Invalid pk "{number(bob)}" - object does not exist.'
        assert (answer.status_code, answer.json()) == (400, {"participants": [said]})


@pytest.mark.promise("K46")
async def test_who_hears_from_contacts_alone_is_400_until_asked(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    async with database.transaction() as db:
        statement = "UPDATE profile SET direct_messages = 'contacts' WHERE user_id = :id"
        await db.execute(text(statement), {"id": bob.id})
    answer = await call(one, ann, "POST", json={"participants": [number(bob)]})
    assert (answer.status_code, list(answer.json())) == (400, ["participants"])
    await one.call(ann, "POST", "/interests", json={"to_user": str(bob.id)})
    await one.call(bob, "POST", "/interests", json={"to_user": str(ann.id)})
    assert await talk(one, ann, bob)


@pytest.mark.promise("K2", "K3")
@pytest.mark.parametrize("body", [[], 5, "x", None])
async def test_body_that_is_no_object_is_400(one: Node, people: People, body: Any) -> None:
    (ann,) = await people(1)
    answer = await call(one, ann, "POST", json=body)
    assert answer.status_code == 400
    assert not isinstance(answer.json().get("detail"), list)


@pytest.mark.promise("K45")
async def test_lists_ones_own_newest_activity_first_with_the_last_message(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    quiet, busy = await talk(one, ann, bob), await talk(one, ann, carol)
    await talk(one, bob, carol)
    conversation_id = await id_of(one, ann, quiet)
    for said in ("first", "last"):
        await one.say(bob, conversation_id, said)
    listed = (await call(one, ann, "GET")).json()
    assert [each["id"] for each in listed] == [quiet, busy]
    (message,) = listed[0]["messages"]
    assert message.pop("timestamp").endswith("Z")
    assert message == {"id": 2, "sender_id": number(bob), "sender": bob.name, "content": "last"}
    assert listed[1]["messages"] == []


@pytest.mark.promise("K45")
async def test_reads_one_with_its_messages_oldest_first(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await talk(one, ann, bob)
    conversation_id = await id_of(one, ann, conversation)
    for said in ("a", "b", "c"):
        await one.say(bob, conversation_id, said)
    found = (await call(one, ann, "GET", f"/{conversation}/")).json()
    assert found["id"] == conversation
    assert [(m["id"], m["content"]) for m in found["messages"]] == [(1, "a"), (2, "b"), (3, "c")]
    assert len(found["participants"]) == 2


@pytest.mark.promise("K47")
async def test_messages_from_the_cache_are_those_of_the_database(left: Node, own_redis: Redis, people: People) -> None:
    ann, bob = await people(2)
    conversation = await talk(left, ann, bob)
    conversation_id = await id_of(left, ann, conversation)
    for count in range(105):
        await left.say(bob, conversation_id, f"{count}")
    path = f"/{conversation}/messages/"
    await call(left, ann, "GET", path)
    kept = (await call(left, ann, "GET", path)).json()
    await own_redis.flushall()
    read = (await call(left, ann, "GET", path)).json()
    assert (kept["source"], read["source"]) == ("redis", "database")
    assert kept["messages"] == read["messages"]
    assert [m["content"] for m in kept["messages"]] == [f"{count}" for count in range(5, 105)]
    assert kept["conversation_id"] == conversation
    assert kept["messages"][0].keys() == {"id", "sender_id", "sender", "content", "timestamp"}


@pytest.mark.promise("K49")
@pytest.mark.parametrize("path", ["/{}/", "/{}/messages/"])
async def test_strangers_and_nobody_get_the_same_404(one: Node, people: People, path: str) -> None:
    ann, bob, carol = await people(3)
    conversation = await talk(one, ann, bob)
    answers = [
        await call(one, carol, "GET", path.format(name)) for name in (conversation, 10**15, 0, "x", "9" * 40, "%C2%B2")
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert [answer.json() for answer in answers] == [{"detail": "Not found.", "code": "not_found"}] * 6


@pytest.mark.promise("K1")
@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("GET", ""), ("GET", "/{}"), ("GET", "/{}/messages")])
async def test_both_spellings_answer_alike(one: Node, people: People, method: str, path: str) -> None:
    ann, bob = await people(2)
    path = path.format(await talk(one, ann, bob))
    body = {"json": {"participants": [number(bob)]}} if method == "POST" else {}
    bare, slashed = [await call(one, ann, method, path + end, **body) for end in ("", "/")]
    assert bare.status_code == slashed.status_code == (201 if method == "POST" else 200)
    assert str(bare.json()) == str(slashed.json()).replace("redis", "database")


@pytest.mark.promise("K2")
@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        (None, 401, {"detail": "Authentication credentials were not provided.", "code": "not_authenticated"}),
        ("Token x", 401, {"detail": "Authentication credentials were not provided.", "code": "not_authenticated"}),
        ("Bearer a.b.c", 401, {"detail": "Given token not valid for any token type", "code": "token_not_valid"}),
    ],
)
async def test_who_is_not_signed_in_is_told_in_its_words(
    one: Node, header: str | None, status: int, body: dict[str, str]
) -> None:
    answer = await call(one, None, "GET", headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.promise("K2")
async def test_other_refusals_have_its_shape(one: Node, people: People) -> None:
    (ann,) = await people(1)
    json = {"Content-Type": "application/json"}
    answers = [
        await call(one, ann, "PUT", json={}),
        await call(one, ann, "POST", content=b"{", headers=json),
        await call(one, ann, "POST", content=b"x", headers={"Content-Type": "text/plain"}),
        await call(one, ann, "POST", content=b"[" * (1 << 21), headers=json),
        await one.http.get("/api/chat/nothing/", headers=ann.headers),
    ]
    assert [answer.status_code for answer in answers] == [405, 400, 415, 413, 404]
    assert [answer.json()["code"] for answer in answers] == [
        "method_not_allowed",
        "parse_error",
        "unsupported_media_type",
        "payload_too_large",
        "not_found",
    ]
    assert answers[0].headers["allow"]


async def test_deleted_messages_are_not_there(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await talk(one, ann, bob)
    conversation_id = await id_of(one, ann, conversation)
    gone = await one.say(ann, conversation_id, "gone")
    await one.say(ann, conversation_id, "kept")
    await one.call(ann, "DELETE", f"/messages/{gone['id']}")
    found = (await call(one, bob, "GET", f"/{conversation}/messages/")).json()["messages"]
    assert [message["content"] for message in found] == ["kept"]


async def test_address_is_shown_to_its_owner_alone(one: Node, database: Database, issue_token: Any) -> None:
    ann, bob = await register(database, 2, issue_token)
    async with database.transaction() as db:
        await db.execute(
            text("UPDATE profile SET email = username || '@example.com' WHERE user_id = ANY (:ids)"),
            {"ids": [ann.id, bob.id]},
        )
    await talk(one, ann, bob)
    (found,) = (await call(one, ann, "GET")).json()
    assert {p["id"]: p["email"] for p in found["participants"]} == {
        number(ann): f"{ann.name}@example.com",
        number(bob): None,
    }
