"""Reactions to messages."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from chat_service.domain.emoji import is_emoji
from libs.db import Database
from parley_client.sockets import Refused
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person, assert_gap_free, with_role


async def react(node: Node, person: Person, message_id: str, emoji: str, method: str = "PUT") -> Any:
    return await node.call(person, method, f"/messages/{message_id}/reactions/{quote(emoji, safe='')}")


async def counts(node: Node, person: Person, message_id: str) -> dict[str, int]:
    message = (await node.call(person, "GET", f"/messages/{message_id}")).json()
    return {each["emoji"]: each["count"] for each in message["reactions"]}


@pytest.mark.promise("C18")
async def test_reacting_twice_is_as_once_and_can_be_taken_back(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    said = await one.say(ann, await one.group(ann, bob), "party")
    assert (await react(one, ann, said["id"], "🎉")).json() == {"emoji": "🎉", "count": 1}
    assert (await react(two, ann, said["id"], "🎉")).json() == {"emoji": "🎉", "count": 1}
    assert (await react(two, bob, said["id"], "🎉")).json() == {"emoji": "🎉", "count": 2}
    assert await counts(one, bob, said["id"]) == {"🎉": 2}
    for _ in range(2):
        assert (await react(one, ann, said["id"], "🎉", "DELETE")).json() == {"emoji": "🎉", "count": 1}
    await react(one, bob, said["id"], "🎉", "DELETE")
    assert await counts(one, bob, said["id"]) == {}


@pytest.mark.promise("C18")
async def test_a_thousand_racing_toggles_leave_the_right_counts(
    one: Node, two: Node, people: People, database: Database
) -> None:
    crowd = await people(10)
    conversation = await one.group(*crowd)
    said = await one.say(crowd[0], conversation, "vote")
    emojis = ("👍", "👎")

    async def toggle(person: Person, offset: int) -> None:
        for turn in range(50):
            node = (one, two)[(turn + offset) % 2]
            method = "PUT" if turn % 2 == 0 else "DELETE"
            assert (await react(node, person, said["id"], emojis[offset], method)).status_code == 200

    # The last toggle of each takes the reaction back; then half of them react once more.
    await asyncio.gather(*(toggle(person, n) for person in crowd for n in (0, 1)))
    assert await counts(one, crowd[0], said["id"]) == {}
    racing = [react((one, two)[n % 2], crowd[n % 5], said["id"], "👍") for n in range(20)]
    await asyncio.gather(*racing)
    assert await counts(two, crowd[0], said["id"]) == {"👍": 5}
    await assert_gap_free(database, conversation, 1)


@pytest.mark.promise("C18")
async def test_change_reaches_others_as_it_is_then(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "x")
    async with two.client(bob, conversation) as client:
        await react(one, ann, said["id"], "❤️")
        await react(one, ann, said["id"], "❤️", "DELETE")
        on = await client.push("reaction.changed", on=True)
        off = await client.push("reaction.changed", on=False)
    assert on["d"] == {"message_id": said["id"], "user_id": str(ann.id), "emoji": "❤️", "on": True, "count": 1}
    assert (on["q"], off["q"], off["d"]["count"]) == (3, 4, 0)
    async with one.client(bob, resume={f"c:{conversation}": (1, 2)}) as client:
        assert (await client.push("reaction.changed", on=True))["d"] == on["d"]


async def test_who_has_reacted_is_listed_by_pages(one: Node, people: People) -> None:
    crowd = await people(3)
    said = await one.say(crowd[0], await one.group(*crowd), "x")
    for person in crowd:
        await react(one, person, said["id"], "👍")
    await react(one, crowd[1], said["id"], "🎉")
    path = f"/messages/{said['id']}/reactions"
    page = (await one.call(crowd[0], "GET", f"{path}?limit=3")).json()
    rest = (await one.http.get(page["next"], headers=crowd[0].headers)).json()
    found = page["results"] + rest["results"]
    assert sorted((r["user"]["id"], r["emoji"]) for r in found) == sorted(
        [(str(p.id), "👍") for p in crowd] + [(str(crowd[1].id), "🎉")]
    )
    only = (await one.call(crowd[0], "GET", f"{path}?emoji=🎉")).json()["results"]
    assert [r["user"]["username"] for r in only] == [crowd[1].name]


async def test_there_are_twenty_different_ones_at_most(one: Node, people: People) -> None:
    ann, bob = await people(2)
    said = await one.say(ann, await one.group(ann, bob), "x")
    for number in range(20):
        assert (await react(one, ann, said["id"], f":e{number}:")).status_code == 200
    answer = await react(one, bob, said["id"], ":e20:")
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_reactions")
    assert (await react(one, bob, said["id"], ":e19:")).status_code == 200


async def test_of_thirty_different_ones_at_once_twenty_stay(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    said = await one.say(ann, await one.group(ann, bob), "x")
    tries = [react((one, two)[n % 2], (ann, bob)[n % 2], said["id"], f":e{n}:") for n in range(30)]
    answers = await asyncio.gather(*tries)
    assert sorted(answer.status_code for answer in answers) == [200] * 20 + [409] * 10
    assert len(await counts(one, ann, said["id"])) == 20


async def test_strangers_read_only_members_and_deleted_messages(one: Node, people: People, database: Database) -> None:
    ann, bob, eve = await people(3)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "x")
    assert (await react(one, eve, said["id"], "👍")).status_code == 404
    assert (await one.call(eve, "GET", f"/messages/{said['id']}/reactions")).status_code == 404
    await with_role(database, conversation, bob, "read_only")
    assert (await react(one, bob, said["id"], "👍")).status_code == 403
    await one.call(ann, "DELETE", f"/messages/{said['id']}")
    assert (await react(one, ann, said["id"], "👍")).json()["code"] == "message_deleted"


@pytest.mark.parametrize(
    "emoji", ["x", "👍👍", "👍 ", "<b>", "::", ":UP:", "lol", "é", "\u202e", "👍" * 20, "a\u200db"]
)
async def test_what_is_no_emoji_is_refused(one: Node, people: People, emoji: str) -> None:
    [ann] = await people(1)
    said = await one.say(ann, await one.group(ann), "x")
    assert (await react(one, ann, said["id"], emoji)).status_code == 422


@pytest.mark.parametrize(
    "emoji",
    [
        "👍",
        "👍🏽",
        "❤️",
        "👨‍👩‍👧‍👦",
        "👩🏽‍❤️‍💋‍👨🏿",
        "🇩🇪",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "1️⃣",
        "‼️",
        "\u2139\ufe0f",
        "↔️",
        "™️",
        ":+1:",
        ":tada:",
        "\U0001fae9",
    ],
)
def test_what_people_react_with_is_an_emoji(emoji: str) -> None:
    assert is_emoji(emoji)


async def test_react_over_a_socket(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    said = await one.say(ann, conversation, "x")
    async with one.client(bob) as mine, two.client(ann, conversation) as theirs:
        data = {"message_id": said["id"], "emoji": "👍"}
        assert await mine.request("react", data=data) == {"emoji": "👍", "count": 1}
        await theirs.push("reaction.changed", on=True)
        assert await mine.request("unreact", data=data) == {"emoji": "👍", "count": 0}
        for bad in ({}, {"message_id": said["id"]}, {**data, "emoji": "no"}, {**data, "message_id": None}):
            with pytest.raises(Refused, match="validation_error"):
                await mine.request("react", data=bad)
