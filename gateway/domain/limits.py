"""How often: all limits of a request and the revocation of its token, in one round trip.

Order of cost: a key that is over its limit is remembered here until it may try again, so a flood costs Redis nothing;
then one script in Redis for all processes together; while Redis is away or slow, the same limits in this process alone.
Nothing here is ever unlimited.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

import structlog

from gateway.domain.client_ip import Caller
from gateway.domain.gcra import SCRIPT, Limit, LocalGcra
from gateway.domain.metrics import FALLBACK
from gateway.domain.pipe import Pipe, Reply
from libs.errors import TokenRevoked, TokenStale
from libs.revocation import EVERYONE_KEY, SESSION_KEY, USER_KEY, Refusal
from libs.tokens import Claims

Charge = tuple[Limit, bytes]
_MOST_DENIED = 100_000
_BY_ACCOUNT = frozenset(("user", "upload", "costly"))
_EVERYONE = EVERYONE_KEY.encode()
# By the last number of the script's answer.
_REFUSALS: Sequence[Refusal | None] = (None, TokenRevoked, TokenStale)
# The structured fields of draft-ietf-httpapi-ratelimit-headers-10; it may still change, so the names stand here only.
POLICY_HEADER = b"ratelimit-policy"
STATE_HEADER = b"ratelimit"

log = structlog.get_logger()


@dataclass(slots=True)
class Verdict:
    """`refused_by` None: go on. `left` and `reset` (seconds) are those of the tightest limit."""

    refused_by: Limit | None = None
    retry_after: int = 0
    revoked: Refusal | None = None
    tightest: Limit | None = None
    left: int = 0
    reset: int = 0

    def headers(self, charges: Sequence[Charge]) -> list[tuple[bytes, bytes]]:
        limit = self.refused_by or self.tightest
        if limit is None:
            return []
        policies = [charged.policy for charged, _ in charges] or [limit.policy]
        state = b'"%s";r=%d;t=%d' % (limit.name.encode(), self.left, self.reset)
        return [(POLICY_HEADER, b", ".join(policies)), (STATE_HEADER, state)]


FREE = Verdict()
Done = Callable[[Verdict], None]


class Limiter:
    def __init__(self, limits: Mapping[str, Limit], pipe: Pipe, *, share: int) -> None:
        self.limits = dict(limits)
        self._pipe = pipe
        self._local = LocalGcra(share)
        self._denied: dict[bytes, float] = {}
        self._script = pipe.script(SCRIPT)

    def charges(self, names: Sequence[str], caller: Caller, account: bytes | None) -> list[Charge]:
        """Some count by account (of an API token by its hash); all others by address, which exempt networks are
        spared."""
        charges: list[Charge] = []
        for name in names:
            limit = self.limits[name]
            if name in _BY_ACCOUNT:
                if account is not None:
                    charges.append((limit, b"rl:%s:%s" % (name.encode(), account)))
            elif not caller.exempt:
                charges.append((limit, b"rl:%s:%s" % (name.encode(), caller.key)))
        return charges

    @property
    def denying(self) -> bool:
        return bool(self._denied)

    def remembered(self, charges: Sequence[Charge]) -> Verdict | None:
        """A refusal that is known without asking."""
        now = monotonic()
        for limit, key in charges:
            until = self._denied.get(key)
            if until is not None:
                if until > now:
                    return _refusal(limit, until - now)
                del self._denied[key]
        return None

    def check(self, charges: list[Charge], claims: Claims | None, done: Done) -> None:
        """Calls `done` once, at the latest when the budget for Redis is used up."""
        keys = [key for _, key in charges]
        arguments = [b"%d" % len(charges)]
        for limit, _ in charges:
            arguments += limit.arguments
        if claims is not None:
            keys += (SESSION_KEY + claims.sid).encode(), (USER_KEY + claims.sub).encode(), _EVERYONE
            arguments.append(b"%d" % claims.iat_ms)
        self._pipe.run(self._script, keys, arguments, lambda reply: done(self._read(charges, reply)))

    def sweep(self) -> None:
        now = monotonic()
        if self._denied:
            self._denied = {key: until for key, until in self._denied.items() if until > now}

    def _read(self, charges: list[Charge], reply: Reply) -> Verdict:
        if isinstance(reply, list) and len(reply) == 6:
            refused, wait, tight, left, reset, revoked = reply
            FALLBACK.set(0)
        else:
            FALLBACK.set(1)
            refused, wait, tight, left, reset = self._local.take(charges, int(monotonic() * 1_000_000))
            revoked = 0
        if refused:
            limit, key = charges[refused - 1]
            if len(self._denied) >= _MOST_DENIED:
                self._denied.pop(next(iter(self._denied)))
            self._denied[key] = monotonic() + wait / 1_000_000
            return _refusal(limit, wait / 1_000_000)
        tightest = charges[tight - 1][0] if tight else None
        return Verdict(None, 0, _REFUSALS[revoked], tightest, left, -(-reset // 1_000_000))


def _refusal(limit: Limit, wait: float) -> Verdict:
    seconds = max(1, int(wait) + (wait % 1 > 0))
    return Verdict(limit, seconds, reset=seconds)
