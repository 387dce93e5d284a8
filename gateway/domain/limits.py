"""How often: all limits of a request and the revocation of its token, in one round trip.

Order of cost: a key that is over its limit is remembered here until it may try again, so a flood costs Redis nothing;
a caller without an account who asks often is counted ahead, some requests at once; then one script in Redis for all
processes together; while Redis is away or slow, the same limits in this process alone. Nothing here is ever unlimited.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from gateway.domain.client_ip import Caller
from gateway.domain.gcra import SCRIPT, By, Charge, Limit, LocalGcra, priced
from gateway.domain.leases import Call, Done, Lease, most_ahead
from gateway.domain.metrics import FALLBACK
from gateway.domain.pipe import Pipe, Reply, packed
from gateway.domain.shadow import Shadow
from gateway.domain.verdicts import Verdict, policies
from libs.errors import TokenRevoked, TokenStale
from libs.revocation import EVERYONE_KEY, SESSION_KEY, USER_KEY, Refusal
from libs.tokens import Claims

_MOST_KEYS = 100_000
_EVERYONE = EVERYONE_KEY.encode()
# By the number in the script's answer.
_REFUSALS: Sequence[Refusal | None] = (None, TokenRevoked, TokenStale)
FREE = Verdict()


@dataclass(frozen=True, slots=True)
class Ask:
    charges: Sequence[Charge]
    call: bytes | None
    """None: there is nothing to ask."""
    policies: bytes = b""
    lease: Lease | None = None
    """Where requests may have been counted ahead."""


class Limiter:
    def __init__(
        self, limits: Mapping[str, Limit], pipe: Pipe, shadow: Shadow, *, share: int, most_keys: int = _MOST_KEYS
    ) -> None:
        """`share`: how many processes divide the limits among them while Redis is away."""
        self.limits = dict(limits)
        self._pipe = pipe
        self._shadow = shadow
        self._local = LocalGcra(share, most_keys)
        self._most = most_keys
        self._denied: dict[tuple[bytes, int], float] = {}
        self._leases: dict[bytes, Lease] = {}
        self._falling_back = False
        self._script = pipe.script(SCRIPT)

    def replace(self, limits: Mapping[str, Limit]) -> None:
        """From now on these hold. What was asked by the old ones is still answered; what is remembered of them goes."""
        self.limits = dict(limits)
        self._denied = {}
        self._leases = {}

    @property
    def denying(self) -> bool:
        return bool(self._denied)

    def remembered(self, ask: Ask) -> Verdict | None:
        """A refusal that is known without asking."""
        now = monotonic()
        for limit, key, cost in ask.charges:
            until = self._denied.get((key, cost))
            if until is not None:
                if until > now:
                    return _refusal(limit, until - now, ask)
                del self._denied[key, cost]
        return None

    def ask(self, names: Sequence[str], caller: Caller, account: bytes | None, claims: Claims | None) -> Ask:
        """What `check` puts to Redis; the same for every request with the same limits, caller and token.

        `names` as routes have them; `account`: what limits of accounts count by, of an API token its hash.
        """
        charges = [charge for name in names if (charge := self._charge(name, caller, account)) is not None]
        if not charges and claims is None:
            return Ask(charges, None)
        lease = self._lease(charges) if account is None else None
        return Ask(charges, self._packed(charges, claims), policies(charges), lease)

    def check(self, ask: Ask, done: Done) -> None:
        """Calls `done` once, at the latest when the budget for Redis is used up."""
        lease = ask.lease
        if ask.call is None:
            done(FREE)
        elif lease is None:
            self._pipe.run(ask.call, lambda reply: done(self._read(ask, reply)))
        elif not lease.join(done):
            call = lease.open(done)
            question = ask.call if call.wanted == 1 else self._packed(ask.charges, many=call.wanted)
            self._pipe.run(question, lambda reply: self._share_out(ask, lease, call, reply))

    def sweep(self) -> None:
        now = monotonic()
        if self._denied:
            self._denied = {key: until for key, until in self._denied.items() if until > now}
        if self._leases:
            self._leases = {key: lease for key, lease in self._leases.items() if not lease.rests(now)}

    def _charge(self, name: str, caller: Caller, account: bytes | None) -> Charge | None:
        name, cost = priced(name)
        limit = self.limits[name]
        who = None if limit.by is By.ADDRESS else account
        if who is None:
            if limit.by is By.ACCOUNT or caller.exempt:
                return None
            who = caller.key
        return Charge(limit, b"rl:%s:%s" % (limit.label, who), cost)

    def _lease(self, charges: Sequence[Charge]) -> Lease | None:
        most = most_ahead(charges)
        if most == 1:
            return None
        key = b" ".join([charge.key for charge in charges])
        lease = self._leases.get(key)
        if lease is None:
            if len(self._leases) >= self._most:
                self._leases.popitem()
            lease = self._leases[key] = Lease(most)
        return lease

    def _packed(self, charges: Sequence[Charge], claims: Claims | None = None, *, many: int = 1) -> bytes:
        keys = [key for _, key, _ in charges]
        arguments = [b"%d" % len(charges), b"%d" % many]
        for limit, _, cost in charges:
            arguments += (b"%d" % limit.step, b"%d" % limit.ahead, b"%d" % cost, b"%d" % limit.shadow)
        if claims is not None:
            keys += (SESSION_KEY + claims.sid).encode(), (USER_KEY + claims.sub).encode(), _EVERYONE
            arguments.append(b"%d" % claims.iat_ms)
        return packed(self._script, keys, arguments)

    def _share_out(self, ask: Ask, lease: Lease, call: Call, reply: Reply) -> None:
        verdict = self._read(ask, reply)
        answered = _is_answer(reply)
        counted = reply[-1] if answered else 0
        lease.close(call, verdict, counted)
        first, *others = call.waiting
        first(verdict)
        for i, done in enumerate(others, 1):
            if not answered:
                done(self._read(ask, reply))
            elif verdict.refused or i < counted:
                done(verdict)
            else:
                self.check(ask, done)

    def _fall_back(self, *, on: bool) -> None:
        if on != self._falling_back:
            self._falling_back = on
            FALLBACK.set(on)

    def _read(self, ask: Ask, reply: Reply) -> Verdict:
        if _is_answer(reply):
            refused, wait, tight, left, reset, revoked, shadowed, _ = reply
            self._fall_back(on=False)
        else:
            self._fall_back(on=True)
            now = int(monotonic() * 1_000_000)
            refused, wait, tight, left, reset, shadowed = self._local.take(ask.charges, now)
            revoked = 0
        if shadowed:
            self._cast(ask.charges, shadowed)
        if refused:
            self._deny(ask.charges[refused - 1], wait / 1_000_000)
            return _refusal(ask.charges[refused - 1].limit, wait / 1_000_000, ask)
        tightest = ask.charges[tight - 1].limit if tight else None
        return Verdict(tightest, left, -(-reset // 1_000_000), ask.policies, _REFUSALS[revoked])

    def _deny(self, charge: Charge, wait: float) -> None:
        if self.limits.get(charge.limit.name) != charge.limit:
            return  # replaced in the meantime
        if len(self._denied) >= self._most:
            self._denied.popitem()
        self._denied[charge.key, charge.cost] = monotonic() + wait

    def _cast(self, charges: Sequence[Charge], bits: int) -> None:
        for i, charge in enumerate(charges):
            if bits >> i & 1:
                self._shadow.cast(f"limits.{charge.limit.name}")


def _is_answer(reply: Reply) -> bool:
    return isinstance(reply, list) and len(reply) == 8


def _refusal(limit: Limit, wait: float, ask: Ask) -> Verdict:
    seconds = max(1, int(wait) + (wait % 1 > 0))
    return Verdict(limit, 0, seconds, ask.policies, refused=True)
