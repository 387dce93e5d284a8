"""Following conversations: no hole, no repetition, on any process."""

import asyncio
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from chat_service.domain.log import MOST
from libs.db import Database
from parley_client import Position, Refused
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, running, shared


def numbers(events: list[dict[str, object]]) -> list[object]:
    return [event["q"] for event in events]


@pytest.mark.promise("C41")
async def test_every_durable_change_has_the_next_number(one: Node, two: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    conversation = await one.group(ann, bob)
    async with two.client(bob, conversation) as client:
        await one.say(ann, conversation, "first")
        await one.call(ann, "PATCH", f"/conversations/{conversation}", json={"name": "New"})
        await one.call(ann, "POST", f"/conversations/{conversation}/members", json={"user_ids": [str(cid.id)]})
        await two.say(cid, conversation, "second")
        await one.call(ann, "DELETE", f"/conversations/{conversation}/members/{cid.id}")
        await one.say(ann, conversation, "third")
        await client.push("message.new", content="third")
        events = client.events(f"c:{conversation}")
    assert [(e["q"], e["t"]) for e in events] == [
        (2, "message.new"),
        (3, "conversation.changed"),
        (4, "member.added"),
        (5, "message.new"),
        (6, "member.removed"),
        (7, "message.new"),
    ]
    assert [e["d"]["seq"] for e in events if e["t"] == "message.new"] == [1, 2, 3]


@pytest.mark.promise("C42")
async def test_client_resumes_on_another_process_with_exactly_what_it_missed(
    one: Node, two: Node, people: People
) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    stream = f"c:{conversation}"
    async with one.client(bob, conversation) as client:
        await one.say(ann, conversation, "seen")
        await client.push("message.new")
        seen = client.positions[stream]
    missed = [await one.say(ann, conversation, f"missed {n}") for n in range(30)]
    async with two.client(bob, resume={stream: seen}) as client:
        assert client.welcome["streams"][stream] == {
            "epoch": 1,
            "top": 32,
            "recovered": True,
            "limited": False,
            "n": 30,
        }
        await one.say(ann, conversation, "and on")
        await client.push("message.new", content="and on")
        events = client.events(stream)
        assert [e["d"] for e in events[:-1]] == [shared(each) for each in missed]
        assert numbers(events) == list(range(3, 34))
        assert (client.duplicates, client.gaps) == (0, [])
        latest = client.positions[stream]
    async with one.client(bob, resume={stream: latest}) as client:
        assert client.welcome["streams"][stream]["n"] == 0
        await client.request("ping")
        assert client.events(stream) == []


@pytest.mark.promise("C42")
@pytest.mark.parametrize("position", [(2, 1), (1, 10**6), (0, 0)], ids=["epoch", "future", "nothing"])
async def test_position_of_another_history_is_limited(one: Node, people: People, position: Position) -> None:
    [ann] = await people(1)
    stream = f"c:{await one.group(ann)}"
    async with one.client(ann) as client:
        outcome = (await client.sub(resume={stream: position}))[stream]
    assert outcome == {"epoch": 1, "top": 1, "recovered": False, "limited": True, "n": 0}


@pytest.mark.promise("C42")
async def test_longer_absence_than_the_replay_is_limited(one: Node, people: People) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    stream = f"c:{conversation}"
    await asyncio.gather(*(one.context.writer.send(UUID(conversation), ann.id, content="x") for _ in range(MOST + 1)))
    async with one.client(ann) as client:
        outcome = (await client.sub(resume={stream: (1, 1)}))[stream]
        assert (outcome["limited"], outcome["recovered"], outcome["n"]) == (True, False, 0)
    async with one.client(ann) as client:
        outcome = (await client.sub(resume={stream: (1, 2)}))[stream]
        assert (outcome["limited"], outcome["n"]) == (False, MOST)
        await client.until(lambda c: len(c.events(stream)) == MOST)
        assert client.gaps == []


async def test_pruned_log_is_limited_and_never_partly_recovered(one: Node, people: People, database: Database) -> None:
    [ann] = await people(1)
    conversation = await one.group(ann)
    for n in range(5):
        await one.say(ann, conversation, str(n))
    async with database.transaction() as db:
        await db.execute(text("DELETE FROM event WHERE conversation_id = :id AND seq <= 3"), {"id": conversation})
    async with one.client(ann) as client:
        outcome = (await client.sub(resume={f"c:{conversation}": (1, 1)}))[f"c:{conversation}"]
    assert (outcome["limited"], outcome["recovered"], outcome["n"]) == (True, False, 0)


@pytest.mark.promise("C46")
async def test_snapshot_and_stream_meet_without_a_hole_under_traffic(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    stream = f"c:{conversation}"
    done = asyncio.Event()

    async def talk() -> None:
        number = 0
        while not done.is_set():
            await one.say(ann, conversation, str(number))
            number += 1

    talking = asyncio.create_task(talk())
    for _ in range(5):
        snapshot = (await two.call(bob, "GET", f"/conversations/{conversation}")).json()
        page = (await two.call(bob, "GET", f"/conversations/{conversation}/messages?limit=100")).json()
        async with two.client(bob) as client:
            await client.sub(resume={stream: (snapshot["epoch"], snapshot["event_seq"])})
            await client.until(lambda c: len(c.events(stream)) > 10)
            known = {m["seq"] for m in page["results"]} | {e["d"]["seq"] for e in client.events(stream)}
            assert client.gaps == []
            assert known >= set(range(min(known), max(known) + 1))
    done.set()
    await talking


@pytest.mark.promise("C51")
async def test_each_stream_has_its_own_outcome_and_its_own_end(one: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    mine, other, foreign = await one.group(ann, bob), await one.group(ann, bob), await one.group(eve)
    async with one.client(ann) as client:
        wanted = [f"c:{mine}", f"c:{other}", f"c:{foreign}", f"c:{uuid4()}", "c:x", "n", "", f"c:{mine}".upper()]
        outcomes = await client.sub(*wanted)
        assert [outcomes[s].get("err", {}).get("code") for s in wanted] == [None, None, *["not_found"] * 6]
        assert (await client.sub(f"c:{mine}"))[f"c:{mine}"]["err"]["code"] == "already_subscribed"
        await client.request("unsub", data={"streams": [f"c:{mine}", f"c:{foreign}", 7]})
        await one.say(bob, mine, "unheard")
        await one.say(bob, other, "heard")
        await client.push("message.new", content="heard")
        assert client.events(f"c:{mine}") == []
        await client.sub(f"c:{mine}")
        await one.say(bob, mine, "again")
        await client.push("message.new", content="again")


@pytest.mark.promise("C51")
async def test_number_of_streams_is_bounded(people: People, settings_for: SettingsFor) -> None:
    async with running(settings_for(streams_per_socket=2)) as node:
        [ann] = await people(1)
        streams = [f"c:{await node.group(ann)}" for _ in range(3)]
        async with node.client(ann) as client:
            outcomes = await client.sub(*streams[:2])
            assert not any("err" in o for o in outcomes.values())
            outcome = await client.sub(streams[2])
            assert outcome[streams[2]]["err"]["code"] == "too_many_streams"


@pytest.mark.parametrize(
    "streams", [None, 1, "c:x", [], {}, [1], {"c:x": 1}, {"c:x": [1]}, {"c:x": [1, "2"]}, {"a": [-1, 0]}]
)
async def test_impossible_subscription_is_refused(one: Node, people: People, streams: object) -> None:
    [ann] = await people(1)
    async with one.client(ann) as client:
        with pytest.raises(Refused) as refused:
            await client.request("sub", data={"streams": streams})
    assert refused.value.code == "validation_error"
