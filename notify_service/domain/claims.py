"""The rows that a worker has taken and not yet settled."""

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from libs.db import Database, is_unavailable
from notify_service.domain import deliveries
from notify_service.domain.batches import Batches
from notify_service.domain.deliveries import Verdict

log = structlog.get_logger()

Key = tuple[UUID, int]
"""Id and fence of a claimed row."""


class Claims:
    """Marks and verdicts are written in batches; the lease of everything in between is kept.

    `on_room` is called whenever a row is done with.
    """

    def __init__(self, db: Database, *, lease: float, on_room: Callable[[], None]) -> None:
        self._db = db
        self._lease = lease
        self._on_room = on_room
        self._held: dict[UUID, int] = {}
        # Without lingering: while one mark is written, the next lines become free and share the next one.
        self._marks: Batches[Key, bool] = Batches(self._begin, most=500)
        self._verdicts: Batches[Verdict, bool] = Batches(self._settle, most=500, linger=0.02)

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: Key) -> None:
        self._held[key[0]] = key[1]

    async def begin(self, key: Key) -> bool:
        """Marks a row as `sending`. False: it is not ours any more, or PostgreSQL is away; it must not be sent."""
        marked = await self._marks.put(key)
        if not marked:
            self._release(key[0])
        return marked

    def settle(self, verdict: Verdict) -> None:
        """Writes the verdict down soon, and for certain."""
        self._verdicts.put(verdict).add_done_callback(lambda _: self._release(verdict.id))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._marks.run())
            group.create_task(self._verdicts.run())
            group.create_task(self._keep_leases())

    async def settled(self) -> None:
        """Returns once every verdict is written."""
        await self._verdicts.drained()

    def _release(self, delivery_id: UUID) -> None:
        self._held.pop(delivery_id, None)
        self._on_room()

    async def _begin(self, keys: Sequence[Key]) -> list[bool]:
        try:
            async with self._db.transaction() as session:
                ours = await deliveries.begin(session, keys)
        except (SQLAlchemyError, OSError) as error:
            if not is_unavailable(error):
                raise
            return [False] * len(keys)
        return [delivery_id in ours for delivery_id, _ in keys]

    async def _settle(self, verdicts: Sequence[Verdict]) -> list[bool]:
        """Tries until PostgreSQL has them: what was sent must be written down, however long it takes."""
        while True:
            try:
                async with self._db.transaction() as session:
                    ours = await deliveries.settle(session, verdicts)
            except (SQLAlchemyError, OSError) as error:
                if not is_unavailable(error):
                    raise
                log.warning("verdicts_wait", waiting=len(verdicts))
                await asyncio.sleep(0.5)
            else:
                return [verdict.id in ours for verdict in verdicts]

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 4)
            if not self._held:
                continue
            try:
                async with self._db.transaction() as session:
                    await deliveries.extend(session, list(self._held.items()), self._lease)
            except (SQLAlchemyError, OSError) as error:
                if not is_unavailable(error):
                    raise
                log.warning("leases_not_kept", rows=len(self._held))
