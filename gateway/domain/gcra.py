"""The generic cell rate algorithm: one number a key, no window whose edge could be used twice, an exact time to retry.

The number is the theoretical arrival time (TAT): when the key's bucket is empty again. A request moves it by one step;
it is refused when that would put it further ahead than the burst allows. The same arithmetic runs in Redis for all
processes together, and in this process alone while Redis is away.
"""

import re
from dataclasses import dataclass

_TEXT = re.compile(r"(\d+)/(?:(\d+))?(s|min|h)(?: burst (\d+))?")
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_MICRO = 1_000_000

# KEYS: n limits, then none or three revocations. ARGV: n, a step and a burst of steps (in microseconds) for each limit,
# then the token's time of issue in milliseconds. The clock is that of Redis: the processes' own clocks do not matter.
# Returns {index of the limit that refuses or 0, microseconds to wait, index of the tightest limit, what it has left,
# microseconds until it is whole again, 1 if the token's session has ended or 2 if the token is out of date}. A refused
# request is counted by no limit.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local n = tonumber(ARGV[1])
local refused, wait, tight, left, reset = 0, 0, 0, math.huge, 0
local tats = {}
if n > 0 then
  local stored = redis.call('MGET', unpack(KEYS, 1, n))
  for i = 1, n do
    local step, burst = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
    local tat = math.max(tonumber(stored[i] or 0) or 0, now) + step
    local over = tat - burst - now
    if over > wait then refused, wait = i, over end
    local rest = math.floor(-over / step)
    if rest < left then tight, left, reset = i, rest, tat - now end
    tats[i] = tat
  end
  if refused == 0 then
    for i = 1, n do
      redis.call('SET', KEYS[i], string.format('%.0f', tats[i]), 'PX', math.ceil((tats[i] - now) / 1000))
    end
  end
end
local revoked = 0
if #KEYS > n then
  local marks = redis.call('MGET', unpack(KEYS, n + 1, #KEYS))
  local issued = tonumber(ARGV[2 * n + 2])
  if marks[1] then
    revoked = 1
  elseif issued <= tonumber(marks[2] or 0) or issued <= tonumber(marks[3] or 0) then
    revoked = 2
  end
end
if refused > 0 then return {refused, wait, refused, 0, wait, revoked} end
if tight == 0 then left = 0 end
return {0, 0, tight, left, reset, revoked}
"""


@dataclass(frozen=True, slots=True)
class Limit:
    name: str
    count: int
    seconds: int
    burst: int
    step: int  # microseconds between two requests at the full rate
    ahead: int  # how far the TAT may be ahead: the burst in microseconds
    arguments: tuple[bytes, bytes]
    policy: bytes

    @classmethod
    def parse(cls, name: str, text: str) -> "Limit":
        """`100/s burst 200`, `10/min`, `5/10s`. The burst is the count unless it is given."""
        match = _TEXT.fullmatch(text.strip())
        if match is None or int(match[1]) < 1 or match[2] == "0" or match[4] == "0":
            raise ValueError(f"The limit {name!r} must read like '10/min' or '100/s burst 200', not {text!r}.")
        count = int(match[1])
        seconds = int(match[2] or 1) * _SECONDS[match[3]]
        burst = int(match[4] or count)
        step = max(1, seconds * _MICRO // count)
        ahead = step * burst
        return cls(
            name=name,
            count=count,
            seconds=seconds,
            burst=burst,
            step=step,
            ahead=ahead,
            arguments=(b"%d" % step, b"%d" % ahead),
            policy=b'"%s";q=%d;w=%d' % (name.encode(), count, seconds),
        )


class LocalGcra:
    """The fallback: the same limits counted by this process alone. `share` processes divide each limit among them."""

    def __init__(self, share: int = 1, most_keys: int = 100_000) -> None:
        self._share = share
        self._most = most_keys
        self._tats: dict[bytes, int] = {}

    def take(self, charges: list[tuple[Limit, bytes]], now: int) -> tuple[int, int, int, int, int]:
        """Like the script, without revocation. `now` in microseconds of any steady clock."""
        refused, wait, tight, left, reset = 0, 0, 0, 1 << 62, 0
        tats: list[int] = []
        for i, (limit, key) in enumerate(charges, 1):
            step = limit.step * self._share
            # With a small burst the division would leave nothing at all; one request always fits.
            ahead = max(step, limit.ahead)
            tat = max(self._tats.get(key, 0), now) + step
            over = tat - ahead - now
            if over > wait:
                refused, wait = i, over
            if -over // step < left:
                tight, left, reset = i, -over // step, tat - now
            tats.append(tat)
        if refused:
            return refused, wait, refused, 0, wait
        if len(self._tats) + len(tats) > self._most:
            self._make_room(now)
        for (_, key), tat in zip(charges, tats, strict=True):
            self._tats[key] = tat
        return 0, 0, tight, left if tight else 0, reset

    def clear(self) -> None:
        self._tats.clear()

    def _make_room(self, now: int) -> None:
        self._tats = {key: tat for key, tat in self._tats.items() if tat > now}
        # Still full: a flood of addresses. Whoever loses a count gets a fresh burst, which beats running out of memory.
        for key in list(self._tats)[: max(0, len(self._tats) - self._most // 2)]:
            del self._tats[key]
