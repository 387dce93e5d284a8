"""The rows that a worker has taken and not yet settled."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from libs.db import Database, is_unavailable
from libs.errors import Unavailable
from libs.lanes import Lanes
from notify_service.domain import deliveries, effects
from notify_service.domain.batches import Batches
from notify_service.domain.deliveries import Verdict
from notify_service.domain.quotas import Quota

log = structlog.get_logger()

Key = tuple[UUID, int]
"""Id and fence of a claimed row."""
# Ends in which the provider has, or may have, the message.
_COUNT = frozenset({"sent", "unknown"})


class Claims:
    """Marks and verdicts are written in batches, one transaction each; the lease of everything in between is kept.

    They share one queue, in order: when a line's next message is marked, the end of its last one is on record too. So
    a crash leaves no more rows in doubt than there are lines. `on_room` is called whenever a row is done with.
    """

    def __init__(
        self, db: Database, lanes: Lanes, *, lease: float, quota: Quota | None, on_room: Callable[[], None]
    ) -> None:
        self._db = db
        self._lanes = lanes
        self._lease = lease
        self._quota = quota
        self._on_room = on_room
        # In which minute each message was counted, to give it back there.
        self._counted: dict[Key, datetime] = {}
        # By fence as well: a row that was lost and taken again must not be let go with its first claim.
        self._held: set[Key] = set()
        # Marks and leases are of the same rows: two statements at once could wait for each other for ever.
        self._writing = asyncio.Lock()
        self._writes: Batches[Verdict | Key, bool] = Batches(self._write, most=500)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def uncounted(self) -> int:
        """How many may still leave that the quota does not know of."""
        return len(self._held) - len(self._counted)

    def take(self, key: Key) -> None:
        self._held.add(key)

    async def begin(self, key: Key) -> bool:
        """Marks a row as `sending`. False: its lease has ended or its batch is on hold, and it must not be sent."""
        marked = await self._writes.put(key)
        if not marked:
            self.settle(Verdict(id=key[0], fence=key[1], state="retry", tried=False))
        return marked

    def settle(self, verdict: Verdict) -> None:
        """Writes the verdict down soon, and for certain."""
        self._writes.put(verdict).add_done_callback(lambda _: self._release((verdict.id, verdict.fence)))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._writes.run())
            group.create_task(self._keep_leases())

    async def settled(self) -> None:
        """Returns once every verdict is written."""
        await self._writes.drained()

    def _release(self, key: Key) -> None:
        self._held.discard(key)
        self._on_room()

    async def _write(self, items: Sequence[Verdict | Key]) -> list[bool]:
        """Tries until PostgreSQL has them: what was sent must be written down, however long it takes."""
        verdicts = [item for item in items if isinstance(item, Verdict)]
        keys = [item for item in items if not isinstance(item, Verdict)]
        while True:
            try:
                async with self._writing:
                    ours = await self._written(verdicts, keys)
            except (SQLAlchemyError, OSError, Unavailable) as error:
                if not (isinstance(error, Unavailable) or is_unavailable(error)):
                    raise
                log.warning("verdicts_wait", waiting=len(verdicts))
                await asyncio.sleep(0.5)
            else:
                return [(item.id if isinstance(item, Verdict) else item[0]) in ours for item in items]

    async def _written(self, verdicts: Sequence[Verdict], keys: Sequence[Key]) -> set[UUID]:
        if self._quota is None and not any(each.effect for each in verdicts):
            return await deliveries.write_alone(self._lanes.fetch, verdicts, keys)
        async with self._db.transaction() as session:
            ours = await deliveries.write(session, verdicts, keys)
            await effects.apply(session, [(each.id, each.effect) for each in verdicts if each.effect])
            counts = self._counts([key for key in keys if key[0] in ours], verdicts)
            if self._quota is not None:
                await self._quota.change(session, counts)
        self._note(counts, verdicts)
        return ours

    def _counts(self, begun: Sequence[Key], verdicts: Sequence[Verdict]) -> dict[datetime, int]:
        """What changes in the quota: more for what leaves, less for what the provider did not take."""
        changes: dict[datetime, int] = {}
        if self._quota is None:
            return changes
        minute = self._quota.minute()
        for key in begun:
            self._counted[key] = minute
            changes[minute] = changes.get(minute, 0) + 1
        for verdict in verdicts:
            counted = self._counted.get((verdict.id, verdict.fence))
            if counted is not None and verdict.state not in _COUNT:
                changes[counted] = changes.get(counted, 0) - 1
        return changes

    def _note(self, counts: Mapping[datetime, int], verdicts: Sequence[Verdict]) -> None:
        if self._quota is None:
            return
        for minute, used in counts.items():
            self._quota.note(minute, used)
        for verdict in verdicts:
            self._counted.pop((verdict.id, verdict.fence), None)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 4)
            if not self._held:
                continue
            try:
                async with self._writing, self._db.transaction() as session:
                    await deliveries.extend(session, list(self._held), self._lease)
            except (SQLAlchemyError, OSError) as error:
                if not is_unavailable(error):
                    raise
                log.warning("leases_not_kept", rows=len(self._held))
