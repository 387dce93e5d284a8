"""The way of a message from a caller into PostgreSQL: many callers, few statements.

Drafts are collected for as long as a statement is running anyway (and no more than 2 ms or 50 drafts beyond the first),
then stored by one. At most two statements run at once, and a conversation is only ever in one of them: its messages
keep the order in which they came, and two statements of ours never wait for one another's row lock.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from chat_service.domain.messages import person, quote
from chat_service.domain.statement import BATCH
from chat_service.errors import CannotPost, NoConversation, invalid
from libs.clock import Clock
from libs.errors import ServerFault, ServiceError, Unavailable
from libs.ids import uuid7
from libs.lanes import Lanes

LANES = 2
_MOST = 50
_GATHER_SECONDS = 0.002
_MOST_WAITING = 5_000
_TRIES = 6
_TRY_AGAIN = (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

log = structlog.get_logger()


@dataclass(slots=True)
class Stored:
    """What the database said of one draft."""

    id: UUID
    seq: int
    event_seq: int
    created_at: datetime
    dup: bool
    message: dict[str, Any] | None = None
    """For JSON; None for a duplicate, whose content is that of its first time."""


@dataclass(slots=True)
class Draft:
    conversation_id: UUID
    sender_id: UUID
    content: str
    client_msg_id: UUID | None
    reply_to: UUID | None
    done: Callable[[Stored | ServiceError], None]
    """Called once, after the commit."""
    id: UUID = field(default_factory=uuid7)


class Writer:
    """`publish(conversation_id, stored)` is called after the commit and after the callers have their answers."""

    def __init__(self, lanes: Lanes, clock: Clock, publish: Callable[[UUID, list[Stored]], None]) -> None:
        self._lanes = lanes
        self._clock = clock
        self._publish = publish
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
    ) -> Stored:
        """Stores one message. Raises NoConversation, CannotPost, Invalid or Unavailable."""
        future: asyncio.Future[Stored | ServiceError] = asyncio.get_running_loop().create_future()

        def done(outcome: Stored | ServiceError) -> None:
            if not future.done():
                future.set_result(outcome)

        self.submit(Draft(conversation_id, sender_id, content, client_msg_id, reply_to, done))
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
            while queue and len(batch) < _MOST:
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
            await self._store(batch)
        finally:
            self._busy.difference_update(draft.conversation_id for draft in batch)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("batch_failed", exc_info=task.exception())
        self._plan_rest()

    async def _store(self, batch: list[Draft]) -> None:
        try:
            rows = await self._execute(batch)
        except Unavailable as error:
            _answer_all(batch, error)
        except (asyncpg.PostgresError, asyncpg.DataError) as error:
            if len(batch) == 1:
                log.exception("message_not_stored", exc_info=error)
                _answer_all(batch, ServerFault())
                return
            # One of them is at fault; the others must not pay for it.
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])
        except BaseException:
            _answer_all(batch, Unavailable())
            raise
        else:
            self._settle(batch, rows)

    async def _execute(self, batch: list[Draft]) -> list[Any]:
        columns = (
            [d.conversation_id for d in batch],
            [d.sender_id for d in batch],
            [d.id for d in batch],
            [d.client_msg_id or d.id for d in batch],
            [d.content for d in batch],
            [d.reply_to for d in batch],
        )
        for attempt in range(_TRIES):
            try:
                return await self._lanes.fetch(BATCH, *columns, self._clock.now())
            except _TRY_AGAIN:
                # A duplicate won the race on another node: the next look finds what it stored.
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError

    def _settle(self, batch: list[Draft], rows: list[Any]) -> None:
        fresh: dict[UUID, list[Stored]] = {}
        for draft, row in zip(batch, rows, strict=True):
            outcome = _outcome(draft, row)
            draft.done(outcome)
            if isinstance(outcome, Stored) and not outcome.dup:
                fresh.setdefault(draft.conversation_id, []).append(outcome)
        for conversation_id, stored in fresh.items():
            self._publish(conversation_id, stored)


def _answer_all(batch: list[Draft], error: ServiceError) -> None:
    for draft in batch:
        draft.done(error)


def _outcome(draft: Draft, row: Any) -> Stored | ServiceError:
    if row["id"] is None:
        if not row["member"]:
            return NoConversation()
        if not row["quotable"]:
            return invalid("reply_to", "There is no such message in this conversation.")
        return CannotPost()
    stored = Stored(row["id"], row["seq"], row["event_seq"], row["created_at"], row["dup"])
    if not stored.dup:
        stored.message = {
            "id": str(draft.id),
            "conversation_id": str(draft.conversation_id),
            "seq": stored.seq,
            "sender": person(draft.sender_id, row),
            "message_type": "text",
            "content": draft.content,
            "reply_to": quote(draft.reply_to, row),
            "client_msg_id": str(draft.client_msg_id or draft.id),
            "created_at": stored.created_at,
        }
    return stored
