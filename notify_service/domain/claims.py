"""The rows that a worker has taken and not yet settled."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.db import Database, is_unavailable
from libs.errors import Unavailable
from libs.lanes import Lanes
from notify_service.domain import deliveries, effects
from notify_service.domain.batches import Batches
from notify_service.domain.deliveries import Verdict
from notify_service.domain.happenings import Listening
from notify_service.domain.quotas import Quota
from notify_service.domain.recipient_quotas import RecipientQuota

log = structlog.get_logger()

Key = tuple[UUID, int]
"""Id and fence of a claimed row."""
# Writing eight rows costs PostgreSQL nearly what sixteen do: lines whose messages end at about the same time share it.
_LINGER_SECONDS = 0.0015
# Ends in which the provider has, or may have, the message.
_COUNT = frozenset({"sent", "unknown"})


@dataclass(frozen=True, slots=True)
class Quotas:
    """What of an account is counted by the day."""

    messages: Quota | None = None
    recipients: RecipientQuota | None = None


class Claims:
    """Marks and verdicts are written in batches, one transaction each; the lease of everything in between is kept.

    They share one queue, in order: when a line's next message is marked, the end of its last one is on record too. So
    a crash leaves no more rows in doubt than there are lines. `on_room` is called whenever a row is done with.
    """

    def __init__(
        self,
        db: Database,
        lanes: Lanes,
        listening: Listening,
        *,
        lease: float,
        quotas: Quotas,
        on_room: Callable[[], None],
    ) -> None:
        self._db = db
        self._lanes = lanes
        self._listening = listening
        self._lease = lease
        self._quota = quotas.messages
        self._recipient_quota = quotas.recipients
        self._on_room = on_room
        # In which minute each message was counted, to give it back there.
        self._counted: dict[Key, datetime] = {}
        # Who is written to first by it.
        self._firsts: dict[Key, str] = {}
        # By fence as well: a row that was lost and taken again must not be let go with its first claim.
        self._held: set[Key] = set()
        # Marks and leases are of the same rows: two statements at once could wait for each other for ever.
        self._writing = asyncio.Lock()
        self._writes: Batches[Verdict | Key, bool] = Batches(self._write, most=500, linger=_LINGER_SECONDS)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def uncounted(self) -> int:
        """How many may still leave that the quota does not know of."""
        return len(self._held) - len(self._counted)

    def take(self, key: Key) -> None:
        self._held.add(key)

    async def begin(self, key: Key, first: str | None = None) -> bool:
        """Marks a row as `sending`. False: its lease has ended, its batch is on hold or there is no room for another
        recipient, and it must not be sent. `first`: the address, where that counts as one."""
        if first is not None:
            self._firsts[key] = first
        marked = await self._writes.put(key)
        if not marked:
            self._firsts.pop(key, None)
            self.settle(Verdict(id=key[0], fence=key[1], state="retry", tried=False))
        return marked

    def settle(self, verdict: Verdict) -> "asyncio.Future[bool]":
        """Writes the verdict down soon, and for certain: when the future is done."""
        written = self._writes.put(verdict)
        written.add_done_callback(lambda _: self._release((verdict.id, verdict.fence)))
        return written

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
        firsts = {key: self._firsts[key] for key in keys if key in self._firsts}
        done = [(each.id, each.fence) for each in verdicts if (each.id, each.fence) in self._firsts]
        if self._quota is None and not (firsts or done or any(each.effect for each in verdicts)):
            heard = self._listening.possible
            return await deliveries.write_alone(self._lanes.fetch, verdicts, keys, heard=heard)
        async with self._db.transaction() as session:
            admitted = await self._admitted(session, verdicts, firsts)
            keys = [key for key in keys if key not in firsts or key in admitted]
            ours = await deliveries.write(session, verdicts, keys)
            if self._recipient_quota is not None:
                await self._recipient_quota.note(session, {key: firsts[key] for key in admitted if key[0] in ours})
            await effects.apply(session, [(each.id, each.effect) for each in verdicts if each.effect])
            counts = self._counts([key for key in keys if key[0] in ours], verdicts)
            if self._quota is not None:
                await self._quota.change(session, counts)
        self._note(counts, verdicts)
        for key in done:
            self._firsts.pop(key, None)
        return ours

    async def _admitted(
        self, db: AsyncSession, verdicts: Sequence[Verdict], firsts: Mapping[Key, str]
    ) -> Collection[Key]:
        """Those of `firsts` that may leave, after what the provider did not take was given back."""
        refused = [(each.id, each.fence) for each in verdicts if each.state not in _COUNT]
        refused = [key for key in refused if key in self._firsts]
        if self._recipient_quota is None or not (firsts or refused):
            return ()
        return await self._recipient_quota.admit(db, firsts, refused)

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
