"""The loop that empties the queue of one account.

One task claims rows into a small buffer, highest lane first; one task a line takes them from there, in turn and as fast
as the account's limits allow. A line is opened first, then the row is marked `sending`, then its first byte leaves: so
a crash leaves at most one ambiguous row a line, and a provider that cannot be reached costs no attempt. Marks and
verdicts are written in batches.
"""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from libs.clock import Clock
from libs.crypto import FieldCipher
from libs.db import Database, is_unavailable
from libs.lanes import Lanes
from notify_service.domain import accounts, queue, readiness, recipient_quotas, windows
from notify_service.domain.breaker import Breaker
from notify_service.domain.buffer import Buffer
from notify_service.domain.channels import BLAMES_ACCOUNT, CannotOpen, CannotRender, Channel, ErrorClass, Line, Outcome
from notify_service.domain.claims import Claims, Quotas
from notify_service.domain.content import Content
from notify_service.domain.contents import Contents
from notify_service.domain.deliveries import Verdict
from notify_service.domain.happenings import Listening
from notify_service.domain.limits import Limits
from notify_service.domain.locks import Locks
from notify_service.domain.patience import GRACE_SECONDS, or_grace, to_the_end, woken
from notify_service.domain.quotas import Quota
from notify_service.domain.readiness import Looked
from notify_service.domain.recipient_quotas import RecipientQuota
from notify_service.domain.rendering import Item, Renderer
from notify_service.domain.turns import HIGH, turns
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.domain.verdicts import Policy, decide
from notify_service.models import Account

_IDLE_SECONDS = 30.0
REST_SECONDS = 60.0
"""Without this long anything to do, a sender ends; the next message brings it back."""
WAIT_SECONDS = 1.0
IDLE_LOOK_SECONDS = 5.0
"""Whoever runs the senders looks every second, and wakes those whose rows are due."""

DELIVERIES = Counter("parley_deliveries_total", "Attempts to deliver, by the state they led to.", ["channel", "state"])
ATTEMPTS = Counter("parley_delivery_attempts_total", "Attempts to deliver, by how they ended.", ["channel", "class"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tools:
    """What all senders of a worker share."""

    locks: Locks
    lanes: Lanes
    cipher: FieldCipher
    links: UnsubscribeLinks
    clock: Clock
    listening: Listening
    policy_of: Callable[[str], Policy]
    """By channel: a mail may wait for hours, a text may not."""
    private_networks: bool = False
    """Whether addresses that others have named may lead inside."""


class Sender:
    """Of one account, as long as it is set up like this."""

    def __init__(self, db: Database, account: Account, channel: Channel, *, tools: Tools) -> None:
        capability = channel.capability
        policy = tools.policy_of(capability.channel)
        limit = accounts.limit_of(account, capability)
        self.account = account
        self._db = db
        self._channel = channel
        self._tools = tools
        self._policy = policy
        self._quota = Quota(account.name, limit=limit[0], hours=limit[1], clock=tools.clock) if limit else None
        pool = recipient_quotas.pool_of(account, capability)
        self._recipient_quota = RecipientQuota(pool) if pool else None
        self._limits = Limits(capability.rates, time.monotonic, most=account.rate)
        self._breaker = Breaker(policy.breaker, time.monotonic)
        self._reported: tuple[bool, str | None] = (account.down_until is not None, account.fault)
        self._fault: str | None = None
        self._lines = capability.lines
        self._buffer = Buffer(self._lines, time.monotonic)
        self._renderer = Renderer(channel, tools.cipher, tools.links, tools.clock)
        self._contents = Contents()
        self._numbers = itertools.count()
        self._ready: asyncio.PriorityQueue[Item] = asyncio.PriorityQueue()
        self._turn = asyncio.Lock()
        self._work = asyncio.Event()
        # Whether the last look may have left something waiting.
        self._more = True
        self._alarm: asyncio.TimerHandle | None = None
        quotas = Quotas(self._quota, self._recipient_quota)
        self._claims = Claims(db, tools.lanes, tools.listening, lease=policy.lease, quotas=quotas, on_room=self._refill)

    @property
    def tokens(self) -> int | None:
        """How many messages its rates let go at this moment; None: as many as there are."""
        return self._limits.tokens

    def wake(self) -> None:
        """Says that rows are waiting."""
        self._work.set()

    async def run(self) -> None:
        """Until nothing has been waiting for a while, or another worker owns the account."""
        if not await self._tools.locks.take(self.account.name):
            return
        async with self._db.transaction() as session:
            if self._quota is not None:
                await self._quota.load(session)
            if self._recipient_quota is not None:
                await self._recipient_quota.load(session)
        async with asyncio.TaskGroup() as support:
            keeping = support.create_task(self._claims.run())
            try:
                async with asyncio.TaskGroup() as group:
                    lines = [group.create_task(self._serve(self._channel.line())) for _ in range(self._lines)]
                    await self._claim()
                    for line in lines:
                        line.cancel()
            finally:
                await to_the_end(self._leave())
                keeping.cancel()

    async def _claim(self) -> None:
        """Keeps the buffer filled."""
        resting = time.monotonic()
        while True:
            self._work.clear()
            try:
                # Lost with its connection, as when the database restarts, and taken again: what was sent meanwhile has
                # its verdict in the memory of this sender alone.
                if not await self._tools.locks.take(self.account.name):
                    return
                await self._report()
                # Cancelled behind its commit, it would leave rows claimed that nobody holds.
                more = await or_grace(asyncio.create_task(self._fill()))
            except (SQLAlchemyError, OSError) as error:
                if not is_unavailable(error):
                    raise
                log.warning("sender_waits", account=self.account.name, reason=type(error).__name__)
                await asyncio.sleep(WAIT_SECONDS)
                continue
            if more or len(self._claims):
                resting = time.monotonic()
            elif time.monotonic() - resting > REST_SECONDS:
                return
            if not more:
                await woken(self._work, self._breaker.wait or IDLE_LOOK_SECONDS)

    async def _fill(self) -> bool:
        """Claims what there is room for. True: there may be more, and room for many of it: for few, a look costs as
        much."""
        room, urgent = self._room()
        self._more = True
        if not urgent:
            return False
        async with self._db.transaction() as session:
            heads = await queue.lines(session, self.account.name, urgent)
            given = turns(heads, room) if room else turns([each for each in heads if each.lane == HIGH], urgent)
            rows = await queue.claim(session, self.account.name, given, lease=self._policy.lease)
            found = await readiness.look(
                session,
                rows,
                account=self.account.name,
                capability=self._channel.capability,
                quota=self._recipient_quota,
                now=self._tools.clock.now(),
            )
            contents = await self._contents.of(session, [(row.batch_id, row.step) for row in rows if row.batch_id])
        for row in rows:
            self._claims.take((row.id, row.fence))
            if row.id in found.waits:
                self._put_back(row, *found.waits[row.id])
            elif row.id in found.ends:
                state, reason = found.ends[row.id]
                self._claims.settle(Verdict(id=row.id, fence=row.fence, state=state, tried=False, reason=reason))
            else:
                self._prepare(row, contents.get((row.batch_id, row.step)), found)
        self._more = len(rows) >= room
        return room > 0 and self._more and self._has_room

    def _room(self) -> tuple[int, int]:
        """How many may be claimed, and how many of those that go before all others."""
        held = len(self._claims)
        left = most = self._buffer.measure()
        if self._quota is not None:
            left = max(0, self._quota.standing.left - self._claims.uncounted)
        room = max(0, min(left, self._breaker.room(most - held, held)))
        waits = self._breaker.opened or self._limits.wait > self._policy.lease or held >= 2 * most
        return room, room if waits else max(room, min(left, self._lines))

    def _prepare(self, row: Row[Any], content: Content | None, found: Looked) -> None:
        """Renders before anything is marked: what cannot be rendered has never left."""
        try:
            payload = self._renderer.render(row, content, closed=row.address in found.closed)
        except CannotRender as error:
            log.warning("delivery_died", delivery_id=str(row.id), template=row.template, reason=error.reason)
            state = "failed" if error.reason == windows.REASON else "dead"
            DELIVERIES.labels(self._channel.capability.channel, state).inc()
            self._claims.settle(Verdict(id=row.id, fence=row.fence, state=state, tried=False, reason=error.reason))
            return
        first = self._recipient_quota is not None and row.address not in found.opened
        self._ready.put_nowait(Item(row.lane, next(self._numbers), row, payload, first))

    async def _serve(self, line: Line) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        item = await self._next()
                except TimeoutError:
                    await line.close()
                    continue
                await or_grace(asyncio.create_task(self._handle(line, item)))
        finally:
            await line.close()

    async def _next(self) -> Item:
        """The next message that may leave now. Lines take turns, so that who is first at the end of a wait is who ranks
        highest then."""
        async with self._turn:
            while True:
                wait = self._limits.wait
                if wait > 0:
                    await asyncio.sleep(wait)
                    continue
                item = await self._ready.get()
                if self._limits.wait > 0:
                    # It came after a while in which others have left.
                    self._ready.put_nowait(item)
                    continue
                delay = self._limits.wait_for(item.row.address)
                if delay > 0:
                    self._put_back(item.row, delay)
                    continue
                self._limits.take(item.row.address)
                return item

    async def _handle(self, line: Line, item: Item) -> None:
        if self._breaker.wait:
            self._put_back(item.row)
            return
        try:
            await line.open()
        except CannotOpen as error:
            self._learn(item, error.outcome)
            self._put_back(item.row)
            return
        if not await self._claims.begin(item.key, item.row.address if item.first else None):
            return
        await self._limits.depart()
        started = time.perf_counter()
        outcome = await self._send(line, item)
        self._conclude(item, outcome, milliseconds=round((time.perf_counter() - started) * 1000))

    async def _send(self, line: Line, item: Item) -> Outcome:
        try:
            return await line.send(item.row.address, item.payload)
        except Exception:
            # A row that trips over a mistake of ours must not stop all others; and nobody knows how far it got.
            log.exception("line_failed", delivery_id=str(item.row.id))
            await line.close()
            return Outcome(ErrorClass.AMBIGUOUS, "fault")

    def _conclude(self, item: Item, outcome: Outcome, *, milliseconds: int | None) -> None:
        self._learn(item, outcome)
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
            effect=outcome.effect,
        )
        DELIVERIES.labels(self._channel.capability.channel, decision.state).inc()
        ATTEMPTS.labels(self._channel.capability.channel, outcome.error or "taken").inc()
        self._claims.settle(verdict)
        self._buffer.done += 1

    def _learn(self, item: Item, outcome: Outcome) -> None:
        """What an outcome says about the account, and about who should have got it."""
        if outcome.left is not None and outcome.reset_seconds is not None:
            self._limits.learn(outcome.left, outcome.reset_seconds)
        if outcome.error is ErrorClass.RECIPIENT:
            self._limits.hold(item.row.address, outcome.pause_seconds or WAIT_SECONDS)
            self._breaker.succeed()
        elif outcome.error in (ErrorClass.THROTTLE, ErrorClass.AUTH) or outcome.pause_seconds:
            self._breaker.trip(outcome.pause_seconds)
        elif outcome.error in (ErrorClass.UNREACHABLE, ErrorClass.AMBIGUOUS) or outcome.code == "connection_lost":
            self._breaker.fail()
        else:
            self._breaker.succeed()
        self._fault = outcome.code if outcome.error is ErrorClass.AUTH else None
        if outcome.error in BLAMES_ACCOUNT:
            log.warning("account_fails", account=self.account.name, error=outcome.error, code=outcome.code)
            self._work.set()

    def _put_back(self, row: Row[Any], delay: float | None = None, reason: str | None = None) -> None:
        """Never offered, so no attempt; the breaker, or what holds for the recipient, says when it goes on."""
        seconds = min(1.0, self._policy.breaker) if delay is None else delay
        verdict = Verdict(id=row.id, fence=row.fence, state="retry", tried=False, delay=seconds, reason=reason)
        self._claims.settle(verdict).add_done_callback(lambda _: self._look_again(seconds))

    def _look_again(self, seconds: float) -> None:
        """By the second whoever runs the senders looks; sooner, this one itself. For many the first alarm does."""
        loop = asyncio.get_running_loop()
        if seconds < WAIT_SECONDS and (self._alarm is None or loop.time() + seconds < self._alarm.when()):
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._work.set()

    def _refill(self) -> None:
        """What comes from now on, or falls due, says so by itself."""
        if self._more and self._has_room:
            self._work.set()

    @property
    def _has_room(self) -> bool:
        return len(self._claims) <= self._buffer.size // 2

    async def _report(self) -> None:
        """Says how the account fares, when that has changed; while it is ill, `standins` gives others what waits."""
        down = self._breaker.wait
        standing = (down > 0, self._fault)
        if standing != self._reported:
            async with self._db.transaction() as session:
                await accounts.report(session, self.account, down_seconds=down, fault=self._fault)
            self._reported = standing

    async def _leave(self) -> None:
        """Gives back what is still in the buffer and writes the last verdicts."""
        while not self._ready.empty():
            item = self._ready.get_nowait()
            row = item.row
            self._claims.settle(Verdict(id=row.id, fence=row.fence, state="retry", tried=False))
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await self._claims.settled()
                await self._tools.locks.free(self.account.name)
        except (TimeoutError, SQLAlchemyError, OSError):
            log.warning("sender_left_rows", account=self.account.name, rows=len(self._claims))
