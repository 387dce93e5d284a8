"""One conversation as this process follows it: every event once, in order, to everybody who listens.

Events come from the writers of this process and from Redis, in any order, sometimes twice, sometimes not at all. Their
numbers say what is missing; what does not arrive within 50 ms is read from PostgreSQL, once for all subscribers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID
from zlib import crc32

import structlog

from chat_service.domain import frames
from chat_service.domain.backlog import Parts
from chat_service.domain.tails import Tail, Tails
from libs.errors import Unavailable

if TYPE_CHECKING:
    from chat_service.domain.replays import Flight

EVERYBODY = UUID(int=0)
"""Stands for all members where somebody is removed: the conversation is gone."""
_REORDER_SECONDS = 0.05
_MOST_PENDING = 500
# Beyond so many subscribers the loop gets its turn in between: each costs about 4 us.
_SLICE = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive events `first` to `last`, one line each. `removed` are people who are no members any more."""

    first: int
    last: int
    lines: list[bytes]
    removed: tuple[tuple[int, UUID], ...] = ()
    """With the number of the event that removed each."""
    committed_ms: int = 0


class Subscriber(Protocol):
    user_id: UUID

    def push_event(self, packet: bytes, stream: str) -> None: ...
    def push_state(self, packet: bytes, parts: Parts) -> None: ...
    def push_ephemeral(self, packet: bytes) -> None: ...
    def removed_from(self, key: str) -> None:
        """The stream is not this subscriber's any more."""


def channel_of(conversation_id: UUID) -> bytes:
    """The number in braces is the hash tag of a Redis cluster: 128 of them spread over its nodes."""
    return b"{%d}.c:%b" % (crc32(conversation_id.bytes) % 128, str(conversation_id).encode())


def top_key(conversation_id: UUID) -> bytes:
    """Where the number of the last published event is noted, on the same node as the channel."""
    return b"{%d}.t:%b" % (crc32(conversation_id.bytes) % 128, str(conversation_id).encode())


@dataclass(eq=False, slots=True)
class Stream:
    conversation_id: UUID
    read: Callable[[UUID, int, int], Awaitable[Run | None]]
    """The events behind a number, up to another, from PostgreSQL; None when there are none."""
    delivered: Callable[[int, int], None] = lambda _deliveries, _committed_ms: None
    tail: Tail = field(default_factory=lambda: Tail(Tails()))
    flight: "Flight | None" = None
    """A read of missed events that is under way."""
    key: str = ""
    channel: bytes = b""
    seq: int = -1
    """Of the last event handed on; -1 until the stream is open."""
    epoch: int = 0
    top: int = 0
    """The highest number heard of."""
    opened: asyncio.Future[None] | None = None
    unused_since: float = 0.0
    changed_at: float = 0.0
    """When the last event was handed on, by the loop's clock."""
    # What of the moment is kept with the stream: receipts to be told, who is typing.
    receipts: Any = None
    typists: Any = None
    # A subscriber that is still being told what it missed collects what comes meanwhile; None: it is up to date.
    subscribers: dict[Subscriber, list[bytes] | None] = field(default_factory=dict)
    _pending: dict[int, Run] = field(default_factory=dict)
    _healer: "asyncio.Task[None] | None" = None
    _fan: deque[tuple[list[bytes], list[Subscriber], Callable[[], None]]] = field(default_factory=deque)
    _fanner: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self.key = f"c:{self.conversation_id}"
        self.channel = channel_of(self.conversation_id)

    def accept(self, run: Run) -> None:
        """Hands on what is next, remembers what is not."""
        self.top = max(self.top, run.last)
        if self.seq < 0 or run.first > self.seq + 1:
            self._wait_for_gap(run)
            return
        if run.last <= self.seq:
            return
        self._forward(run)
        while self._pending:
            first = min(self._pending)
            if first > self.seq + 1:
                return
            run = self._pending.pop(first)
            if run.last > self.seq:
                self._forward(run)

    def expect(self, top: int) -> None:
        """Somebody knows of events up to `top`: those that have not come are fetched."""
        if top > self.seq >= 0:
            self.top = max(self.top, top)
            self._heal()

    def top_for(self, subscriber: Subscriber, since: float) -> int | None:
        """The number of the last event, if there was one since then and all up to it was handed to the subscriber."""
        if self.changed_at < since or self._fan or self.subscribers.get(subscriber, []) is not None:
            return None
        return self.seq

    def send_ephemeral(self, packet: bytes) -> None:
        for subscriber in list(self.subscribers):
            subscriber.push_ephemeral(packet)

    def send_state(self, packet: bytes, parts: Parts) -> None:
        for subscriber in list(self.subscribers):
            subscriber.push_state(packet, parts)

    def start_at(self, seq: int, epoch: int) -> None:
        """Opens the stream: what came while it was being opened is older than `seq` or waits in `_pending`."""
        self.seq, self.epoch = seq, epoch
        self.tail.start(seq + 1)
        pending, self._pending = self._pending, {}
        for first in sorted(pending):
            self.accept(pending[first])
        self.expect(self.top)

    def close(self) -> None:
        self.tail.clear()
        for task in (self._healer, self._fanner):
            if task is not None:
                task.cancel()

    def _wait_for_gap(self, run: Run) -> None:
        if len(self._pending) < _MOST_PENDING:
            # What does not fit is not lost: `top` remembers it, and healing goes up to there.
            self._pending[run.first] = run
        if self.seq >= 0:
            self._heal(_REORDER_SECONDS)

    def _heal(self, patience: float = 0.0) -> None:
        if self._healer is None:
            self._healer = asyncio.get_running_loop().create_task(self._heal_after(patience))
            self._healer.add_done_callback(self._healed)

    def _healed(self, task: "asyncio.Task[None]") -> None:
        self._healer = None
        if task.cancelled():
            return
        if task.exception() is not None:
            log.error("healing_failed", stream=self.key, exc_info=task.exception())
        if self.top > self.seq:
            # Something arrived between the last look and this callback.
            self._heal(_REORDER_SECONDS)

    async def _heal_after(self, patience: float) -> None:
        await asyncio.sleep(patience)
        while self.top > self.seq:
            until = min(self._pending) - 1 if self._pending else self.top
            try:
                run = await self.read(self.conversation_id, self.seq, max(until, self.seq + 1))
            except Unavailable:
                await asyncio.sleep(0.5)
                continue
            if run is None:
                self._give_up()
                continue
            log.info("gap_healed", stream=self.key, first=run.first, last=run.last)
            self.accept(run)

    def _give_up(self) -> None:
        """Announced, but not there: pruned since, or a number of another life of the database. Clients see the hole."""
        log.warning("events_missing", stream=self.key, after=self.seq, top=self.top)
        if self._pending:
            first = min(self._pending)
            self.seq = first - 1
            self.accept(self._pending.pop(first))
        else:
            self.top = self.seq

    def _forward(self, run: Run) -> None:
        skip = self.seq + 1 - run.first
        for number, user_id in run.removed:
            if number > self.seq:
                self._remove(user_id)
        self.seq = run.last
        self.changed_at = asyncio.get_running_loop().time()
        lines = run.lines[skip:] if skip else run.lines
        self.tail.append(run.last + 1 - len(lines), lines)
        packets = frames.pack(lines)
        if len(self.subscribers) > _SLICE or self._fan:
            # With those of this moment: who comes later is told these events as part of what it missed.
            done = partial(self.delivered, len(self.subscribers) * len(lines), run.committed_ms)
            self._fan.append((packets, list(self.subscribers), done))
            if self._fanner is None:
                self._fanner = asyncio.get_running_loop().create_task(self._fan_out())
        else:
            # Counted as it was handed out: a slow one may be given up on the way.
            count = len(self.subscribers) * len(lines)
            self._write(list(self.subscribers), packets)
            self.delivered(count, run.committed_ms)

    def _write(self, subscribers: list[Subscriber], packets: list[bytes]) -> None:
        key = self.key
        for subscriber in subscribers:
            catching_up = self.subscribers.get(subscriber)
            if catching_up is not None:
                catching_up.extend(packets)
            else:
                for packet in packets:
                    subscriber.push_event(packet, key)

    async def _fan_out(self) -> None:
        try:
            while self._fan:
                packets, everybody, done = self._fan[0]
                for start in range(0, len(everybody), _SLICE):
                    present = [s for s in everybody[start : start + _SLICE] if s in self.subscribers]
                    self._write(present, packets)
                    await asyncio.sleep(0)
                self._fan.popleft()
                done()
        finally:
            self._fanner = None

    def _remove(self, user_id: UUID) -> None:
        for subscriber in [s for s in self.subscribers if user_id in (s.user_id, EVERYBODY)]:
            del self.subscribers[subscriber]
            subscriber.removed_from(self.key)
