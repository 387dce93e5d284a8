"""The event log is cut at its beginning, and who comes back from before that is told so."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from chat_service.domain import pruning
from libs.clock import Clock
from libs.db import Database
from libs.testing.clock import FakeClock
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person

Written = Callable[..., Awaitable[tuple[Person, str]]]
KEPT = pruning.Kept(300, timedelta(days=30))


@pytest.fixture
def written(one: Node, people: People, database: Database) -> Written:
    """A conversation with that many events, of which the dispatcher has yet to see those after the first `seen`."""

    async def write(count: int, seen: int | None = None) -> tuple[Person, str]:
        [person] = await people(1)
        conversation = await one.group(person)
        for number in range(count - 1):
            await one.context.writer.send(UUID(conversation), person.id, content=f"{number}")
        async with database.transaction() as db:
            query = "DELETE FROM dispatch WHERE conversation_id = :c AND event_seq <= :seen"
            await db.execute(text(query), {"c": conversation, "seen": count if seen is None else seen})
        return person, conversation

    return write


async def events(database: Database, conversation: str) -> tuple[int, int, int]:
    async with database.transaction() as db:
        query = "SELECT count(*), min(seq), max(seq) FROM event WHERE conversation_id = :c"
        row = (await db.execute(text(query), {"c": conversation})).one()
    return row[0], row[1], row[2]


@pytest.mark.promise("C42")
async def test_old_events_go_and_older_positions_are_limited(one: Node, written: Written, database: Database) -> None:
    ann, conversation = await written(310)
    clock = FakeClock()
    clock.advance(timedelta(days=31).total_seconds())
    await pruning.work(database, clock, KEPT)
    assert await events(database, conversation) == (300, 11, 310)
    stream = f"c:{conversation}"
    async with one.client(ann) as client:
        outcome = (await client.sub(resume={stream: (1, 9)}))[stream]
        assert (outcome["recovered"], outcome["limited"], outcome["n"]) == (False, True, 0)
        await client.request("unsub", data={"streams": [stream]})
        outcome = (await client.sub(resume={stream: (1, 10)}))[stream]
        assert (outcome["recovered"], outcome["limited"], outcome["n"]) == (True, False, 300)


async def test_young_events_stay_however_many(written: Written, database: Database) -> None:
    _, conversation = await written(310)
    await pruning.work(database, Clock(), KEPT)
    assert await events(database, conversation) == (310, 1, 310)


async def test_no_hole_is_cut_where_clocks_differed(written: Written, database: Database) -> None:
    _, conversation = await written(310)
    async with database.transaction() as db:
        moved = "UPDATE event SET created_at = created_at - interval '40 days' WHERE conversation_id = :c AND seq <> 5"
        await db.execute(text(moved), {"c": conversation})
    await pruning.work(database, Clock(), KEPT)
    assert await events(database, conversation) == (306, 5, 310)


async def test_short_conversations_keep_everything(written: Written, database: Database) -> None:
    _, conversation = await written(3)
    clock = FakeClock()
    clock.advance(timedelta(days=400).total_seconds())
    await pruning.work(database, clock, KEPT)
    assert await events(database, conversation) == (3, 1, 3)


@pytest.mark.promise("C42")
async def test_what_the_dispatcher_has_not_seen_stays(written: Written, database: Database) -> None:
    _, conversation = await written(310, seen=4)
    clock = FakeClock()
    clock.advance(timedelta(days=31).total_seconds())
    await pruning.work(database, clock, KEPT)
    assert await events(database, conversation) == (306, 5, 310)
