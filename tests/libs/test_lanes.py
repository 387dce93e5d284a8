"""Raw connections: a transaction is whole or nothing, and a lane outlives its connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from libs.errors import Unavailable
from libs.lanes import Lanes

_END_THIS = "SELECT pg_terminate_backend(pg_backend_pid())"


@pytest.fixture
async def lanes(database_url: Callable[[str], Awaitable[str]]) -> AsyncIterator[Lanes]:
    opened = Lanes("auth", await database_url("auth"), 1)
    await opened.fetch("CREATE TABLE IF NOT EXISTS lane_notes (note text PRIMARY KEY)")
    await opened.fetch("TRUNCATE lane_notes")
    yield opened
    await opened.fetch("DROP TABLE lane_notes")
    await opened.close()


async def write(lanes: Lanes, then: str) -> None:
    async with lanes.transaction() as fetch:
        await fetch("INSERT INTO lane_notes VALUES ($1)", "one")
        await fetch(then)


async def notes(lanes: Lanes) -> list[str]:
    return [row["note"] for row in await lanes.fetch("SELECT note FROM lane_notes ORDER BY note")]


async def test_a_transaction_is_committed_on_leaving(lanes: Lanes) -> None:
    async with lanes.transaction() as fetch:
        await fetch("INSERT INTO lane_notes VALUES ($1)", "one")
        await fetch("INSERT INTO lane_notes VALUES ($1)", "two")
    assert await notes(lanes) == ["one", "two"]


async def test_an_error_leaves_nothing_behind(lanes: Lanes) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await write(lanes, "INSERT INTO lane_notes VALUES ('one')")
    assert await notes(lanes) == []


async def test_a_transaction_that_is_given_up_leaves_nothing_behind(lanes: Lanes) -> None:
    writing = asyncio.create_task(write(lanes, "SELECT pg_sleep(2)"))
    await asyncio.sleep(0.2)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await notes(lanes) == []


async def test_a_connection_that_dies_amidst_is_an_outage_and_replaced(lanes: Lanes) -> None:
    with pytest.raises(Unavailable):
        await write(lanes, _END_THIS)
    assert await notes(lanes) == []


async def test_a_connection_that_died_before_is_no_matter(lanes: Lanes) -> None:
    (row,) = await lanes.fetch("SELECT pg_backend_pid() AS pid")
    other = Lanes("auth", lanes._url, 1)
    await other.fetch("SELECT pg_terminate_backend($1)", row["pid"])
    await other.close()
    async with lanes.transaction() as fetch:
        await fetch("INSERT INTO lane_notes VALUES ($1)", "one")
    assert await notes(lanes) == ["one"]
