"""Answering messages and passing them on."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from libs.db import Database
from parley_client.sockets import Refused
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person


async def forward(node: Node, person: Person, message_id: str, **body: Any) -> Any:
    return await node.call(person, "POST", f"/messages/{message_id}/forward", json=body)


@pytest.mark.promise("C19")
async def test_forwarded_copy_says_where_it_came_from_and_keeps_its_words(one: Node, two: Node, people: People) -> None:
    ann, bob, carol = await people(3)
    source = await one.group(ann, bob)
    targets = [await one.group(bob, carol) for _ in range(3)]
    said = await one.say(ann, source, "original")
    async with two.client(carol, f"{targets[0]}") as client:
        answer = await forward(one, bob, said["id"], conversation_ids=targets)
        assert answer.status_code == 201, answer.text
        push = await client.push("message.new")
    copies = [outcome["message"] for outcome in answer.json()["results"]]
    assert [copy["conversation_id"] for copy in copies] == targets
    origin = copies[0]["forwarded_from"]
    assert (origin["message_id"], origin["conversation_id"]) == (said["id"], source)
    assert (origin["sender"]["username"], origin["sent_at"]) == (ann.name, said["created_at"])
    assert (push["d"]["forwarded_from"], push["d"]["content"]) == (origin, "original")
    await one.call(ann, "PATCH", f"/messages/{said['id']}", json={"content": "changed"})
    await one.call(ann, "DELETE", f"/messages/{said['id']}")
    left = (await two.call(carol, "GET", f"/messages/{copies[0]['id']}")).json()
    assert (left["content"], left["forwarded_from"]) == ("original", origin)
    again = (await forward(one, carol, left["id"], conversation_ids=[targets[1]])).json()
    assert again["results"][0]["message"]["forwarded_from"] == origin


@pytest.mark.promise("C19", "K29")
async def test_both_sides_ask_whether_one_may(one: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    source, hers = await one.group(ann), await one.group(eve)
    said = await one.say(ann, source, "secret")
    assert (await forward(one, eve, said["id"], conversation_id=hers)).status_code == 404
    for body in ({"conversation_id": hers}, {"conversation_id": str(uuid4())}, {"conversation_ids": [source, hers]}):
        answer = await forward(one, ann, said["id"], **body)
        assert answer.status_code == 404
        assert answer.json()["detail"] == "Target conversation not found or access denied"
    assert (await one.call(ann, "GET", f"/conversations/{source}")).json()["last_message"]["id"] == said["id"]
    channel = await one.group(bob, ann, kind="channel")
    assert (await forward(one, ann, said["id"], conversation_id=channel)).status_code == 403
    mixed = (await forward(one, ann, said["id"], conversation_ids=[source, channel])).json()["results"]
    assert [outcome["code"] for outcome in mixed] == [None, "cannot_post"]


@pytest.mark.promise("C19")
async def test_deleted_message_is_not_forwarded(one: Node, people: People) -> None:
    [ann] = await people(1)
    source = await one.group(ann)
    said = await one.say(ann, source, "x")
    await one.call(ann, "DELETE", f"/messages/{said['id']}")
    assert (await forward(one, ann, said["id"], conversation_id=source)).json()["code"] == "message_deleted"


async def test_files_go_along_and_stay_when_the_original_goes(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    source, target = await one.group(ann, bob), await one.group(bob)
    headers = {**ann.headers, "Content-Type": "text/plain"}
    up = await one.http.post("/api/v1/attachments?name=a.txt", content=b"hello there", headers=headers)
    assert up.status_code == 201, up.text
    said = await one.say(ann, source, "look", attachments=[up.json()["id"]])
    copy = (await forward(one, bob, said["id"], conversation_ids=[target])).json()["results"][0]["message"]
    assert copy["attachments"][0]["id"] != said["attachments"][0]["id"]
    await one.call(ann, "DELETE", f"/messages/{said['id']}")
    gone = await one.http.get(said["attachments"][0]["url"], headers=bob.headers)
    kept = await one.http.get(copy["attachments"][0]["url"], headers=bob.headers)
    assert (gone.status_code, kept.status_code, kept.content) == (404, 200, b"hello there")


async def test_forward_again_with_the_same_key_stores_nothing(one: Node, people: People, database: Database) -> None:
    [ann] = await people(1)
    source, target = await one.group(ann), await one.group(ann)
    said = await one.say(ann, source, "x")
    headers = {**ann.headers, "Idempotency-Key": "forward-1"}
    for _ in range(2):
        path, body = f"/api/v1/messages/{said['id']}/forward", {"conversation_ids": [target]}
        assert (await one.http.post(path, json=body, headers=headers)).status_code == 201
    async with database.transaction() as db:
        assert await db.scalar(text("SELECT count(*) FROM message WHERE conversation_id = :c"), {"c": target}) == 1


async def test_forward_over_a_socket(one: Node, people: People) -> None:
    ann, bob = await people(2)
    source, target = await one.group(ann), await one.group(ann, bob)
    said = await one.say(ann, source, "x")
    async with one.client(ann) as client:
        data = {"message_id": said["id"], "conversation_ids": [target]}
        answer = await client.request("forward", data=data)
        assert (answer["results"][0]["conversation_id"], answer["results"][0]["seq"]) == (target, 1)
        for bad in ({}, {**data, "conversation_ids": []}, {**data, "conversation_ids": [5]}, {**data, "message_id": 1}):
            with pytest.raises(Refused, match="validation_error"):
                await client.request("forward", data=bad)
        with pytest.raises(Refused, match="not_found"):
            await client.request("forward", data={**data, "conversation_ids": [str(uuid4())]})
