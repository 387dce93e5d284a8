"""Sending over HTTP and reading back."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest

from libs.testing.clock import FakeClock
from parley_client import Refused
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, running


async def test_message_is_answered_as_it_is_read_later(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "Hello, wörld ✓ 👋")
    assert (await two.call(ann, "GET", f"/messages/{said['id']}")).json() == said
    read = (await two.call(bob, "GET", f"/messages/{said['id']}")).json()
    assert read == {**said, "is_read": False, "status": "delivered"}
    assert (read["seq"], read["message_type"], read["reply_to"]) == (1, "text", None)
    assert read["sender"] == {
        "id": str(ann.id),
        "username": ann.name,
        "display_name": "User",
        "avatar_url": None,
    }


async def test_message_of_others_is_not_found(one: Node, people: People) -> None:
    ann, eve = await people(2)
    said = await one.say(ann, await one.group(ann), "secret")
    assert (await one.call(eve, "GET", f"/messages/{said['id']}")).status_code == 404


@pytest.mark.promise("C1")
async def test_same_message_sent_twice_at_once_to_two_processes_is_stored_once(
    one: Node, two: Node, people: People
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    async with one.client(ann) as here, two.client(ann) as there:
        for round_ in range(20):
            key = uuid4()
            answers = await asyncio.gather(
                here.send(conversation, f"round {round_}", client_msg_id=key),
                there.send(conversation, f"round {round_}", client_msg_id=key),
            )
            assert answers[0]["id"] == answers[1]["id"]
            assert answers[0]["seq"] == answers[1]["seq"] == round_ + 1
            assert sorted(answer["dup"] for answer in answers) == [False, True]
    listed = (await one.call(bob, "GET", f"/conversations/{conversation}/messages?limit=100")).json()
    assert [m["content"] for m in listed["results"]] == [f"round {n}" for n in reversed(range(20))]


@pytest.mark.promise("C2")
async def test_same_message_sent_again_a_month_later_gives_the_stored_one(
    one: Node, people: People, settings_for: SettingsFor, issue_token: Callable[..., str]
) -> None:
    [ann] = await people(1)
    conversation, key = await one.group(ann), str(uuid4())
    first = await one.say(ann, conversation, "original", client_msg_id=key)
    clock = FakeClock()
    async with running(settings_for(), clock) as later:
        clock.advance(timedelta(days=31).total_seconds())
        now = int(clock.seconds())
        ann.token = issue_token(ann.id, iat=now, nbf=now, exp=now + 900, iat_ms=now * 1000)
        again = await later.say(ann, conversation, "a retry may even differ", client_msg_id=key)
    assert again == first


async def test_same_key_of_two_senders_is_two_messages(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation, key = await one.group(ann, bob), str(uuid4())
    assert (await one.say(ann, conversation, "a", client_msg_id=key))["seq"] == 1
    assert (await one.say(bob, conversation, "b", client_msg_id=key))["seq"] == 2


@pytest.mark.promise("C6")
@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ("x" * 10_000, True),
        ("😀" * 10_000, True),
        ("x" * 10_001, False),
        ("", False),
        ("  \n\t ", False),
        ("a\x00b", False),
    ],
    ids=["longest", "longest in four bytes", "too long", "empty", "blank", "null character"],
)
async def test_content_is_bounded_and_never_cut(one: Node, people: People, content: str, fits: bool) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    path = f"/conversations/{conversation}/messages"
    answer = await one.call(ann, "POST", path, json={"content": content})
    if fits:
        assert answer.json()["content"] == content
    else:
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "content"
        async with one.client(ann) as client:
            with pytest.raises(Refused) as refused:
                await client.send(conversation, content)
            assert refused.value.code == "validation_error"
            assert refused.value.error["errors"][0]["field"] == "content"
        assert (await one.call(ann, "GET", path)).json()["results"] == []


@pytest.mark.promise("C6")
async def test_content_is_bounded_in_bytes(people: People, settings_for: SettingsFor) -> None:
    async with running(settings_for(message_max_bytes=300)) as node:
        [ann] = await people(1)
        conversation = await node.group(ann)
        await node.say(ann, conversation, "字" * 100)
        answer = await node.call(ann, "POST", f"/conversations/{conversation}/messages", json={"content": "字" * 101})
        assert answer.status_code == 422


async def test_reply_quotes_a_message_of_the_same_conversation_only(one: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation, other = await one.group(ann, bob), await one.group(ann, bob)
    said = await one.say(ann, conversation, "q" * 300)
    reply = await one.say(bob, conversation, "yes", reply_to=said["id"])
    assert reply["reply_to"] == {
        "id": said["id"],
        "seq": 1,
        "sender_id": str(ann.id),
        "content": "q" * 200,
        "deleted": False,
    }
    path = f"/conversations/{other}/messages"
    answer = await one.call(bob, "POST", path, json={"content": "no", "reply_to": said["id"]})
    assert answer.status_code == 422
    assert (await one.call(bob, "GET", f"/messages/{reply['id']}")).json().items() >= reply.items()


async def test_pages_lead_through_the_history_both_ways(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    for number in range(1, 10):
        await one.say(ann, conversation, str(number))

    async def page(query: str) -> tuple[list[int], str | None, str | None]:
        body = (await one.call(ann, "GET", f"/conversations/{conversation}/messages?{query}")).json()
        return [m["seq"] for m in body["results"]], body["next"], body["previous"]

    def query_of(address: str | None) -> str:
        assert address is not None
        return address.partition("?")[2]

    newest, older, newer = await page("limit=4")
    assert (newest, newer) == ([9, 8, 7, 6], None)
    middle, older, newer = await page(query_of(older))
    assert middle == [5, 4, 3, 2]
    assert (await page(query_of(older)))[0:2] == ([1], None)
    assert (await page(query_of(newer)))[0::2] == ([9, 8, 7, 6], None)
    assert (await page("around=5&limit=4"))[0] == [7, 6, 5, 4]
    assert (await page("after=3&limit=2"))[0] == [5, 4]
    assert (await page("before=3"))[0] == [2, 1]
    assert (await page("after=9"))[0] == []


async def test_two_places_in_the_history_at_once_are_refused(one: Node, people: People) -> None:
    [ann] = await people(1)
    path = f"/conversations/{await one.group(ann)}/messages?before=3&after=1"
    assert (await one.call(ann, "GET", path)).status_code == 422


async def test_many_senders_on_two_processes_get_gap_free_numbers(one: Node, two: Node, people: People) -> None:
    crowd = await people(10)
    conversation = await one.group(*crowd)
    nodes = (one, two)
    said = await asyncio.gather(*(nodes[n % 2].say(crowd[n % 10], conversation, f"message {n}") for n in range(200)))
    assert sorted(message["seq"] for message in said) == list(range(1, 201))


async def test_channel_takes_messages_of_its_managers_only(one: Node, people: People) -> None:
    ann, bob = await people(2)
    channel = await one.group(ann, bob, kind="channel")
    await one.say(ann, channel, "news")
    answer = await one.call(bob, "POST", f"/conversations/{channel}/messages", json={"content": "spam"})
    assert (answer.status_code, answer.json()["code"]) == (403, "cannot_post")
