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
    other, lock = Lanes("auth", lanes._url, 1), "SELECT pg_advisory_xact_lock(4711)"
    async with other.transaction() as fetch:
        await fetch(lock)
        writing = asyncio.create_task(write(lanes, lock))
        async with asyncio.timeout(20):
            while not await fetch("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
                await asyncio.sleep(0.01)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    await other.close()
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


async def test_who_waits_too_long_for_a_connection_is_told_so(
    database_url: Callable[[str], Awaitable[str]],
) -> None:
    lanes = Lanes("auth", await database_url("auth"), 1, wait_seconds=0.1)
    async with lanes.transaction():
        refused = await asyncio.gather(*(lanes.fetch("SELECT 1") for _ in range(5)), return_exceptions=True)
        assert [type(error) for error in refused] == [Unavailable] * 5
        with pytest.raises(Unavailable):
            await write(lanes, "SELECT 1")
    assert (await lanes.fetch("SELECT 2 AS two"))[0]["two"] == 2
    await lanes.close()


async def test_plans_are_made_anew_while_tables_grow(lanes: Lanes) -> None:
    """A function that is called immutable and is not is called when a statement is planned, and never else."""
    await lanes.fetch("CREATE SEQUENCE plans")
    await lanes.fetch(
        "CREATE FUNCTION planned() RETURNS bigint IMMUTABLE LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN nextval('plans'); END $$"
    )
    try:
        made = [(await lanes.fetch("SELECT planned() AS n"))[0]["n"] for _ in range(70)]
        assert made[0] < made[-1]
        assert len(set(made)) == 4  # the first, and those of runs 16, 32 and 64 of the connection
    finally:
        await lanes.fetch("DROP FUNCTION planned")
        await lanes.fetch("DROP SEQUENCE plans")
