"""The sockets of this process, and what reaches them."""

import asyncio
import secrets
from collections import Counter as Counts
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge, Histogram

from chat_service.domain import frames
from chat_service.domain.bus import Bus
from chat_service.domain.closing import EXPIRED, REVOKED
from chat_service.domain.drafts import Stored
from chat_service.domain.log import Log
from chat_service.domain.messages import moment_ms
from chat_service.domain.streams import Run, Stream, channel_of, top_key
from chat_service.domain.tails import TAIL_BYTES, Tail, Tails
from libs.clock import Clock
from libs.errors import TokenRevoked, Unavailable
from libs.revocation import Revocations

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session

_SLOTS = 8
_UNUSED_SECONDS = 30.0
_AUDIT_SECONDS = 10.0
_CHUNK = 1000
# Neither JSON nor a number, as the other payloads of a conversation begin.
_CONTROL = b"!"
TOP_SECONDS = 24 * 3600

SOCKETS = Gauge("parley_chat_sockets", "Open sockets of this process.")
STREAMS = Gauge("parley_chat_streams", "Conversations that this process follows.")
BACKLOG = Gauge("parley_chat_backlog_bytes", "What waits in this process for readers that do not keep up.")
DELIVERIES = Counter("parley_chat_deliveries_total", "Events handed to sockets.")
DELAY = Histogram(
    "parley_chat_delivery_seconds",
    "From the commit of an event to handing it to the last socket of this process.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)

log = structlog.get_logger()


def user_channel(user_id: UUID) -> bytes:
    return b"{u}.u:%b" % str(user_id).encode()


def notification_channel(user_id: UUID) -> bytes:
    return b"{u}.n:%b" % str(user_id).encode()


class Hub:
    def __init__(self, bus: Bus, log_: Log, clock: Clock) -> None:
        self._bus = bus
        self._log = log_
        self._clock = clock
        self.sessions: set[Session] = set()
        self.users: dict[UUID, set[Session]] = {}
        # Sockets that have not said yet who they are, by the address they come from.
        self.ungreeted: Counts[str] = Counts()
        self.streams: dict[UUID, Stream] = {}
        # What else this process listens to, by channel, and who wants to know that messages may have been missed.
        self.listeners: Mapping[bytes, Callable[[bytes], None]] = {}
        self.on_return: Callable[[], None] = lambda: None
        self.tails = Tails()
        self.controls: Mapping[str, Callable[[Stream, Any], None]] = {}
        self._by_channel: dict[bytes, Stream] = {}
        # All timers of all sockets: each slot is looked through once a second, an eighth of a second after the last.
        self._wheel: list[set[Session]] = [set() for _ in range(_SLOTS)]
        self._tasks: set[asyncio.Task[Any]] = set()
        # Bytes that waited when they were last counted.
        self._waiting = 0
        bus.on_message = self._receive
        bus.on_return = self._returned

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that is kept alive and whose failure is logged."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("task_failed", task=task.get_name(), exc_info=task.exception())

    def connected(self) -> Iterator[tuple[str, UUID]]:
        return ((session.id, session.user_id) for session in self.sessions if session.open)

    def add(self, session: "Session") -> None:
        self.sessions.add(session)
        if session.address:
            self.ungreeted[session.address] += 1
        min(self._wheel, key=len).add(session)
        SOCKETS.inc()

    async def welcome(self, session: "Session") -> None:
        """The session's user is known from now on: what is for that user reaches it."""
        self.greeted(session)
        if session not in self.sessions:
            return
        self.users.setdefault(session.user_id, set()).add(session)
        await self._bus.subscribe((user_channel(session.user_id), notification_channel(session.user_id)))

    def greeted(self, session: "Session") -> None:
        """It counts no longer against its address."""
        if session.address:
            self.ungreeted[session.address] -= 1
            if not self.ungreeted[session.address]:
                del self.ungreeted[session.address]
            session.address = ""

    def session_of(self, user_id: UUID, identifier: str) -> "Session | None":
        return next((s for s in self.users.get(user_id, ()) if s.id == identifier and not s.closed), None)

    def remove(self, session: "Session") -> None:
        """The socket is gone."""
        session.closed = True
        self.greeted(session)
        if session not in self.sessions:
            return
        self.sessions.discard(session)
        for slot in self._wheel:
            slot.discard(session)
        SOCKETS.dec()
        mine = self.users.get(session.user_id)
        if mine is not None:
            mine.discard(session)
            if not mine:
                del self.users[session.user_id]
                self._bus.unsubscribe(user_channel(session.user_id))
                self._bus.unsubscribe(notification_channel(session.user_id))
        for stream in session.streams.values():
            self.unfollow(session, stream)
        session.streams = {}

    def unfollow(self, session: "Session", stream: Stream) -> None:
        stream.subscribers.pop(session, None)
        if not stream.subscribers:
            # Left open for a while: whoever reconnects, or opens the same conversation, finds it.
            stream.unused_since = asyncio.get_running_loop().time()

    async def open(self, conversation_ids: Iterable[UUID]) -> None:
        """Follows the conversations from now on. Those that do not exist are not in `streams` afterwards."""
        wanted = list(conversation_ids)
        fresh = [c for c in wanted if c not in self.streams]
        loop = asyncio.get_running_loop()
        for conversation_id in fresh:
            stream = Stream(conversation_id, self._log.read, self._delivered, Tail(self.tails))
            stream.opened = loop.create_future()
            stream.unused_since = loop.time()
            self.streams[conversation_id] = self._by_channel[stream.channel] = stream
        if fresh:
            # A task of the hub: the socket that asked may go away, others may be waiting for the same stream.
            self.spawn(self._open(fresh))
        for stream in [self.streams[c] for c in wanted]:
            if stream.opened is not None:
                await asyncio.shield(stream.opened)

    async def _open(self, fresh: Sequence[UUID]) -> None:
        tops: dict[UUID, tuple[int, int]] = {}
        failure: Unavailable | None = None
        try:
            # First the channel, then the number: nothing can fall between them.
            await self._bus.subscribe([self.streams[c].channel for c in fresh])
            tops = await self._log.tops(fresh)
        except Unavailable as error:
            failure = error
        finally:
            for conversation_id in fresh:
                self._opened(conversation_id, tops.get(conversation_id), failure)
        STREAMS.set(len(self.streams))

    def _opened(self, conversation_id: UUID, top: tuple[int, int] | None, failure: Unavailable | None) -> None:
        stream = self.streams[conversation_id]
        opened, stream.opened = stream.opened, None
        if top is not None:
            stream.start_at(*top)
        else:
            self._forget(stream)
        if opened is not None:
            if failure is not None:
                opened.set_exception(failure)
                opened.exception()
            else:
                opened.set_result(None)

    def publish(self, conversation_id: UUID, stored: list[Stored]) -> None:
        """New messages of one conversation, committed just now by this process, in the order of their numbers."""
        lines = [frames.event(conversation_id, s.event_seq, "message.new", s.message) for s in stored]
        committed = moment_ms(stored[0].created_at)
        self.publish_run(conversation_id, Run(stored[0].event_seq, stored[-1].event_seq, lines, (), committed))

    def publish_run(self, conversation_id: UUID, run: Run) -> None:
        """To the sockets of this process at once, to the others through Redis, where the number is noted as well."""
        self._bus.publish(channel_of(conversation_id), encode(run))
        self._bus.send(b"SET", top_key(conversation_id), run.last, b"EX", TOP_SECONDS)
        stream = self.streams.get(conversation_id)
        if stream is not None:
            stream.accept(run)

    def publish_to_user(self, user_id: UUID, kind: str, data: object) -> None:
        """To all sockets of a user, everywhere. May be lost: what it says can be read over HTTP."""
        self._bus.publish(user_channel(user_id), frames.push(f"u:{user_id}", kind, data))

    def publish_control(self, conversation_id: UUID, kind: str, said: object) -> None:
        """To the processes that follow the conversation, not to their sockets as it is. May be lost."""
        self._bus.publish(channel_of(conversation_id), _CONTROL + frames.dump([kind, said]))

    def _control(self, stream: Stream, payload: bytes) -> None:
        try:
            kind, said = frames.load(payload[1:])
        except ValueError:
            log.warning("control_unreadable", stream=stream.key)
            return
        # A newer process may know more kinds than this one.
        if kind in self.controls:
            self.controls[kind](stream, said)

    def _delivered(self, deliveries: int, committed_ms: int) -> None:
        DELIVERIES.inc(deliveries)
        if committed_ms:
            DELAY.observe(max(0.0, self._clock.seconds() - committed_ms / 1000))

    def _receive(self, channel: bytes, payload: bytes) -> None:
        stream = self._by_channel.get(channel)
        if stream is not None:
            if payload[:1] == _CONTROL:
                self._control(stream, payload)
            else:
                _receive_events(stream, payload)
            return
        if channel in self.listeners:
            self.listeners[channel](payload)
            return
        kind, _, key = channel[channel.index(b".") + 1 :].partition(b":")
        line = _notification(payload) if kind == b"n" else payload
        if kind != b"c" and line:
            packet = frames.packet(line)
            for session in self.users.get(UUID(key.decode()), ()):
                session.push_event(packet, kind.decode())

    def _returned(self) -> None:
        self.on_return()
        if self.streams:
            self.spawn(self.audit())

    async def run(self) -> None:
        """Turns the wheel, and looks for what was lost without a trace."""
        loop = asyncio.get_running_loop()
        audit_at = loop.time() + _AUDIT_SECONDS
        turn = waiting = 0
        while True:
            await asyncio.sleep(1 / _SLOTS)
            now = loop.time()
            wall = self._clock.seconds()
            for session in list(self._wheel[turn % _SLOTS]):
                session.visit(now, wall)
                waiting += session.backlog_bytes
            turn += 1
            if turn % _SLOTS == 0:
                self._forget_unused(now)
                BACKLOG.inc(waiting - self._waiting)
                self._waiting = waiting
                waiting = 0
            if now >= audit_at:
                audit_at = now + _AUDIT_SECONDS + secrets.randbelow(2000) / 1000
                self.spawn(self.audit())

    async def audit(self) -> None:
        """Compares each stream with PostgreSQL: the last event before a silence may have got lost without a trace."""
        streams = [stream for stream in self.streams.values() if stream.subscribers]
        try:
            for start in range(0, len(streams), _CHUNK):
                chunk = streams[start : start + _CHUNK]
                tops = await self._log.tops([stream.conversation_id for stream in chunk])
                for stream in chunk:
                    stream.expect(tops.get(stream.conversation_id, (0, 0))[0])
        except Unavailable:
            log.warning("audit_postponed")

    def check_revoked(self, revocations: Revocations) -> None:
        for session in list(self.sessions):
            if session.open and session.claims is not None:
                refusal = revocations.refusal(session.claims)
                if refusal is not None:
                    # Of an outdated token the session goes on: the client refreshes it and comes back.
                    session.close(REVOKED if refusal is TokenRevoked else EXPIRED)

    def _forget(self, stream: Stream) -> None:
        stream.close()
        del self.streams[stream.conversation_id], self._by_channel[stream.channel]
        self._bus.unsubscribe(stream.channel)

    def _forget_unused(self, now: float) -> None:
        for stream in list(self.streams.values()):
            if not stream.subscribers and stream.opened is None and now - stream.unused_since > _UNUSED_SECONDS:
                self._forget(stream)
        STREAMS.set(len(self.streams))
        TAIL_BYTES.set(self.tails.bytes)


def encode(run: Run) -> bytes:
    """As processes hand it to each other: a line of numbers, then the events, never parsed again."""
    removed = b",".join(b"%d:%b" % (number, user.hex.encode()) for number, user in run.removed) or b"-"
    head = b"%d %d %d %b" % (run.first, run.last, run.committed_ms, removed)
    return b"\n".join((head, *run.lines))


def _receive_events(stream: Stream, payload: bytes) -> None:
    try:
        # What this process has published itself comes back as well: half of all, with two processes.
        if int(payload.split(b" ", 2)[1]) > stream.seq:
            stream.accept(decode(payload))
    except (ValueError, IndexError):
        log.warning("events_unreadable", stream=stream.key)


def decode(payload: bytes) -> Run:
    head, *lines = payload.split(b"\n")
    first, last, committed, names = head.split(b" ")
    removed: tuple[tuple[int, UUID], ...] = ()
    if names != b"-":
        pairs = (name.split(b":") for name in names.split(b","))
        removed = tuple((int(number), UUID(user.decode())) for number, user in pairs)
    return Run(int(first), int(last), lines, removed, int(committed))


def _notification(payload: bytes) -> bytes | None:
    try:
        return frames.push("n", "notification.new", frames.load(payload))
    except ValueError:
        log.warning("notification_unreadable")
        return None
