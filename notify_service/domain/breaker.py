"""When to leave an account alone."""

from collections.abc import Callable

_THRESHOLD = 5
_LONGEST = 20


class Breaker:
    """Closed: all may go. Open: nobody. After its time one may try, and that one's fate decides for all.

    Opens after five failures in a row that are the account's and not a message's, or at once when it is told to.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._failures = 0
        self._opened = 0
        self._until = 0.0

    def room(self, wanted: int, outstanding: int) -> int:
        """How many of `wanted` may go now."""
        if not self._opened:
            return wanted
        if self.wait > 0 or outstanding:
            return 0
        return min(wanted, 1)

    @property
    def opened(self) -> bool:
        return self._opened > 0

    @property
    def wait(self) -> float:
        """Seconds until somebody may try."""
        return max(0.0, self._until - self._monotonic()) if self._opened else 0.0

    def succeed(self) -> None:
        self._failures = 0
        self._opened = 0

    def fail(self) -> None:
        self._failures += 1
        if self._opened or self._failures >= _THRESHOLD:
            self.trip()

    def trip(self, seconds: float | None = None) -> None:
        """Opens, for `seconds` or for twice as long as the time before."""
        if self.wait > 0:
            # Messages that were under way fail together: one outage, one step.
            return
        pause = seconds or self._seconds * min(2**self._opened, _LONGEST)
        self._opened += 1
        self._until = self._monotonic() + pause
