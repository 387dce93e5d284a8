"""What waits for a reader that does not keep up: bounded, sorted, and the first thing given up is what matters least.

Control goes first, then durable events, then states, then what is worthless later. Streams take turns by bytes (deficit
round-robin), so one that says much does not hold up the others; within a stream the order stays.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping

MAX_BYTES = 1 << 20
MAX_PACKETS = 2_000
EPHEMERAL_BYTES = MAX_BYTES // 4
CROWDED_BYTES = MAX_BYTES // 2
_TURN_BYTES = 8_192

Parts = Callable[[], Mapping[str, bytes]]
"""A state in packets, each with the name of what it tells of; made only for those who are slow."""


class _Queue(deque[bytes]):
    """The events of one stream."""

    __slots__ = ("bytes", "credit")

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.credit = 0


class Backlog:
    __slots__ = ("_control", "_ephemeral", "_states", "_streams", "bytes", "packets")

    def __init__(self) -> None:
        self.bytes = 0
        self.packets = 0
        self._control: deque[bytes] = deque()
        # In the order in which they take their turns: the first one is served now.
        self._streams: dict[str, _Queue] = {}
        self._states: dict[str, bytes] = {}
        self._ephemeral: deque[bytes] = deque()

    @property
    def full(self) -> bool:
        return self.bytes > MAX_BYTES or self.packets > MAX_PACKETS

    @property
    def crowded(self) -> bool:
        """Half of the room is taken."""
        return self.bytes > CROWDED_BYTES or self.packets > MAX_PACKETS // 2

    @property
    def roomy(self) -> bool:
        """Three quarters of the room are free."""
        return self.bytes <= EPHEMERAL_BYTES and self.packets <= MAX_PACKETS // 4

    def add_control(self, packet: bytes) -> None:
        self._control.append(packet)
        self._count(packet)

    def add_event(self, stream: str, packet: bytes) -> None:
        queue = self._streams.get(stream)
        if queue is None:
            queue = self._streams[stream] = _Queue()
        queue.append(packet)
        queue.bytes += len(packet)
        self._count(packet)

    def add_state(self, key: str, packet: bytes) -> None:
        """Only the latest counts: an older one of the same key is forgotten."""
        before = self._states.pop(key, None)
        if before is not None:
            self._discount(before)
        self._states[key] = packet
        self._count(packet)

    def add_ephemeral(self, packet: bytes) -> None:
        if self.roomy:
            self._ephemeral.append(packet)
            self._count(packet)

    def drop_ephemeral(self) -> None:
        for packet in self._ephemeral:
            self._discount(packet)
        self._ephemeral.clear()

    def drop_stream(self, stream: str) -> None:
        for packet in self._streams.pop(stream, ()):
            self._discount(packet)

    def drop_states(self, prefix: str) -> None:
        for key in [key for key in self._states if key.startswith(prefix)]:
            self._discount(self._states.pop(key))

    def largest(self, among: Callable[[str], bool]) -> str | None:
        """The stream whose events take the most room, of those that may be given up."""
        return max(filter(among, self._streams), key=lambda key: self._streams[key].bytes, default=None)

    def take(self, most: int) -> list[bytes]:
        """What goes next, about so many bytes of it; empty when nothing waits."""
        packets: list[bytes] = []
        for packet in self._next():
            packets.append(packet)
            most -= len(packet)
            self._discount(packet)
            if most <= 0:
                break
        return packets

    def _next(self) -> Iterator[bytes]:
        while self._control:
            yield self._control.popleft()
        while self._streams:
            yield self._of_streams()
        while self._states:
            yield self._states.pop(next(iter(self._states)))
        while self._ephemeral:
            yield self._ephemeral.popleft()

    def _of_streams(self) -> bytes:
        while True:
            key, queue = next(iter(self._streams.items()))
            size = len(queue[0])
            if size <= queue.credit:
                break
            # To the end of the row: when its turn comes again it may say so much more.
            queue.credit += _TURN_BYTES
            self._streams[key] = self._streams.pop(key)
        queue.credit -= size
        queue.bytes -= size
        packet = queue.popleft()
        if not queue:
            del self._streams[key]
        return packet

    def _count(self, packet: bytes) -> None:
        self.bytes += len(packet)
        self.packets += 1

    def _discount(self, packet: bytes) -> None:
        self.bytes -= len(packet)
        self.packets -= 1
