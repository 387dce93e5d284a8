"""When a process is not asked any more: what fails is given time, and is asked a little before it is asked a lot.

Closed, calls pass and are counted by the second. Half of them failing, of twenty or more within ten seconds, opens it:
for five seconds nobody asks. Then three calls try, and more only when all three came back well.
"""

from math import ceil

_SECONDS = 10
_LEAST_CALLS = 20
_FAILED_SHARE = 0.5
_OPEN_SECONDS = 5.0
_TRIALS = 3


class Window:
    """How many there were in this second and the nine before it. `now` is monotonic time in seconds."""

    __slots__ = ("_at", "_counts", "_ends", "_second")

    def __init__(self) -> None:
        self._counts = [0] * _SECONDS
        self._second = self._at = 0
        self._ends = 1

    def add(self, now: float) -> None:
        if now >= self._ends:
            self._turn(int(now))
        self._counts[self._at] += 1

    def total(self, now: float) -> int:
        if now >= self._ends:
            self._turn(int(now))
        return sum(self._counts)

    def _turn(self, second: int) -> None:
        # At most once around: what is older than that is emptied all the same.
        for passed in range(max(self._second, second - _SECONDS) + 1, second + 1):
            self._counts[passed % _SECONDS] = 0
        self._second = second
        self._at = second % _SECONDS
        self._ends = second + 1


class Breaker:
    """Of one process of a service.

    A call that `admits` let pass gets its era from `begin`, and ends with one of `succeed`, `fail` and `forget`.
    What was begun before the circuit last changed says nothing about what came after, so its end is not counted.
    """

    __slots__ = ("_calls", "_era", "_failed", "_trying", "_well", "open_until")

    def __init__(self) -> None:
        self._era = 0
        self._change(None)

    def _change(self, open_until: float | None) -> None:
        self._era += 1
        self._trying = self._well = 0
        self._calls = Window()
        self._failed = Window()
        self.open_until = open_until
        """None: closed."""

    def admits(self, now: float) -> bool:
        if self.open_until is None:
            return True
        return now >= self.open_until and self._trying + self._well < _TRIALS

    def wait(self, now: float) -> int:
        """Whole seconds until it is worth asking again, at least one."""
        return 1 if self.open_until is None else max(1, ceil(self.open_until - now))

    def calls(self, now: float) -> int:
        """How many ended in the last ten seconds, since the circuit last changed."""
        return self._calls.total(now)

    def begin(self) -> int:
        """The era of the call; never 0."""
        if self.open_until is not None:
            self._trying += 1
        return self._era

    def succeed(self, era: int, now: float) -> bool:
        """Whether this closed it."""
        if era != self._era:
            return False
        if self.open_until is None:
            self._calls.add(now)
            return False
        self._trying -= 1
        self._well += 1
        if self._well < _TRIALS:
            return False
        self._change(None)
        return True

    def fail(self, era: int, now: float) -> bool:
        """Whether this opened it. Of trials one that fails is enough, but then it was open already."""
        if era != self._era:
            return False
        if self.open_until is not None:
            self._change(now + _OPEN_SECONDS)
            return False
        self._calls.add(now)
        self._failed.add(now)
        calls = self._calls.total(now)
        if calls < _LEAST_CALLS or self._failed.total(now) < calls * _FAILED_SHARE:
            return False
        self._change(now + _OPEN_SECONDS)
        return True

    def forget(self, era: int) -> None:
        """The call ended without saying anything about the process: its client left."""
        if era == self._era and self.open_until is not None:
            self._trying -= 1
