"""The loop that empties the queue of one account.

One task claims rows into a small buffer, highest lane first; one task a line takes them from there. A line is opened
first, then the row is marked `sending`, then its first byte leaves: so a crash leaves at most one ambiguous row a
line, and a provider that cannot be reached costs no attempt. Marks and verdicts are written in batches.
"""

import asyncio
import itertools
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from libs.clock import Clock
from libs.crypto import CannotDecrypt, FieldCipher
from libs.db import Database, is_unavailable
from notify_service.domain import deliveries, preferences
from notify_service.domain.breaker import Breaker
from notify_service.domain.channels import (
    BLAMES_ACCOUNT,
    CannotOpen,
    CannotRender,
    Channel,
    ErrorClass,
    Line,
    Message,
    Outcome,
)
from notify_service.domain.claims import Claims, Key
from notify_service.domain.deliveries import Verdict
from notify_service.domain.ownership import Ownership
from notify_service.domain.verdicts import Policy, decide

_BUFFER_PER_LINE = 4
_POLL_SECONDS = 1.0
_IDLE_SECONDS = 30.0
# A worker that is told to stop lets the messages under way end.
_GRACE_SECONDS = 8.0

DELIVERIES = Counter("parley_deliveries_total", "Attempts to deliver, by the state they led to.", ["channel", "state"])

log = structlog.get_logger()


@dataclass(order=True, slots=True)
class Item:
    """A claimed row, ready to leave. Ordered as it shall leave."""

    lane: int
    number: int
    row: Row[Any] = field(compare=False)
    payload: bytes = field(compare=False)

    @property
    def key(self) -> Key:
        return self.row.id, self.row.fence


class Sender:
    def __init__(
        self,
        db: Database,
        channel: Channel,
        account: str,
        *,
        cipher: FieldCipher,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._db = db
        self._channel = channel
        self._account = account
        self._cipher = cipher
        self._policy = policy
        self._clock = clock
        self._owner = Ownership(db, account)
        self._breaker = Breaker(policy.breaker, time.monotonic)
        self._lines = channel.capability.lines
        self._numbers = itertools.count()
        self._ready: asyncio.PriorityQueue[Item] = asyncio.PriorityQueue()
        self._work = asyncio.Event()
        self._claims = Claims(db, lease=policy.lease, on_room=self._refill)

    def wake(self) -> None:
        """Says that rows may be waiting; without it they are found within a second."""
        self._work.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as support:
            keeping = support.create_task(self._claims.run())
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._claim())
                    for _ in range(self._lines):
                        group.create_task(self._serve(self._channel.line()))
            finally:
                await _to_the_end(self._leave())
                keeping.cancel()

    async def _claim(self) -> None:
        """Keeps the buffer filled."""
        while True:
            self._work.clear()
            try:
                more = await self._owner.held() and await self._fill()
            except (SQLAlchemyError, OSError) as error:
                if not is_unavailable(error):
                    raise
                log.warning("sender_waits", account=self._account, reason=type(error).__name__)
                await asyncio.sleep(_POLL_SECONDS)
                continue
            if not more:
                await _wait(self._work, self._breaker.wait or _POLL_SECONDS)

    async def _fill(self) -> bool:
        """Claims what there is room for. True: there may be more, and room for it."""
        held = len(self._claims)
        room = self._breaker.room(self._lines * _BUFFER_PER_LINE - held, held)
        if room <= 0:
            return False
        async with self._db.transaction() as session:
            rows = await deliveries.claim(session, self._account, limit=room, lease=self._policy.lease)
            off = await preferences.switched_off(session, self._channel.capability.channel, _users(rows))
        for row in rows:
            self._claims.take((row.id, row.fence))
            reason = self._reason_not_to_send(row, off)
            if reason is None:
                self._prepare(row)
            else:
                state = "expired" if row.expired else "suppressed"
                self._claims.settle(Verdict(id=row.id, fence=row.fence, state=state, tried=False, reason=reason))
        return len(rows) == room

    @staticmethod
    def _reason_not_to_send(row: Row[Any], off: preferences.Switched) -> str | None:
        if row.expired:
            return "expired"
        if not preferences.allow(off, row.user_id, row.category):
            return preferences.REASON
        return None

    def _prepare(self, row: Row[Any]) -> None:
        """Renders before anything is marked: what cannot be rendered has never left."""
        try:
            secret = self._cipher.decrypt(row.secret, f"message:{row.id}") if row.secret else None
            message = Message(row.id, row.address, row.template, row.variables, secret, self._clock.now())
            payload = self._channel.render(message)
        except (CannotRender, CannotDecrypt) as error:
            reason = error.reason if isinstance(error, CannotRender) else "cannot_decrypt"
            log.warning("delivery_died", delivery_id=str(row.id), template=row.template, reason=reason)
            self._claims.settle(Verdict(id=row.id, fence=row.fence, state="dead", tried=False, reason=reason))
            return
        except Exception:
            # A row that trips over a mistake of ours must not stop all others, again after every restart.
            log.exception("delivery_died", delivery_id=str(row.id), template=row.template)
            self._claims.settle(Verdict(id=row.id, fence=row.fence, state="dead", tried=False, reason="fault"))
            return
        self._ready.put_nowait(Item(row.lane, next(self._numbers), row, payload))

    async def _serve(self, line: Line) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        item = await self._ready.get()
                except TimeoutError:
                    await line.close()
                    continue
                await _or_grace(asyncio.create_task(self._handle(line, item)))
        finally:
            await line.close()

    async def _handle(self, line: Line, item: Item) -> None:
        if self._breaker.wait:
            self._put_back(item)
            return
        try:
            await line.open()
        except CannotOpen as error:
            self._learn(error.outcome)
            self._put_back(item)
            return
        if not await self._claims.begin(item.key):
            return
        started = time.perf_counter()
        outcome = await self._send(line, item)
        self._conclude(item, outcome, milliseconds=round((time.perf_counter() - started) * 1000))

    async def _send(self, line: Line, item: Item) -> Outcome:
        try:
            return await line.send(item.row.address, item.payload)
        except Exception:
            # As above; and nobody knows how far it got.
            log.exception("line_failed", delivery_id=str(item.row.id))
            await line.close()
            return Outcome(ErrorClass.AMBIGUOUS, "fault")

    def _conclude(self, item: Item, outcome: Outcome, *, milliseconds: int | None) -> None:
        self._learn(outcome)
        row = item.row
        decision = decide(outcome, row.attempts + 1, at_least_once=row.at_least_once, policy=self._policy)
        verdict = Verdict(
            id=row.id,
            fence=row.fence,
            state=decision.state,
            counts=decision.counts,
            delay=decision.delay,
            reason=decision.reason,
            provider_id=outcome.provider_id,
            error_class=outcome.error,
            error_code=outcome.code,
            milliseconds=milliseconds,
        )
        DELIVERIES.labels(self._channel.capability.channel, decision.state).inc()
        self._claims.settle(verdict)

    def _learn(self, outcome: Outcome) -> None:
        """What an outcome says about the account."""
        if outcome.error in (ErrorClass.THROTTLE, ErrorClass.AUTH) or outcome.pause_seconds:
            self._breaker.trip(outcome.pause_seconds)
        elif outcome.error is ErrorClass.UNREACHABLE or outcome.code in ("connection_lost", "no_answer"):
            self._breaker.fail()
        else:
            self._breaker.succeed()
        if outcome.error in BLAMES_ACCOUNT:
            log.warning("account_fails", account=self._account, error=outcome.error, code=outcome.code)

    def _put_back(self, item: Item) -> None:
        """Never offered, so no attempt; the breaker says when it goes on."""
        row = item.row
        delay = min(1.0, self._policy.breaker)
        self._claims.settle(Verdict(id=row.id, fence=row.fence, state="retry", tried=False, delay=delay))

    def _refill(self) -> None:
        if len(self._claims) <= self._lines * _BUFFER_PER_LINE // 2:
            self._work.set()

    async def _leave(self) -> None:
        """Gives back what is still in the buffer and writes the last verdicts."""
        while not self._ready.empty():
            item = self._ready.get_nowait()
            row = item.row
            self._claims.settle(Verdict(id=row.id, fence=row.fence, state="retry", tried=False))
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._claims.settled()
                await self._owner.release()
        except (TimeoutError, SQLAlchemyError, OSError):
            log.warning("sender_left_rows", account=self._account, rows=len(self._claims))


def _users(rows: Sequence[Row[Any]]) -> list[UUID]:
    return [row.user_id for row in rows if row.user_id is not None]


async def _or_grace(work: "asyncio.Task[None]") -> None:
    """When cancelled, lets the work end first: a message that is half out would otherwise be `unknown`."""
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work}, timeout=_GRACE_SECONDS)
        work.cancel()
        raise


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Cancelled again and again meanwhile, as a stopping worker is, and finishing all the same."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue
    task.result()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
