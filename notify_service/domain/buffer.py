"""How many messages a sender claims ahead."""

from collections.abc import Callable

_PER_LINE = 4
_SECONDS = 0.5
_MOST = 500
# A shorter time says nothing of the pace.
_MEASURED_SECONDS = 0.1


class Buffer:
    """A few for each line, or what all of them have lately sent in half a second, whichever is more. Claiming more at
    a time costs less; but whose turn comes meanwhile waits until they have left, unless it goes before all others."""

    def __init__(self, lines: int, monotonic: Callable[[], float]) -> None:
        self._least = lines * _PER_LINE
        self._monotonic = monotonic
        self._since = monotonic()
        self.size = self._least
        self.done = 0
        """How many have ended since it was measured."""

    def measure(self) -> int:
        elapsed = self._monotonic() - self._since
        if elapsed >= _MEASURED_SECONDS:
            self.size = max(self._least, min(_MOST, int(self.done / elapsed * _SECONDS)))
            self.done, self._since = 0, self._monotonic()
        return self.size
