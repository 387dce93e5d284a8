"""The generic cell rate algorithm: one number a key, no window whose edge could be used twice, an exact time to retry.

The number is the theoretical arrival time (TAT): when the key's bucket is empty again. A request moves it by one step;
it is refused when that would put it further ahead than the burst allows. One that is further ahead already was counted
under a stricter limit of that name; in this one it is a bucket with room for one request. The same arithmetic runs in
Redis for all processes together, and in this process alone while Redis is away.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

_TEXT = re.compile(
    r"(?P<count>\d+)/(?P<units>\d+)?(?P<unit>s|min|h)(?: burst (?P<burst>\d+))?"
    r"(?: by (?P<by>address|account|caller))?(?P<shadow> shadow)?"
)
_PRICED = re.compile(r"([^*]+)(?:\*([1-9][0-9]{0,5}))?")
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_MICRO = 1_000_000

# KEYS: n limits, then none or three revocations. ARGV: n, how many requests to count, then for each limit its step and
# its burst in microseconds, what a request costs in steps, and 1 if it is in shadow; last the token's time of issue in
# milliseconds. The clock is that of Redis: the processes' own clocks do not matter.
# All limits count a request or none does. A limit in shadow refuses nobody; it only leaves uncounted what it would have
# refused. Where less than all of the requests fit, one is counted.
# Returns {index of the limit that refuses or 0, microseconds to wait, index of the tightest limit, what it has left,
# microseconds until it is whole again, 1 if the token's session has ended or 2 if the token is out of date, as bits
# those in shadow that would have refused, how many requests were counted}.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local n, many = tonumber(ARGV[1]), tonumber(ARGV[2])
local refused, wait, tight, left, reset, shadowed = 0, 0, 0, math.huge, 0, 0
local steps, aheads, needs, tats = {}, {}, {}, {}
local stored = redis.call('MGET', unpack(KEYS))
if n > 0 then
  for i = 1, n do
    local step, ahead = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
    local need = step * tonumber(ARGV[4 * i + 1])
    local tat = math.max(tonumber(stored[i] or 0) or 0, now)
    if tat > now + ahead then tat = now + ahead - need end
    local over = tat + need - ahead - now
    if over > 0 and ARGV[4 * i + 2] == '1' then
      shadowed, tat = shadowed + 2 ^ (i - 1), false
    elseif over > wait then
      refused, wait = i, over
    end
    if over + (many - 1) * need > 0 then many = 1 end
    steps[i], aheads[i], needs[i], tats[i] = step, ahead, need, tat
  end
  if refused == 0 then
    for i = 1, n do
      if tats[i] then
        local tat = tats[i] + many * needs[i]
        redis.call('SET', KEYS[i], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000))
        local rest = math.floor((aheads[i] + now - tat) / steps[i])
        if rest < left and ARGV[4 * i + 2] == '0' then tight, left, reset = i, rest, tat - now end
      end
    end
  end
end
local revoked = 0
if #KEYS > n then
  local issued = tonumber(ARGV[4 * n + 3])
  if stored[n + 1] then
    revoked = 1
  elseif issued <= tonumber(stored[n + 2] or 0) or issued <= tonumber(stored[n + 3] or 0) then
    revoked = 2
  end
end
if refused > 0 then return {refused, wait, refused, 0, wait, revoked, 0, 0} end
if tight == 0 then left = 0 end
return {0, 0, tight, left, reset, revoked, shadowed, many}
"""


class By(Enum):
    """What a limit counts by."""

    ADDRESS = "address"
    ACCOUNT = "account"  # without one nothing is counted
    CALLER = "caller"  # the account, or the address where there is none


@dataclass(frozen=True, slots=True)
class Limit:
    name: str
    count: int
    seconds: int
    burst: int
    step: int  # microseconds between two requests at the full rate
    ahead: int  # how far the TAT may be ahead: the burst in microseconds
    by: By
    shadow: bool  # refuses nobody; what it would have refused is counted
    label: bytes
    """Its name, as keys and headers have it."""
    policy: bytes

    @classmethod
    def parse(cls, name: str, text: str) -> "Limit":
        """`100/s burst 200`, `10/min`, `5/10s by account`, `1000/24h by caller shadow`.

        The burst is the count unless it is given, and addresses are counted unless it says otherwise. Raises
        ValueError.
        """
        match = _TEXT.fullmatch(text.strip())
        if match is None or int(match["count"]) < 1 or match["units"] == "0" or match["burst"] == "0":
            raise ValueError(
                f"The limit {name!r} must read like '10/min' or '100/s burst 200 by account shadow', not {text!r}."
            )
        count = int(match["count"])
        seconds = int(match["units"] or 1) * _SECONDS[match["unit"]]
        burst = int(match["burst"] or count)
        step = max(1, seconds * _MICRO // count)
        ahead = step * burst
        return cls(
            name=name,
            count=count,
            seconds=seconds,
            burst=burst,
            step=step,
            ahead=ahead,
            by=By(match["by"] or "address"),
            shadow=match["shadow"] is not None,
            label=name.encode(),
            policy=b'"%s";q=%d;w=%d' % (name.encode(), count, seconds),
        )


def priced(text: str) -> tuple[str, int]:
    """A limit as a route names it, and what a call costs of it: `user`, or `user*5`. Raises ValueError."""
    match = _PRICED.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} must read like 'user', or 'user*5' where a call counts as five.")
    return match[1], int(match[2] or 1)


class Charge(NamedTuple):
    """A limit that counts a request, and what it counts it by."""

    limit: Limit
    key: bytes
    cost: int = 1


class LocalGcra:
    """The fallback: the same limits counted by this process alone. `share` processes divide each limit among them."""

    def __init__(self, share: int = 1, most_keys: int = 100_000) -> None:
        self._share = share
        self._most = most_keys
        self._tats: dict[bytes, int] = {}

    def take(self, charges: Sequence[Charge], now: int) -> tuple[int, int, int, int, int, int]:
        """Like the script, for one request and without revocation: (refused, wait, tight, left, reset, shadowed).

        `now` in microseconds of any steady clock.
        """
        refused, wait, shadowed = 0, 0, 0
        tats: list[int] = []
        for i, (limit, key, cost) in enumerate(charges):
            need, ahead = self._measures(limit, cost)
            tat = max(self._tats.get(key, 0), now)
            tat = (tat if tat <= now + ahead else now + ahead - need) + need
            over = tat - ahead - now
            if over > 0 and limit.shadow:
                shadowed |= 1 << i
            elif over > wait:
                refused, wait = i + 1, over
            tats.append(tat)
        if refused:
            return refused, wait, refused, 0, wait, 0
        if len(self._tats) + len(tats) > self._most:
            self._make_room(now)
        for i, charge in enumerate(charges):
            if not shadowed >> i & 1:
                self._tats[charge.key] = tats[i]
        return 0, 0, *self._tightest(charges, tats, now), shadowed

    def _measures(self, limit: Limit, cost: int) -> tuple[int, int]:
        need = limit.step * self._share * cost
        # With a small burst the division would leave nothing at all; one request always fits.
        return need, max(need, limit.ahead)

    def _tightest(self, charges: Sequence[Charge], tats: Sequence[int], now: int) -> tuple[int, int, int]:
        tight, left, reset = 0, 0, 0
        for i, ((limit, _, cost), tat) in enumerate(zip(charges, tats, strict=True), 1):
            rest = (self._measures(limit, cost)[1] + now - tat) // (limit.step * self._share)
            if not limit.shadow and (not tight or rest < left):
                tight, left, reset = i, rest, tat - now
        return tight, left, reset

    def _make_room(self, now: int) -> None:
        self._tats = {key: tat for key, tat in self._tats.items() if tat > now}
        # Still full: a flood of addresses. Whoever loses a count gets a fresh burst, which beats running out of memory.
        for key in list(self._tats)[: max(0, len(self._tats) - self._most // 2)]:
            del self._tats[key]
