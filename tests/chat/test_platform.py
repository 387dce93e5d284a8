"""What the Platform client calls, word for word."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from parley_client.sockets import Refused
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person

CONVERSATION = {
    **dict.fromkeys(("id", "conversation_type", "name", "description", "role", "created_by", "created_at"), str),
    **dict.fromkeys(("updated_at",), str),
    **dict.fromkeys(("number", "member_count", "unread_count", "last_read_seq"), int),
    "image_url": (str, type(None)),
    "muted_until": (str, type(None)),
    "participants": list,
    "permissions": dict,
    "last_message": (dict, type(None)),
}
MESSAGE = {
    **dict.fromkeys(("id", "conversation_id", "content", "message_type", "importance", "client_msg_id"), str),
    **dict.fromkeys(("created_at",), str),
    **dict.fromkeys(("seq", "version"), int),
    **dict.fromkeys(("attachments", "reactions"), list),
    "sender": dict,
    "mentions": dict,
    **dict.fromkeys(("reply_to", "thread", "forwarded_from"), (dict, type(None))),
    **dict.fromkeys(("edited_at", "deleted_at"), (str, type(None))),
}
SEEN = {**MESSAGE, "status": str, "is_read": bool}


def has(found: dict[str, Any], shape: dict[str, Any]) -> None:
    assert {
        key: found.get(key, "missing") for key, kind in shape.items() if not isinstance(found.get(key, 0.5), kind)
    } == {}


async def call(node: Node, person: Person, method: str, path: str, body: Any = None, expected: int = 200) -> Any:
    answer = await node.call(person, method, path, json=body)
    assert answer.status_code == expected, answer.text
    return answer.json() if answer.content else None


@pytest.mark.promise("K25")
async def test_every_call_with_its_final_slash_or_without(one: Node, people: People) -> None:
    ann, bob = await people(2)
    body = {"conversation_type": "group", "participants": [str(bob.id)], "name": "Team", "description": "All of us"}
    made = await call(one, ann, "POST", "/conversations/", body, 201)
    has(made, CONVERSATION)
    path = f"/conversations/{made['id']}"
    has((await call(one, ann, "GET", "/conversations/"))["results"][0], CONVERSATION)
    has(await call(one, ann, "GET", f"{path}/"), CONVERSATION)
    has(await call(one, ann, "PATCH", f"{path}/", {"name": "Crew"}), CONVERSATION)
    said = await call(one, ann, "POST", f"{path}/messages/", {"content": "Hello", "message_type": "text"}, 201)
    has(said, MESSAGE)
    has(await call(one, ann, "POST", "/messages/", {"conversation": made["id"], "content": "Hi"}, 201), MESSAGE)
    has((await call(one, ann, "GET", f"{path}/messages/"))["results"][0], SEEN)
    has((await call(one, ann, "GET", "/messages/"))["results"][0], SEEN)
    has(await call(one, ann, "GET", f"/messages/{said['id']}/"), SEEN)
    changed = {"content": "Hello!", "is_important": True, "is_urgent": False, "priority": "high"}
    edited = await call(one, ann, "PATCH", f"/messages/{said['id']}/", changed)
    has(edited, MESSAGE)
    assert (edited["importance"], edited["priority"]) == ("important", "high")
    await call(one, ann, "DELETE", f"/messages/{said['id']}/", expected=204)
    await call(one, ann, "DELETE", f"{path}/", expected=204)
    await call(one, ann, "GET", f"{path}/", expected=404)


@pytest.mark.promise("K26")
async def test_refusals_are_problem_documents(one: Node, people: People) -> None:
    [ann] = await people(1)
    said = await one.say(ann, await one.group(ann), "x")
    answer = await one.call(ann, "PATCH", f"/messages/{said['id']}/", json={"content": "", "priority": "x"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["status"]) == ("validation_error", 422)
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert [error["field"] for error in problem["errors"]] == ["priority"]


@pytest.mark.promise("K28")
async def test_one_reader_does_not_mark_it_for_another(one: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    conversation = await one.group(ann, bob, carol)
    said = await one.say(ann, conversation, "x")
    await call(one, bob, "POST", f"/conversations/{conversation}/read", {"seq": 1})
    path = f"/messages/{said['id']}"
    assert [(await call(one, who, "GET", path))["is_read"] for who in (bob, carol)] == [True, False]
    unread = await call(one, carol, "GET", "/messages?is_read=false")
    assert [m["id"] for m in unread["results"]] == [said["id"]]
    assert (await call(one, bob, "GET", "/messages?is_read=false"))["results"] == []
    assert (await call(one, ann, "GET", path))["status"] != "read"
    await call(one, carol, "POST", f"/conversations/{conversation}/read", {"seq": 1})
    assert (await call(one, ann, "GET", path))["status"] == "read"


@pytest.mark.promise("K29")
async def test_stranger_finds_nothing(one: Node, people: People) -> None:
    ann, eve = await people(2)
    conversation = await one.group(ann)
    said = await one.say(ann, conversation, "x")
    hers = await one.group(eve)
    calls = [
        ("GET", f"/conversations/{conversation}", None),
        ("DELETE", f"/conversations/{conversation}", None),
        ("POST", "/messages", {"conversation": conversation, "content": "x"}),
        ("GET", f"/messages/{said['id']}", None),
        ("PATCH", f"/messages/{said['id']}", {"content": "x"}),
        ("DELETE", f"/messages/{said['id']}", None),
        ("POST", f"/messages/{said['id']}/reply", {"content": "x"}),
        ("POST", f"/messages/{said['id']}/forward", {"conversation_id": hers}),
    ]
    for method, path, body in calls:
        await call(one, eve, method, path, body, 404)
    assert (await call(one, eve, "GET", f"/messages?conversation={conversation}"))["results"] == []


@pytest.mark.promise("K31")
async def test_pages_lead_forward_and_back_over_everything_once(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversations = [await one.group(ann), await one.group(ann)]
    said = [(await one.say(ann, conversations[n % 2], f"{n}"))["id"] for n in range(45)]
    page = await call(one, ann, "GET", "/messages")
    assert (len(page["results"]), page["previous"]) == (20, None)
    first = page["results"]
    found = [m["id"] for m in first]
    while page["next"]:
        await one.say(ann, conversations[0], "meanwhile")
        page = (await one.http.get(page["next"], headers=ann.headers)).json()
        found += [m["id"] for m in page["results"]]
    assert found == said[::-1]
    back = (await one.http.get(page["previous"], headers=ann.headers)).json()
    assert [m["id"] for m in back["results"]] == found[20:40]
    assert len((await call(one, ann, "GET", "/messages?limit=100"))["results"]) == 47
    for bad in ("limit=101", "limit=0", "cursor=x", "cursor=WzFd", "is_read=maybe", "created_at__gte=soon"):
        await call(one, ann, "GET", f"/messages?{bad}", expected=422)


async def test_list_is_filtered_and_counted(one: Node, people: People) -> None:
    ann, bob = await people(2)
    group, direct = await one.group(ann, bob), await one.group(ann, bob, kind="direct")
    urgent = await one.say(ann, group, "urgent", is_urgent=True)
    plain = await one.say(bob, direct, "plain")
    # The day may have ended in between.
    day = plain["created_at"][:10]
    wanted = {
        f"conversation={direct}": [plain],
        f"sender={ann.id}": [urgent],
        "is_important=true": [urgent],
        "is_important=false": [plain],
        "conversation__conversation_type=group": [urgent],
        "message_type=text": [plain, urgent],
        "message_type=image": [],
        "is_read=true": [urgent],
        f"created_at__date={day}": [said for said in (plain, urgent) if said["created_at"][:10] == day],
        "created_at__date=2001-01-01": [],
        "created_at__lte=2001-01-01T00:00:00Z": [],
        "created_at__gte=2001-01-01T00:00:00Z": [plain, urgent],
    }
    for query, expected in wanted.items():
        page = await call(one, ann, "GET", f"/messages?{query}&count=true")
        assert [m["id"] for m in page["results"]] == [m["id"] for m in expected], query
        assert page["count"] == len(expected)


@pytest.mark.promise("K32")
async def test_reply_and_forward_in_the_clients_words(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation, target = await one.group(ann, bob), await one.group(bob)
    said = await one.say(ann, conversation, "Look at this")
    path = f"/messages/{said['id']}"
    reply = await call(one, bob, "POST", f"{path}/reply/", {"content": "Nice"}, 201)
    assert (reply["conversation_id"], reply["reply_to"]["id"], reply["content"]) == (conversation, said["id"], "Nice")
    copy = await call(one, bob, "POST", f"{path}/forward/", {"conversation_id": target}, 201)
    assert (copy["conversation_id"], copy["content"]) == (target, "Forwarded from User:\n\nLook at this")
    refused = await call(one, bob, "POST", f"{path}/reply/", {"content": " "}, 422)
    assert refused["errors"] == [{"field": "content", "message": "Content is required"}]
    assert (await call(one, bob, "POST", f"{path}/reply/", {}, 422))["errors"] == refused["errors"]
    refused = await call(one, bob, "POST", f"{path}/forward/", {}, 422)
    assert refused["errors"] == [{"field": "conversation_id", "message": "conversation_id is required"}]
    refused = await call(one, bob, "POST", f"{path}/forward/", {"conversation_id": str(uuid4())}, 404)
    assert refused["detail"] == "Target conversation not found or access denied"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_is_not_there_is_said(one: Node, people: People, method: str) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    body: dict[str, Any] = {"message_retention_days": 30}
    path = f"/conversations/{conversation}"
    if method == "POST":
        path, body = f"{path}/messages", {"content": "x", "expires_at": "2100-01-01T00:00:00Z"}
    assert (await call(one, ann, method, path, body, 422))["code"] == "not_supported"


async def test_deleted_conversation_is_gone_for_everybody(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation, other = await one.group(ann, bob), await one.group(ann, bob)
    said = await one.say(bob, conversation, "x")
    await call(one, bob, "DELETE", f"/conversations/{conversation}", expected=403)
    async with two.client(bob, conversation, other) as client:
        await call(one, ann, "DELETE", f"/conversations/{conversation}", expected=204)
        assert (await client.push("gone"))["s"] == f"c:{conversation}"
        assert (await client.push("conversation.left"))["d"] == {"conversation_id": conversation}
        with pytest.raises(Refused, match="not_found"):
            await client.send(conversation, "anybody?")
        assert "err" in (await client.sub(f"c:{conversation}"))[f"c:{conversation}"]
        await client.send(other, "still here")
    for person in (ann, bob):
        assert [c["id"] for c in (await call(one, person, "GET", "/conversations"))["results"]] == [other]
        await call(one, person, "GET", f"/messages/{said['id']}", expected=404)
        await call(one, person, "GET", f"/conversations/{conversation}/messages", expected=404)
    await call(one, ann, "DELETE", f"/conversations/{conversation}", expected=404)


async def test_nobody_deletes_a_direct_conversation(one: Node, people: People) -> None:
    ann, bob = await people(2)
    direct = await one.group(ann, bob, kind="direct")
    await call(one, ann, "DELETE", f"/conversations/{direct}", expected=403)


async def test_messages_into_a_conversation_that_ends_are_in_or_refused(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    path = f"/conversations/{conversation}/messages"
    sends = [(one, two)[n % 2].call(bob, "POST", path, json={"content": f"{n}"}) for n in range(10)]
    *answers, ended = await asyncio.gather(*sends, one.call(ann, "DELETE", f"/conversations/{conversation}"))
    assert ended.status_code == 204
    assert {answer.status_code for answer in answers} <= {201, 403, 404}


async def test_conversations_are_filtered_and_lead_on(one: Node, people: People) -> None:
    ann, bob = await people(2)
    direct, group = await one.group(ann, bob, kind="direct"), await one.group(ann, bob)
    await one.say(ann, direct, "x")
    await call(one, ann, "PATCH", f"/conversations/{group}", {"status": "archived"})
    wanted = {
        "conversation_type=direct": [direct],
        "status=archived": [group],
        "is_active=true": [direct],
        "is_active=false": [group],
        "last_message_at__gte=2001-01-01T00:00:00Z": [direct],
        "last_message_at__lte=2001-01-01T00:00:00Z": [],
        "created_at__date=2001-01-01": [],
        "created_at__gte=2001-01-01T00:00:00Z": [direct, group],
        "created_at__lte=2001-01-01T00:00:00Z": [],
    }
    for query, expected in wanted.items():
        page = await call(one, ann, "GET", f"/conversations?{query}")
        assert [c["id"] for c in page["results"]] == expected, query
    page = await call(one, ann, "GET", "/conversations?limit=1&created_at__gte=2001-01-01T00:00:00Z")
    rest = (await one.http.get(page["next"], headers=ann.headers)).json()
    assert [c["id"] for c in page["results"] + rest["results"]] == [direct, group]
    alone = await call(one, ann, "GET", f"/conversations/{group}")
    assert rest["results"][0] == alone
    for bad in ("status=lost", "is_active=maybe", "created_at__date=soon", "cursor=WzFd"):
        await call(one, ann, "GET", f"/conversations?{bad}", expected=422)
