"""Requests that are counted ahead: for a caller who asks often, one round trip counts several requests.

What is counted ahead belongs to this process alone, for a quarter of a second; what it has not spent by then is lost.
So all processes together never admit more than the limits allow, and a caller may get a little less. How many are
counted ahead follows from how many came of late, so that little is lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from gateway.domain.gcra import Charge
from gateway.domain.verdicts import Verdict

LEASE_SECONDS = 0.25
_LEAST_RATE = 20  # a second; slower limits are asked for each request
_PARTS = 20  # of the burst: one of them is counted ahead at most
_LONG_AGO = float("-inf")

Done = Callable[[Verdict], None]


def most_ahead(charges: Sequence[Charge]) -> int:
    """How many requests one call may count; 1: none ahead."""
    if not charges or any(limit.count < _LEAST_RATE * limit.seconds or cost > 1 for limit, _, cost in charges):
        return 1
    return max(1, min(limit.burst for limit, _, _ in charges) // _PARTS)


@dataclass(slots=True)
class Call:
    """To Redis, under way, for as many as `wanted` requests."""

    wanted: int
    at: float
    waiting: list[Done]
    """For its answer; never more than wanted, and never none."""


class Lease:
    """Of one caller, under one set of limits."""

    __slots__ = ("_call", "_called_at", "_came", "_kept", "_left", "_most", "_room", "_until", "_verdict")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = self._left = 0  # of the last calls, and what is unspent of it
        self._until = 0.0
        self._verdict = Verdict()
        self._call: Call | None = None  # the last one, while others may join it
        self._called_at = _LONG_AGO
        self._came = 0  # requests since then that did not spend
        self._room = most  # what the limits had left when they were asked last

    def spend(self) -> Verdict | None:
        """For a request that is counted already. None: ask for it."""
        if self._left and monotonic() < self._until:
            self._left -= 1
            return self._verdict
        return None

    def join(self, done: Done) -> bool:
        """Whether a call under way has room for this request."""
        call = self._call
        if call is None or len(call.waiting) >= call.wanted:
            return False
        call.waiting.append(done)
        self._came += 1
        return True

    def open(self, done: Done) -> Call:
        """A call to be made now: for as many as come within a lease, if they come as they did since the last call."""
        now = monotonic()
        came, passed = self._came + self._kept - self._left, now - self._called_at
        wanted = min(self._most, self._room)
        if came * LEASE_SECONDS < wanted * passed:
            wanted = int(came * LEASE_SECONDS / passed)
        self._kept = self._left = 0
        self._called_at, self._came = now, 1
        self._call = Call(max(1, wanted), now, [done])
        return self._call

    def close(self, call: Call, verdict: Verdict, counted: int) -> None:
        """The answer is there; what it counted beyond those who wait is kept."""
        if self._call is call:
            self._call = None
        # Where less was counted than asked for there is no room, whatever the tightest limit says it has left.
        self._room = verdict.left if counted == call.wanted else 1
        spare = counted - len(call.waiting)
        if spare > 0:
            until = call.at + LEASE_SECONDS
            self._until = min(self._until, until) if self._left else until
            self._kept += spare
            self._left += spare
            self._verdict = verdict

    def rests(self, now: float) -> bool:
        return self._call is None and now - self._called_at > LEASE_SECONDS
