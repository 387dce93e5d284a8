"""How fast an account may send: as its provider says, or as its owner says where that is less.

The limits are in the memory of the one worker that owns the account, so asking costs nothing. A new owner begins with
nothing saved up, because it cannot know what the last one has just sent.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from math import floor

from notify_service.domain.channels import Rate

# How late a task may come and still catch up, what the way to the provider may do to the gaps, and a margin.
# With them no window of a rate's length, wherever it begins, has more than its limit.
_LATENESS, _JITTER = 0.01, 0.01
_MARGIN = 1.005
_MOST_RECIPIENTS = 100_000

ACCOUNT, RECIPIENT = "account", "recipient"


class Pace:
    """A rate as gaps between messages (GCRA). Times in seconds of a clock that only goes on."""

    __slots__ = ("_beginnings", "gap", "slack")

    def __init__(self, rate: Rate) -> None:
        self.gap = _MARGIN * (rate.seconds + _LATENESS + _JITTER) / rate.limit
        self.slack = (rate.burst - 1) * self.gap + _LATENESS
        self._beginnings = rate.beginnings

    def holds(self, address: str) -> bool:
        return not self._beginnings or address.startswith(self._beginnings)

    def wait(self, due: float, now: float) -> float:
        """How long until the next message, where the last one has left `due`."""
        return max(0.0, due - self.slack - now)

    def room(self, due: float, now: float) -> int:
        """How many may go at once."""
        return max(0, floor((self.slack - max(0.0, due - now)) / self.gap) + 1)

    def after(self, due: float, now: float) -> float:
        return max(due, now) + self.gap


class Limits:
    def __init__(self, rates: Iterable[Rate], monotonic: Callable[[], float], *, most: float | None = None) -> None:
        """`most`: messages a second that the owner allows."""
        given = list(rates)
        if most is not None:
            given.append(Rate(ACCOUNT, most))
        now = monotonic()
        self._monotonic = monotonic
        self._account = [Pace(rate) for rate in given if rate.scope == ACCOUNT]
        self._due = [now + pace.slack for pace in self._account]
        self._left = list(self._due)
        self._gate = asyncio.Lock()
        self._at_gate = 0
        self._recipient = [Pace(rate) for rate in given if rate.scope == RECIPIENT]
        self._recipients: dict[str, list[float]] = {}
        self._waiting: dict[str, float] = {}
        self._closed_until = 0.0

    @property
    def wait(self) -> float:
        """Seconds until the account may send its next message."""
        now = self._monotonic()
        # Where some had to wait at the gate, the next one is not made ready only to wait there as well.
        left = [due + self._at_gate * pace.gap for pace, due in zip(self._account, self._left, strict=True)]
        return max(self._closed_until - now, self._wait(self._due, now), self._wait(left, now), 0.0)

    @property
    def tokens(self) -> int | None:
        """How many messages the account may send at this moment; None: as many as it likes."""
        now = self._monotonic()
        if self._closed_until > now:
            return 0
        pairs = zip(self._account, self._due, strict=True)
        return min((pace.room(due, now) for pace, due in pairs), default=None)

    def wait_for(self, address: str) -> float:
        """Seconds until this recipient may get one."""
        if address not in self._recipients and address not in self._waiting:
            return 0.0
        now = self._monotonic()
        known = self._recipients.get(address, ())
        waits = (pace.wait(due, now) for pace, due in zip(self._paces(address), known, strict=False))
        return max(self._waiting.get(address, now) - now, *waits, 0.0)

    def take(self, address: str) -> None:
        now = self._monotonic()
        self._due = [pace.after(due, now) for pace, due in zip(self._account, self._due, strict=True)]
        if self._recipient:
            self._forget(now)
            paces = self._paces(address)
            known = self._recipients.get(address) or [0.0] * len(paces)
            self._recipients[address] = [pace.after(due, now) for pace, due in zip(paces, known, strict=True)]

    async def depart(self) -> None:
        """Returns when a message that is ready leaves. One that was held up since it was taken, by a slow commit or
        a busy process, does not leave together with the one behind it."""
        if not self._account:
            return
        self._at_gate += 1
        try:
            async with self._gate:
                while (wait := self._wait(self._left, now := self._monotonic())) > 0:  # noqa: ASYNC110  -- for time
                    await asyncio.sleep(wait)
                self._left = [pace.after(due, now) for pace, due in zip(self._account, self._left, strict=True)]
        finally:
            self._at_gate -= 1

    def hold(self, address: str, seconds: float) -> None:
        """The provider takes nothing for this recipient for so long."""
        now = self._monotonic()
        if len(self._waiting) >= _MOST_RECIPIENTS:
            self._waiting = {each: until for each, until in self._waiting.items() if until > now}
        self._waiting[address] = now + seconds

    def learn(self, left: int, reset_seconds: float) -> None:
        """What the provider has said: so many more, until its count starts anew."""
        if left <= 0:
            self._closed_until = self._monotonic() + reset_seconds

    def _wait(self, dues: Sequence[float], now: float) -> float:
        return max((pace.wait(due, now) for pace, due in zip(self._account, dues, strict=True)), default=0.0)

    def _paces(self, address: str) -> list[Pace]:
        return [pace for pace in self._recipient if pace.holds(address)]

    def _forget(self, now: float) -> None:
        if len(self._recipients) >= _MOST_RECIPIENTS:
            self._recipients = {
                address: due for address, due in self._recipients.items() if any(each > now for each in due)
            }
