"""What a message may carry, and who may send it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from libs.db import Database
from libs.testing.clock import FakeClock
from parley_client.sockets import Refused
from tests.chat.conftest import People, SettingsFor
from tests.chat.files import change, uploaded
from tests.chat.nodes import Node, Person, assert_gap_free, running, shared


async def post(node: Node, person: Person, conversation: str, **body: Any) -> Any:
    return await node.call(person, "POST", f"/conversations/{conversation}/messages", json=body)


async def refused(node: Node, person: Person, conversation: str, **body: Any) -> tuple[int, str, str | None]:
    """Status, code and field; the socket says the same."""
    answer = await post(node, person, conversation, **body)
    said = answer.json()
    field = said["errors"][0]["field"] if said.get("errors") else None
    async with node.client(person) as client:
        with pytest.raises(Refused) as refusal:
            await client.request("send", f"c:{conversation}", body)
    assert refusal.value.code == said["code"]
    if field is not None:
        assert refusal.value.error["errors"][0]["field"].split(".")[0] == field.split(".")[0]
    return answer.status_code, said["code"], field


@pytest.mark.promise("C4")
async def test_a_message_carries_files_and_is_read_as_it_was_answered(
    one: Node, two: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    photo = await uploaded(database, ann, "image", width=4, height=3, thumbnail_key="t")
    paper = await uploaded(database, ann)
    async with two.client(bob, conversation) as watching, two.client(ann, conversation) as other_device:
        said = await one.say(
            ann,
            conversation,
            "",
            attachments=[photo, paper],
            importance="urgent",
            priority="high",
            message_type="image",
        )
        pushed = await watching.push("message.new")
        assert (await other_device.push("message.new"))["d"] == pushed["d"]
    assert (await two.call(ann, "GET", f"/messages/{said['id']}")).json() == said
    assert pushed["d"] == shared(said)
    assert (said["message_type"], said["importance"], said["priority"]) == ("image", "urgent", "high")
    assert [file["id"] for file in said["attachments"]] == [photo, paper]
    assert said["attachments"][0] == {
        "id": photo,
        "name": "a image",
        "content_type": "image/png",
        "kind": "image",
        "size": 5,
        "width": 4,
        "height": 3,
        "url": f"/api/v1/attachments/{photo}",
        "thumbnail_url": f"/api/v1/attachments/{photo}/thumbnail",
    }


@pytest.mark.parametrize("kind", ["image", "file", "audio", "video"])
async def test_type_is_that_of_the_first_file(one: Node, people: People, database: Database, kind: str) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    said = await one.say(ann, conversation, "look", attachments=[await uploaded(database, ann, kind)])
    assert said["message_type"] == kind


async def test_a_type_must_fit_what_is_carried(one: Node, people: People, database: Database) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    photo = await uploaded(database, ann, "image")
    wrong = await refused(one, ann, conversation, attachments=[photo], message_type="video")
    assert wrong == (422, "validation_error", "message_type")
    assert (await refused(one, ann, conversation, content="x", message_type="image"))[2] == "message_type"
    assert (await refused(one, ann, conversation, content="x", message_type="system"))[2] == "message_type"
    assert (await one.say(ann, conversation, "", attachments=[photo], message_type="file"))["message_type"] == "file"


@pytest.mark.promise("C1")
async def test_a_file_is_claimed_by_one_message_however_many_race(
    one: Node, two: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    places = [await one.group(ann, bob), await one.group(ann)]
    photo = await uploaded(database, ann, "image")
    answers = await asyncio.gather(
        *(post(node, ann, place, content=f"{n}", attachments=[photo])
          for n in range(5) for place in places for node in (one, two))
    )  # fmt: skip
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 19
    assert {answer.json()["errors"][0]["field"] for answer in answers if answer.status_code == 422} == {"attachments"}


async def test_a_file_of_somebody_else_or_none_cannot_be_sent(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    foreign = await uploaded(database, bob)
    own = await uploaded(database, ann)
    for files in ([foreign], [str(uuid4())], [own, foreign], [own, own], ["x"], "x", [own] * 11):
        assert (await refused(one, ann, conversation, content="x", attachments=files))[::2] in (
            (422, "attachments"),
            (422, "attachments.0"),
        )
    await one.say(ann, conversation, "still free", attachments=[own])
    assert (await refused(one, ann, conversation, content="x", attachments=[own]))[2] == "attachments"


@pytest.mark.parametrize(
    ("flag", "kind", "code"),
    [
        ("allow_file_sharing", "image", "files_not_allowed"),
        ("allow_voice_messages", "audio", "voice_not_allowed"),
        ("allow_voice_messages", "image", None),
    ],
)
async def test_a_conversation_may_refuse_files_or_voice(
    one: Node, people: People, database: Database, flag: str, kind: str, code: str | None
) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    await change(database, "conversation", "id = :id", {"id": conversation}, **{flag: False})
    file = await uploaded(database, ann, kind)
    if code is None:
        await one.say(ann, conversation, "", attachments=[file])
    else:
        assert (await refused(one, ann, conversation, attachments=[file]))[:2] == (403, code)
    await one.say(ann, conversation, "words go on")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"content": "x", "importance": "vital"}, "importance"),
        ({"content": "x", "priority": 3}, "priority"),
        ({"content": "x", "also_in_conversation": True}, "also_in_conversation"),
        ({"content": "x", "thread_root_id": "x"}, "thread_root_id"),
        ({"content": "x", "mentions": []}, "mentions"),
        ({"content": "x", "mentions": {"all": "yes please"}}, "mentions.all"),
        ({"content": "x", "attachments": 5}, "attachments"),
        ({"content": " ", "importance": "urgent"}, "content"),
    ],
)
async def test_what_makes_no_sense_is_named(one: Node, people: People, body: dict[str, Any], field: str) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    assert await refused(one, ann, conversation, **body) == (422, "validation_error", field)
    await one.say(ann, conversation, "nothing was stored")
    await assert_gap_free(database=one.context.db, conversation=conversation, messages=1)


async def test_messages_that_vanish_are_not_supported(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    when = "2027-01-01T00:00:00Z"
    assert await refused(one, ann, conversation, content="x", expires_at=when) == (422, "not_supported", "expires_at")


async def test_other_names_of_the_same_thing(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    root = await one.say(ann, conversation, "root", message_type="text", is_important=True)
    reply = await one.say(ann, conversation, "reply", thread=root["id"], is_urgent=True)
    assert (root["importance"], reply["importance"]) == ("important", "urgent")
    assert reply["thread"]["root_id"] == root["id"]
    both = await post(one, ann, conversation, content="x", thread=root["id"], thread_root_id=str(uuid4()))
    assert both.status_code == 422


RICH: dict[str, Any] = {"importance": "important"}


@pytest.mark.parametrize("extras", [{}, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("role", ["owner", "admin", "moderator", "member", "guest", "read_only"])
@pytest.mark.parametrize("kind", ["group", "channel"])
async def test_roles_decide_who_sends(
    one: Node, people: People, database: Database, kind: str, role: str, extras: dict[str, Any]
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob, kind=kind)
    await change(database, "member", "user_id = :id", {"id": bob.id}, role=role)
    if role in ("owner", "admin", "moderator") or (kind == "group" and role != "read_only"):
        await one.say(bob, conversation, "x", **extras)
    else:
        assert (await refused(one, bob, conversation, content="x", **extras))[:2] == (403, "cannot_post")


@pytest.mark.parametrize("extras", [{}, RICH], ids=["plain", "rich"])
async def test_who_is_barred_or_no_member_does_not_send(
    one: Node, people: People, database: Database, extras: dict[str, Any]
) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    await change(database, "member", "user_id = :id", {"id": bob.id}, barred=True)
    assert (await refused(one, bob, conversation, content="x", **extras))[:2] == (403, "cannot_post")
    assert (await refused(one, eve, conversation, content="x", **extras))[:2] == (404, "not_found")
    assert (await refused(one, eve, str(uuid4()), content="x", **extras))[:2] == (404, "not_found")


@pytest.mark.parametrize("extras", [{}, RICH], ids=["plain", "rich"])
async def test_an_ended_conversation_takes_no_messages(
    one: Node, people: People, database: Database, extras: dict[str, Any]
) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    key = str(uuid4())
    said = await one.say(ann, conversation, "in time", client_msg_id=key, **extras)
    await change(database, "conversation", "id = :id", {"id": conversation}, status="closed")
    assert (await refused(one, ann, conversation, content="x", **extras))[:2] == (403, "cannot_post")
    assert await one.say(ann, conversation, "again", client_msg_id=key, **extras) == said
    await change(database, "conversation", "id = :id", {"id": conversation}, deleted_at=one.context.clock.now())
    assert (await refused(one, ann, conversation, content="x", **extras))[0] == 404


@pytest.mark.promise("C1")
async def test_rich_and_plain_messages_race_through_two_processes_without_a_hole(
    one: Node, two: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    keys = [str(uuid4()) for _ in range(140)]
    sends = [(n, keys[n]) for n in range(140)] + [(n, keys[n]) for n in range(0, 140, 10) for _ in range(3)]
    answers = await asyncio.gather(
        *(
            (one, two)[place % 2].say(
                (ann, bob)[n % 2],
                conversation,
                f"{n}",
                client_msg_id=key,
                **(RICH if n % 3 == 0 else {}),
            )
            for place, (n, key) in enumerate(sends)
        )
    )
    assert len({answer["id"] for answer in answers}) == 140
    assert all(
        answer["importance"] == ("important" if int(answer["content"]) % 3 == 0 else "normal") for answer in answers
    )
    await assert_gap_free(database, conversation, 140)


@pytest.mark.promise("C2")
async def test_a_rich_message_sent_again_a_month_later_gives_the_stored_one(
    one: Node, people: People, database: Database, settings_for: SettingsFor, issue_token: Callable[..., str]
) -> None:
    ann, bob = await people(2)
    conversation, key = await one.group(ann, bob), str(uuid4())
    root = await one.say(bob, conversation, "root")
    body = {
        "client_msg_id": key,
        "thread_root_id": root["id"],
        "attachments": [await uploaded(database, ann)],
        "mentions": {"user_ids": [str(bob.id)]},
    }
    first = await one.say(ann, conversation, "original", **body)
    clock = FakeClock()
    async with running(settings_for(), clock) as later:
        clock.advance(timedelta(days=31).total_seconds())
        now = int(clock.seconds())
        ann.token = issue_token(ann.id, iat=now, nbf=now, exp=now + 900, iat_ms=now * 1000)
        assert await later.say(ann, conversation, "original", **body) == first
        assert await later.say(ann, conversation, "a plain retry", client_msg_id=key) == first


@pytest.mark.promise("C6")
@pytest.mark.parametrize(("content", "fits"), [("", True), (" ", True), ("x" * 10_001, False), ("a\x00b", False)])
async def test_words_beside_a_file_are_bounded_too(
    one: Node, people: People, database: Database, *, content: str, fits: bool
) -> None:
    [ann] = await people(1)
    conversation, file = await one.group(ann), await uploaded(database, ann)
    if not fits:
        assert (await refused(one, ann, conversation, content=content, attachments=[file]))[2] == "content"
        content = "short"
    assert (await one.say(ann, conversation, content, attachments=[file]))["content"] == content


async def test_one_at_fault_leaves_the_others_of_its_batch_alone(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    wrong: list[dict[str, Any]] = [
        {"thread_root_id": str(uuid4())},
        {"attachments": [str(uuid4())]},
        {"mentions": {"user_ids": [str(uuid4())]}},
        {"reply_to": str(uuid4())},
        {"content": "x" * 10_001},
    ]
    bodies = [{"content": f"{n}", **(wrong[n // 2 % 5] if n % 2 else RICH)} for n in range(40)]
    answers = await asyncio.gather(*(post(one, ann, conversation, **body) for body in bodies))
    assert [answer.status_code for answer in answers] == [201, 422] * 20
    await assert_gap_free(database, conversation, 20)
