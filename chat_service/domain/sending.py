"""The way of a message from a caller into PostgreSQL: many callers, few statements.

Drafts are collected for as long as a statement is running anyway (and no more than 2 ms or 128 drafts beyond the
first), then stored by one: plain ones by the plain statement, others by the rich one. At most two statements run at
once, and a conversation is only ever in one of them: its messages keep the order in which they came, and two statements
of ours never wait for one another's row lock.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from chat_service.domain import outcomes, rich_statement, statement
from chat_service.domain.drafts import Draft, Extras, Stored
from libs.clock import Clock
from libs.errors import ServerFault, ServiceError, Unavailable
from libs.lanes import Lanes

LANES = 2
_MOST = 128
_GATHER_SECONDS = 0.002
_MOST_WAITING = 5_000
_TRIES = 6
_TRY_AGAIN = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    # What the plain statement raises for a membership that changed meanwhile.
    asyncpg.DivisionByZeroError,
)

log = structlog.get_logger()


class Writer:
    """`publish(conversation_id, stored)` is called after the commit and after the callers have their answers."""

    def __init__(
        self,
        lanes: Lanes,
        clock: Clock,
        publish: Callable[[UUID, list[Stored]], None],
        *,
        mention_all_max: int = 1000,
    ) -> None:
        self._lanes = lanes
        self._clock = clock
        self._publish = publish
        self._mention_all_max = mention_all_max
        self._waiting: dict[UUID, deque[Draft]] = {}
        self._count = 0
        self._busy: set[UUID] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None

    async def send(
        self,
        conversation_id: UUID,
        sender_id: UUID,
        *,
        content: str,
        client_msg_id: UUID | None = None,
        reply_to: UUID | None = None,
        extras: Extras | None = None,
    ) -> Stored:
        """Stores one message. Raises NoConversation, Forbidden, Invalid, SlowMode or Unavailable."""
        future: asyncio.Future[Stored | ServiceError] = asyncio.get_running_loop().create_future()

        def done(outcome: Stored | ServiceError) -> None:
            if not future.done():
                future.set_result(outcome)

        self.submit(Draft(conversation_id, sender_id, content, client_msg_id, reply_to, done, extras))
        outcome = await future
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    def submit(self, draft: Draft) -> None:
        if self._count >= _MOST_WAITING:
            draft.done(Unavailable("Too many messages are waiting."))
            return
        self._waiting.setdefault(draft.conversation_id, deque()).append(draft)
        self._count += 1
        self._plan()

    async def drain(self) -> None:
        """Returns when nothing waits or runs any more."""
        while self._running or self._timer is not None:
            await asyncio.wait(self._running, timeout=0.01) if self._running else await asyncio.sleep(0)

    def _plan(self) -> None:
        if not self._count or len(self._running) >= LANES:
            return
        if self._timer is not None:
            if self._count < _MOST:
                return
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        if not self._running or self._count >= _MOST:
            # Nothing to wait for; but what arrives in the same turn of the loop comes along.
            self._timer = loop.call_soon(self._start)
        else:
            self._timer = loop.call_later(_GATHER_SECONDS, self._start)

    def _start(self) -> None:
        self._timer = None
        batch = self._take()
        if batch:
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)
            self._plan_rest()

    def _plan_rest(self) -> None:
        if any(conversation not in self._busy for conversation in self._waiting):
            self._plan()

    def _take(self) -> list[Draft]:
        batch: list[Draft] = []
        for conversation_id in [c for c in self._waiting if c not in self._busy]:
            queue = self._waiting[conversation_id]
            while queue and len(batch) < _MOST and (not batch or queue[0].plain == batch[0].plain):
                batch.append(queue.popleft())
            if not queue:
                del self._waiting[conversation_id]
            if len(batch) == _MOST:
                break
        self._busy.update(draft.conversation_id for draft in batch)
        self._count -= len(batch)
        return batch

    async def _run(self, batch: list[Draft]) -> None:
        try:
            left = await self._store(batch, rich=not batch[0].plain)
            if left:
                await self._store(left, rich=True)
        finally:
            self._busy.difference_update(draft.conversation_id for draft in batch)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("batch_failed", exc_info=task.exception())
        self._plan_rest()

    async def _store(self, batch: list[Draft], *, rich: bool) -> list[Draft]:
        """Gives back those that the plain statement did not store: the rich one can, or says why not."""
        try:
            rows = await self._execute(batch, rich=rich)
        except Unavailable as error:
            _answer_all(batch, error)
        except (asyncpg.PostgresError, asyncpg.DataError) as error:
            if len(batch) == 1:
                log.exception("message_not_stored", exc_info=error)
                _answer_all(batch, ServerFault())
                return []
            # One of them is at fault; the others must not pay for it.
            middle = len(batch) // 2
            return [*await self._store(batch[:middle], rich=rich), *await self._store(batch[middle:], rich=rich)]
        except BaseException:
            _answer_all(batch, Unavailable())
            raise
        else:
            return self._settle(batch, rows, rich=rich)
        return []

    async def _execute(self, batch: list[Draft], *, rich: bool) -> list[Any]:
        for attempt in range(_TRIES):
            now = self._clock.now()
            try:
                if rich:
                    rich_values = rich_statement.values(batch, now, self._mention_all_max)
                    return await self._lanes.fetch(rich_statement.RICH, *rich_values)
                sql, values = statement.of(batch, now)
                return await self._lanes.fetch(sql, *values)
            except _TRY_AGAIN:
                # A duplicate won the race on another node, or a member left: the next look finds it.
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError

    def _settle(self, batch: list[Draft], rows: list[Any], *, rich: bool) -> list[Draft]:
        fresh: dict[UUID, list[Stored]] = {}
        left = []
        for draft, row in zip(batch, rows, strict=True):
            if row["id"] is None and not rich:
                left.append(draft)
                continue
            outcome = outcomes.of(draft, row)
            draft.done(outcome)
            if isinstance(outcome, Stored) and not outcome.dup:
                fresh.setdefault(draft.conversation_id, []).append(outcome)
        for conversation_id, stored in fresh.items():
            self._publish(conversation_id, stored)
        return left


def _answer_all(batch: list[Draft], error: ServiceError) -> None:
    for draft in batch:
        draft.done(error)
