"""What the limits say of a request, and how its answer tells it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from time import gmtime, strftime, time

from gateway.domain.gcra import Charge, Limit
from libs.revocation import Refusal

# What older clients read, then the structured fields of draft-ietf-httpapi-ratelimit-headers-10, which may still
# change: the names stand here only.
NAMES = (b"X-RateLimit-Limit", b"X-RateLimit-Remaining", b"X-RateLimit-Reset", b"RateLimit-Policy", b"RateLimit")
LIMIT_NAMES = frozenset(map(bytes.lower, NAMES))
_LINES = b'%b: %%d\r\n%b: %%d\r\n%b: %%b\r\n%b: %%b\r\n%b: "%%b";r=%%d;t=%%d\r\n' % tuple(
    name.lower() for name in NAMES
)


@dataclass(slots=True)
class Verdict:
    """`limit`: the one that refuses, or else the tightest of those that count the request. None: nothing counts it.

    `left` is what it has left, `reset` the seconds until it is whole again, or until a refused request may be tried.
    """

    limit: Limit | None = None
    left: int = 0
    reset: int = 0
    policies: bytes = b""
    """Those of all limits that count the request, as the header has them."""
    revoked: Refusal | None = None
    refused: bool = False
    _lines: bytes | None = field(default=None, init=False)

    def lines(self) -> bytes:
        """For the head of an answer. A verdict on several requests is written once."""
        if self._lines is None:
            self._lines = b"" if self.limit is None else self._written(self.limit)
        return self._lines

    def _written(self, limit: Limit) -> bytes:
        left, reset = self.left, self.reset
        whole = _moment(int(time()) + 1 + reset)
        return _LINES % (limit.burst, left, whole, self.policies, limit.label, left, reset)


def policies(charges: Sequence[Charge]) -> bytes:
    return b", ".join([limit.policy for limit, _, _ in charges if not limit.shadow])


@lru_cache(maxsize=1024)
def _moment(second: int) -> bytes:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(second)).encode()
