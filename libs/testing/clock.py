"""A clock that stands wherever a test puts it."""

from libs.clock import Clock


class FakeClock(Clock):
    """Runs with the machine's time, shifted by what the test advanced it."""

    def __init__(self) -> None:
        self._shift = 0.0

    def seconds(self) -> float:
        return super().seconds() + self._shift

    def advance(self, seconds: float) -> None:
        self._shift += seconds


class StillClock(FakeClock):
    """Moves by nothing but what a test advances it, from the beginning of an hour."""

    def __init__(self) -> None:
        super().__init__()
        self._start = (super().seconds() // 3600 + 1) * 3600

    def seconds(self) -> float:
        return self._start + self._shift


class LentClock(Clock):
    """Shows the time of another, which may be exchanged."""

    clock = Clock()

    def seconds(self) -> float:
        return self.clock.seconds()
