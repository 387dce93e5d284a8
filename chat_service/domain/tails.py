"""The last events of each followed stream, kept as lines, so that whoever comes back soon costs no database.

A line holds the words of a message as they were. When they change, every line that names the message is forgotten, and
all that is older with it: what is kept stays one piece, and nobody is told again what was taken back.
"""

from collections import OrderedDict
from collections.abc import Sequence

from prometheus_client import Gauge

from chat_service.domain import frames

MOST_LINES = 128
MOST_BYTES = 131_072
MOST_BYTES_IN_ALL = 32 << 20
# What makes older lines untrue, and which: of one message, or all.
_OF_ONE = (b'message.edited"', b'message.deleted"')
_OF_ALL = (b'messages.erased"', b'conversation.deleted"')
_ALTERING = _OF_ONE + _OF_ALL
# Where the kind of an event can begin at the earliest: behind the name of the stream.
_HEAD = 46

TAIL_BYTES = Gauge("parley_chat_kept_bytes", "Events that are kept in memory for those who come back.")


class Tails:
    """All of a process: those that were not used for longest go when there is too much."""

    def __init__(self, most: int = MOST_BYTES_IN_ALL) -> None:
        self.most = most
        self.bytes = 0
        self.used: OrderedDict[Tail, None] = OrderedDict()

    def shrink(self) -> None:
        while self.bytes > self.most:
            next(iter(self.used)).clear()


class Tail:
    __slots__ = ("_all", "_lines", "_packed", "_size", "altered", "first")

    def __init__(self, tails: Tails) -> None:
        self._all = tails
        self._lines: list[bytes] = []
        self._size = 0
        self._packed: tuple[int, int, list[bytes]] | None = None
        self.first = 0
        """The number of the first line; of the next event when there is none."""
        self.altered = 0
        """The number of the last event that made older lines untrue."""

    @property
    def next(self) -> int:
        return self.first + len(self._lines)

    def append(self, first: int, lines: Sequence[bytes]) -> None:
        """Events as they pass, from the number `first` on."""
        if first != self.first + len(self._lines):
            self.start(first)
        size = 0
        for line in lines:
            if line.startswith(_ALTERING, line.find(b'"t":"', _HEAD) + 5):
                self._alter(line)
            self._lines.append(line)
            size += len(line)
        self._grow(size)
        if self._size > MOST_BYTES or len(self._lines) > MOST_LINES:
            self._trim()

    def fill(self, first: int, lines: Sequence[bytes]) -> None:
        """Events that were read behind the back of those that pass; words that have changed meanwhile stay out."""
        if not first < self.first <= first + len(lines) or self.altered >= first + len(lines):
            return
        older = list(lines[: self.first - first])
        while older and len(self._lines) < MOST_LINES and self._size + len(older[-1]) <= MOST_BYTES:
            line = older.pop()
            self._lines.insert(0, line)
            self.first -= 1
            self._grow(len(line))

    def packets(self, after: int, upto: int) -> list[bytes] | None:
        """The events behind one number up to another, ready to be sent; None when they are not all here."""
        if not self.first <= after + 1 <= upto < self.next:
            return None
        self._all.used.move_to_end(self)
        if self._packed is None or self._packed[:2] != (after, upto):
            lines = self._lines[after + 1 - self.first : upto + 1 - self.first]
            self._packed = (after, upto, frames.pack(lines))
        return self._packed[2]

    def start(self, first: int) -> None:
        """Anew, before the event `first`."""
        self.clear()
        self.first = first

    def clear(self) -> None:
        self._cut(len(self._lines))
        self._all.used.pop(self, None)

    def _alter(self, line: bytes) -> None:
        self.altered = self.next
        said = frames.load(line)
        name = str(said["d"].get("id", "")).encode() if f'{said["t"]}"'.encode() in _OF_ONE else b""
        # Also where it is quoted. The empty name is in all.
        last = max((number for number, kept in enumerate(self._lines) if name in kept), default=-1)
        self._cut(last + 1)

    def _trim(self) -> None:
        """Down to three quarters, so that it is not for every event."""
        self._all.used.move_to_end(self)
        over = max(0, len(self._lines) - MOST_LINES * 3 // 4)
        size = self._size - sum(map(len, self._lines[:over]))
        while size > MOST_BYTES * 3 // 4:
            size -= len(self._lines[over])
            over += 1
        self._cut(over)

    def _grow(self, size: int) -> None:
        everything = self._all
        self._size += size
        everything.bytes += size
        if self not in everything.used:
            everything.used[self] = None
        if everything.bytes > everything.most:
            everything.shrink()

    def _cut(self, count: int) -> None:
        size = sum(map(len, self._lines[:count]))
        self._size -= size
        self._all.bytes -= size
        del self._lines[:count]
        self.first += count
        self._packed = None
