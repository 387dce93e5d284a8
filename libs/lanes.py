"""Raw connections to PostgreSQL for the paths where a session costs more than its statement.

Mostly each call is one statement and so one transaction: one round trip, where a session takes three (begin, statement,
commit). Sending and resuming in chat and refreshing in auth use nothing else; a sign-in needs a transaction of two.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import structlog

from libs.db import query_count
from libs.errors import Unavailable
from libs.metrics import QUERIES

_OUTAGES = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # asyncpg 0.32 takes a connection that the server has ended while it was idle for one that is busy.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
)
_SETTINGS = {
    # Compiling would cost more than any of these statements.
    "jit": "off",
    # Planning the batch anew takes 1.4 ms, running it 0.5: the plan must not depend on the values, and need not.
    # (How large the tables are it does depend on: see `_due`.)
    "plan_cache_mode": "force_generic_plan",
    "statement_timeout": "10000",
    "lock_timeout": "5000",
}

log = structlog.get_logger()
Fetch = Callable[..., Awaitable[list[Any]]]


class Lanes:
    """A few connections, opened when first needed and again when they break."""

    def __init__(self, service: str, url: str, count: int, *, wait_seconds: float = 5.0) -> None:
        """`wait_seconds`: how long a statement waits for a connection, as those of a session do."""
        self._url = url
        self._wait_seconds = wait_seconds
        self._settings = {**_SETTINGS, "application_name": f"parley-{service}-lane"}
        self._all: list[asyncpg.Connection | None] = [None] * count
        self._runs = [0] * count
        self._free: asyncio.LifoQueue[int] = asyncio.LifoQueue()
        for number in range(count):
            self._free.put_nowait(number)
        self._queries = QUERIES.labels(service)

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        """Rows of one statement. Tried a second time when the connection breaks, so it must bear being run twice.

        Raises Unavailable when PostgreSQL cannot be reached or is too busy, and asyncpg's errors for what is wrong with
        the statement.
        """
        lane = await self._take()
        try:
            try:
                return await self._fetch(lane, sql, values)
            except _OUTAGES as error:
                log.warning("lane_broken", reason=type(error).__name__)
                self._drop(lane)
                return await self._fetch(lane, sql, values)
        except _OUTAGES as error:
            self._drop(lane)
            raise Unavailable from error
        except asyncio.CancelledError:
            # The answer to the abandoned statement must not be taken for the next one's.
            self._drop(lane)
            raise
        finally:
            self._free.put_nowait(lane)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Fetch]:
        """Statements on one connection, committed on leaving. Raises as `fetch` does; nothing is tried again."""
        lane = await self._take()
        try:
            await self._begin(lane)
            yield partial(self._run, lane)
            await self._control(lane, "COMMIT")
        except BaseException as error:
            # Which rolls back: nothing that the connection was amidst of is of use to anybody.
            self._drop(lane)
            if isinstance(error, _OUTAGES):
                raise Unavailable from error
            raise
        finally:
            self._free.put_nowait(lane)

    async def _take(self) -> int:
        """A free connection. What waits longer than its client is only in the way of what is still wanted."""
        if not self._free.empty():
            return self._free.get_nowait()
        try:
            async with asyncio.timeout(self._wait_seconds):
                return await self._free.get()
        except TimeoutError as error:
            raise Unavailable from error

    async def _begin(self, lane: int) -> None:
        try:
            await self._control(lane, "BEGIN")
        except _OUTAGES as error:
            log.warning("lane_broken", reason=type(error).__name__)
            self._drop(lane)
            await self._control(lane, "BEGIN")

    async def _run(self, lane: int, sql: str, *values: object) -> list[Any]:
        return await self._fetch(lane, sql, values)

    async def _fetch(self, lane: int, sql: str, values: tuple[object, ...]) -> list[Any]:
        connection = await self._connection(lane)
        self._queries.inc()
        self._runs[lane] += 1
        if _due(self._runs[lane]):
            await connection.execute("DISCARD PLANS")
        began, count = time.perf_counter(), query_count.get()
        rows: list[Any] = await connection.fetch(sql, *values)
        if count is not None:
            count.statements += 1
            count.seconds += time.perf_counter() - began
        return rows

    async def _control(self, lane: int, command: str) -> None:
        connection = await self._connection(lane)
        await connection.execute(command)

    async def _connection(self, lane: int) -> asyncpg.Connection:
        connection = self._all[lane]
        if connection is None or connection.is_closed():
            connection = await asyncpg.connect(self._url, timeout=5, server_settings=self._settings)
            self._all[lane], self._runs[lane] = connection, 0
        return connection

    def _drop(self, lane: int) -> None:
        connection, self._all[lane] = self._all[lane], None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        for lane in range(len(self._all)):
            self._drop(lane)


def _due(runs: int) -> bool:
    """Whether the statements of a connection are to be planned anew: each time it has run twice as many, at first.

    To an empty table all indexes look alike, and a plan that was made then reads a whole conversation for one message.
    PostgreSQL makes it anew when it has analyzed the table, which is a minute later, and a minute is long.
    """
    return runs % 8192 == 0 or (runs >= 16 and runs & (runs - 1) == 0)
