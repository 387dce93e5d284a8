"""The sending half of a socket: bounded memory, and never a wait.

While the peer keeps up, a packet goes straight into the transport. When the transport says that its buffer is full,
packets queue here, where they can be counted, dropped or given up; when it has room again they follow in order.
"""

from collections import deque
from typing import Protocol

from chat_service.domain import frames
from chat_service.domain.closing import SLOW, Close

MAX_BYTES = 1 << 20
MAX_PACKETS = 2_000
_AT_ONCE = 65_536
_EPHEMERAL_BYTES = MAX_BYTES // 4
_STALLED_BYTES = MAX_BYTES // 2
_STALLED_SECONDS = 10.0


class Wire(Protocol):
    """What a connection needs of the WebSocket below it."""

    def write(self, packet: bytes) -> None: ...
    def write_many(self, packets: list[bytes]) -> None: ...
    def end(self, code: int, reason: str) -> None:
        """Sends a close frame after all that was written; aborts when the peer does not take it within ten seconds."""

    def hold(self, *, on: bool) -> None:
        """Stops or resumes reading: the peer feels it through TCP."""


class Connection:
    __slots__ = ("_backlog", "_backlog_bytes", "_blocked", "_stalled_since", "closed", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.closed = False
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._blocked = False
        self._stalled_since = 0.0

    @property
    def backlog_bytes(self) -> int:
        return self._backlog_bytes

    def push(self, packet: bytes) -> None:
        if not self._blocked:
            if not self.closed:
                self.wire.write(packet)
        else:
            self._queue(packet)

    def push_ephemeral(self, packet: bytes) -> None:
        """For what is worthless later: first to be dropped when the peer is slow."""
        if self._backlog_bytes <= _EPHEMERAL_BYTES:
            self.push(packet)

    def close(self, why: Close, *, retry_ms: int = 0, reason: str = "") -> None:
        """Says `goaway` where the client may come back, then closes."""
        if self.closed:
            return
        if why.reconnect:
            self.wire.write(frames.notice("goaway", code=why.code, retry_ms=retry_ms))
        self.closed = True
        self._backlog.clear()
        self._backlog_bytes = 0
        self.wire.end(why.code, reason or why.reason)

    def block(self) -> None:
        """The transport's buffer is full."""
        self._blocked = True

    def unblock(self) -> None:
        """The transport has room again; it calls `block` from within a write when it is full."""
        self._blocked = False
        while self._backlog and not self._blocked and not self.closed:
            packets, size = [], 0
            while self._backlog and size < _AT_ONCE:
                packets.append(self._backlog.popleft())
                size += len(packets[-1])
            self._backlog_bytes -= size
            self.wire.write_many(packets)

    def stalls(self, now: float) -> bool:
        """Whether more than half the room has been taken for ten seconds. Asked about once a second."""
        if self._backlog_bytes <= _STALLED_BYTES:
            self._stalled_since = 0.0
            return False
        self._stalled_since = self._stalled_since or now
        return now - self._stalled_since > _STALLED_SECONDS

    def _queue(self, packet: bytes) -> None:
        if self.closed:
            return
        self._backlog.append(packet)
        self._backlog_bytes += len(packet)
        if self._backlog_bytes > MAX_BYTES or len(self._backlog) > MAX_PACKETS:
            self.close(SLOW, retry_ms=1000)
