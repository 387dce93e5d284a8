"""The sending half of a socket: bounded memory, and never a wait.

While the peer keeps up, a packet goes straight into the transport. When the transport says that its buffer is full,
packets queue in a backlog, where they can be put in order, dropped or given up, until it has room again.
"""

from typing import Protocol

from prometheus_client import Counter

from chat_service.domain import frames
from chat_service.domain.backlog import Backlog, Parts
from chat_service.domain.closing import SLOW, Close

_AT_ONCE = 65_536
_STALLED_SECONDS = 10.0

SLOW_CONSUMERS = Counter("parley_chat_slow_consumers_total", "Sockets closed because their readers did not keep up.")
RESYNCS = Counter("parley_chat_resyncs_total", "Streams of slow readers whose waiting events were given up.")


class Wire(Protocol):
    """What a connection needs of the WebSocket, or whatever else, below it."""

    def write(self, packet: bytes) -> None: ...
    def write_many(self, packets: list[bytes]) -> None: ...
    def end(self, code: int, reason: str) -> None:
        """Sends a close frame after all that was written; aborts when the peer does not take it within ten seconds."""

    def hold(self, *, on: bool) -> None:
        """Stops or resumes reading: the peer feels it through TCP."""


class Connection:
    __slots__ = ("_backlog", "_stalled_since", "closed", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.closed = False
        # None while the transport takes everything.
        self._backlog: Backlog | None = None
        self._stalled_since = 0.0

    @property
    def backlog_bytes(self) -> int:
        return 0 if self._backlog is None else self._backlog.bytes

    @property
    def blocked(self) -> bool:
        return self._backlog is not None

    def push(self, packet: bytes) -> None:
        """Control: answers, and what is said of the socket and its streams. Goes before all else."""
        if self._backlog is None:
            if not self.closed:
                self.wire.write(packet)
        elif not self.closed:
            self._backlog.add_control(packet)
            self._relieve()

    def push_event(self, packet: bytes, stream: str) -> None:
        """A durable event; those of one stream stay in order."""
        if self._backlog is None:
            if not self.closed:
                self.wire.write(packet)
        elif not self.closed and self.follows(stream):
            self._backlog.add_event(stream, packet)
            self._relieve()

    def push_state(self, packet: bytes, parts: Parts) -> None:
        """How things are now, as far as they have changed. While the peer is slow its `parts` wait, each in place of an
        older one of the same name; the names begin with that of the stream.
        """
        if self._backlog is None:
            if not self.closed:
                self.wire.write(packet)
        elif not self.closed:
            for key, part in parts().items():
                self._backlog.add_state(key, part)
            self._relieve()

    def push_ephemeral(self, packet: bytes) -> None:
        """For what is worthless later: first to be dropped when the peer is slow."""
        if self._backlog is None:
            if not self.closed:
                self.wire.write(packet)
        elif not self.closed:
            self._backlog.add_ephemeral(packet)

    def close(self, why: Close, *, retry_ms: int = 0, reason: str = "") -> None:
        """Says `goaway` where the client may come back, then closes."""
        if self.closed:
            return
        if why is SLOW:
            SLOW_CONSUMERS.inc()
        self.take_leave(why, retry_ms)
        self.closed = True
        self._backlog = None
        self.wire.end(why.code, reason or why.reason)

    def take_leave(self, why: Close, retry_ms: int) -> None:
        """The last words before the close frame."""
        if why.reconnect:
            self.wire.write(frames.notice("goaway", code=why.code, retry_ms=retry_ms))

    def block(self) -> None:
        """The transport's buffer is full."""
        if self._backlog is None:
            self._backlog = Backlog()

    def unblock(self) -> None:
        """The transport has room again; it calls `block` from within a write when it is full."""
        backlog, self._backlog = self._backlog, None
        while backlog is not None and not self.closed:
            packets = backlog.take(_AT_ONCE)
            if not packets:
                return
            self.wire.write_many(packets)
            if self.blocked:
                self._backlog = backlog
                return

    def forget_stream(self, stream: str) -> None:
        """What waits of it is not wanted any more."""
        if self._backlog is not None:
            self._backlog.drop_stream(stream)
            self._backlog.drop_states(stream)

    def stalls(self, now: float) -> bool:
        """Whether more than half the room has been taken for ten seconds. Asked about once a second."""
        if self._backlog is None or not self._backlog.crowded:
            self._stalled_since = 0.0
            return False
        self._stalled_since = self._stalled_since or now
        return now - self._stalled_since > _STALLED_SECONDS

    def follows(self, _stream: str) -> bool:
        return True

    def spares(self, _stream: str) -> bool:
        """Whether nobody looks at the stream now, so that its events may be given up and fetched later."""
        return False

    def give_up(self, stream: str) -> bytes:
        """Follows the stream no longer; returns what tells the client."""
        raise NotImplementedError

    def _relieve(self) -> None:
        """Makes room: what is worthless later goes at a quarter, streams that nobody looks at go at a half."""
        backlog = self._backlog
        if backlog is None or backlog.roomy:
            return
        backlog.drop_ephemeral()
        if backlog.crowded:
            self._give_up_streams(backlog)
        if backlog.full:
            self.close(SLOW, retry_ms=1000)

    def _give_up_streams(self, backlog: Backlog) -> None:
        """Those that take the most, until three quarters are free: a stream that says little loses nothing."""
        while not backlog.roomy and (stream := backlog.largest(self.spares)) is not None:
            backlog.drop_stream(stream)
            backlog.add_control(self.give_up(stream))
            RESYNCS.inc()
