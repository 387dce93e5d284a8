"""Slow mode: one message of a member in so many seconds, whichever process takes it."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from chat_service.domain.drafts import Extras
from chat_service.errors import SlowMode
from libs.db import Database
from libs.testing.clock import StillClock
from parley_client.sockets import Refused
from tests.chat.conftest import People
from tests.chat.files import change
from tests.chat.nodes import Node, Person, assert_gap_free

SECONDS = 30
RICH: dict[str, Any] = {"importance": "important"}
pytestmark = pytest.mark.promise("C9")


async def slow(node: Node, database: Database, *people: Person, seconds: int = SECONDS) -> str:
    conversation = await node.group(*people)
    await change(database, "conversation", "id = :id", {"id": conversation}, slow_seconds=seconds)
    return conversation


@pytest.mark.parametrize("extras", [{}, RICH], ids=["plain", "rich"])
async def test_second_message_is_refused_with_what_is_left_to_wait(
    one: Node, people: People, database: Database, extras: dict[str, Any]
) -> None:
    ann, bob = await people(2)
    conversation = await slow(one, database, ann, bob)
    await one.say(bob, conversation, "first", **extras)
    path = f"/conversations/{conversation}/messages"
    answer = await one.call(bob, "POST", path, json={"content": "second", **extras})
    assert (answer.status_code, answer.json()["code"]) == (429, "slow_mode")
    assert 0 < answer.json()["retry_ms"] <= SECONDS * 1000
    assert 0 < int(answer.headers["Retry-After"]) <= SECONDS
    async with one.client(bob) as client:
        with pytest.raises(Refused) as refused:
            await client.request("send", f"c:{conversation}", {"content": "second", **extras})
    assert refused.value.error["code"] == "slow_mode"
    assert 0 < refused.value.error["retry_ms"] <= SECONDS * 1000
    assert refused.value.error["retry"] is True


async def test_waiting_is_enough(aging: Node, later: StillClock, lasting: People, database: Database) -> None:
    ann, bob = await lasting(2)
    conversation = await slow(aging, database, ann, bob)
    await aging.say(bob, conversation, "first")
    later.advance(SECONDS - 1)
    path = f"/conversations/{conversation}/messages"
    early = await aging.call(bob, "POST", path, json={"content": "early"})
    assert (early.status_code, early.json()["retry_ms"] <= 1001) == (429, True)
    later.advance(1)
    await aging.say(bob, conversation, "in time")


@pytest.mark.parametrize("extras", [{}, RICH], ids=["plain", "rich"])
async def test_of_racing_messages_through_two_processes_exactly_one_is_taken(
    one: Node, two: Node, people: People, database: Database, extras: dict[str, Any]
) -> None:
    ann, bob, cid = await people(3)
    conversation = await slow(one, database, ann, bob, cid)
    path = f"/conversations/{conversation}/messages"
    answers = await asyncio.gather(
        *(
            node.call(person, "POST", path, json={"content": f"{n}", **extras})
            for n in range(8)
            for node in (one, two)
            for person in (bob, cid)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [429] * 30
    await assert_gap_free(database, conversation, 2)


async def test_a_message_sent_again_is_answered_in_slow_mode_too(
    one: Node, two: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    conversation, key = await slow(one, database, ann, bob), str(uuid4())
    said = await one.say(bob, conversation, "once", client_msg_id=key)
    for node in (one, two):
        assert await node.say(bob, conversation, "once", client_msg_id=key) == said


@pytest.mark.parametrize("role", ["owner", "admin", "moderator"])
async def test_moderators_do_not_wait(one: Node, people: People, database: Database, role: str) -> None:
    ann, bob = await people(2)
    conversation = await slow(one, database, ann, bob)
    await change(database, "member", "user_id = :id", {"id": bob.id}, role=role)
    for number in range(3):
        assert (await one.say(bob, conversation, f"{number}"))["seq"] == number + 1


async def test_each_waits_alone_and_in_each_conversation(one: Node, people: People, database: Database) -> None:
    ann, bob, cid = await people(3)
    conversation, other = await slow(one, database, ann, bob, cid), await slow(one, database, ann, bob)
    for place, person in ((conversation, bob), (conversation, cid), (other, bob)):
        await one.say(person, place, "mine")


async def test_words_from_before_slow_mode_count(one: Node, people: People, database: Database) -> None:
    ann, bob = await people(2)
    conversation = await slow(one, database, ann, bob, seconds=0)
    await one.say(bob, conversation, "as fast")
    await one.say(bob, conversation, "as one likes")
    await change(database, "conversation", "id = :id", {"id": conversation}, slow_seconds=SECONDS)
    path = f"/conversations/{conversation}/messages"
    assert (await one.call(bob, "POST", path, json={"content": "no more"})).status_code == 429


async def test_a_refusal_does_not_begin_the_wait_anew_nor_close_the_socket(
    aging: Node, later: StillClock, lasting: People, database: Database
) -> None:
    ann, bob = await lasting(2)
    conversation = await slow(aging, database, ann, bob)
    async with aging.client(bob) as client:
        await client.send(conversation, "first")
        for _ in range(12):
            later.advance(1)
            with pytest.raises(Refused):
                await client.send(conversation, "again")
        later.advance(SECONDS - 12)
        assert (await client.send(conversation, "now"))["seq"] == 2


async def test_a_caller_may_ask_for_a_distance_that_everybody_keeps(
    one: Node, two: Node, people: People, database: Database
) -> None:
    """As the Rooms client has it: one message a second, owners and all."""
    [ann] = await people(1)
    for _ in range(5):
        conversation = await one.group(ann)
        sends = [
            node.context.writer.send(UUID(conversation), ann.id, content=f"{n}", extras=Extras(gap_seconds=SECONDS))
            for n in range(4)
            for node in (one, two)
        ]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert sum(isinstance(outcome, SlowMode) for outcome in outcomes) == 7
        await one.say(ann, conversation, "others know nothing of it")
        await assert_gap_free(database, conversation, 2)
