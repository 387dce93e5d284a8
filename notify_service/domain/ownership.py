"""One worker at a time per sending account, so that its connections and limits are that worker's own affair."""

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.db import Database

log = structlog.get_logger()


class Ownership:
    """An advisory lock on a connection of its own: when the owner dies, PostgreSQL frees it at once.

    Only a matter of order, not of correctness: two owners, after a cut connection, take different rows.
    """

    def __init__(self, db: Database, account: str) -> None:
        self._db = db
        self._account = account
        self._connection: AsyncConnection | None = None
        self._held = False

    async def held(self) -> bool:
        """Whether the account is ours, after trying to get it."""
        try:
            if self._connection is None:
                connection = await self._db.engine.connect()
                # A transaction held open for hours would keep the whole database from cleaning up.
                self._connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            if self._held:
                await self._connection.execute(text("SELECT 1"))
            else:
                query = text("SELECT pg_try_advisory_lock(hashtextextended(:account, 5071882))")
                self._held = bool(await self._connection.scalar(query, {"account": self._account}))
                if self._held:
                    log.info("account_owned", account=self._account)
        except (SQLAlchemyError, OSError):
            await self.release()
            raise
        return self._held

    async def release(self) -> None:
        connection, self._connection = self._connection, None
        self._held = False
        if connection is not None:
            # Ending the session is what frees the lock; a pooled connection would carry it on.
            await connection.invalidate()
            await connection.close()
