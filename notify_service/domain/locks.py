"""One worker at a time per sending account, so that its connections and limits are that worker's own affair."""

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from libs.db import Database

_CHECK_SECONDS = 1.0
_TAKE = text("SELECT pg_try_advisory_lock(hashtextextended(:account, 5071882))")
_FREE = text("SELECT pg_advisory_unlock(hashtextextended(:account, 5071882))")
_CHECK = text("SELECT 1")
# PostgreSQL shows the key of a lock as its two halves.
_OWNED = text(
    """
    SELECT asked.account FROM unnest(CAST(:accounts AS text[])) AS asked(account)
    JOIN pg_locks AS held ON held.locktype = 'advisory' AND held.objsubid = 1 AND held.granted
        AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (held.classid::bigint << 32 | held.objid::bigint) = hashtextextended(asked.account, 5071882)
    """
)

log = structlog.get_logger()


async def owned(db: AsyncSession, accounts: Sequence[str]) -> set[str]:
    """Those of which some worker is the owner."""
    return set(await db.scalars(_OWNED, {"accounts": list(accounts)}))


class Locks:
    """Advisory locks, all on one connection: when the worker dies, PostgreSQL frees them at once.

    Only a matter of order, not of correctness: two owners, after a cut connection, take different rows.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._held: set[str] = set()
        self._connection: AsyncConnection | None = None
        # A connection takes one statement at a time.
        self._turn = asyncio.Lock()

    def holds(self, account: str) -> bool:
        return account in self._held

    async def take(self, account: str) -> bool:
        """Whether the account is ours, after trying to get it."""
        if account in self._held:
            return True
        async with self._turn:
            try:
                if await (await self._connected()).scalar(_TAKE, {"account": account}):
                    self._held.add(account)
                    log.info("account_owned", account=account)
            except (SQLAlchemyError, OSError):
                await self._lose()
                raise
        return account in self._held

    async def free(self, account: str) -> None:
        if account not in self._held:
            return
        async with self._turn:
            self._held.discard(account)
            try:
                await (await self._connected()).execute(_FREE, {"account": account})
            except (SQLAlchemyError, OSError):
                await self._lose()

    async def run(self) -> None:
        """Notices a connection that is gone, and with it all locks."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            async with self._turn:
                if self._connection is None:
                    continue
                try:
                    await self._connection.execute(_CHECK)
                except (SQLAlchemyError, OSError):
                    log.warning("accounts_lost", accounts=len(self._held))
                    await self._lose()

    async def close(self) -> None:
        async with self._turn:
            await self._lose()

    async def _connected(self) -> AsyncConnection:
        if self._connection is None:
            connection = await self._db.engine.connect()
            # A transaction held open for hours would keep the whole database from cleaning up.
            self._connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    async def _lose(self) -> None:
        self._held.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            # Ending the session is what frees the locks; a pooled connection would carry them on.
            await connection.invalidate()
            await connection.close()
