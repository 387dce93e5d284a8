"""The whole decision about a request, before a byte of it travels on. Pure: a parsed head in, a decision out.

Order: framing, caller, id, host, scheme, deny memory, country, route, preflight, socket origin, load, token, body
limit. What is left to ask (limits and revocation, one round trip) is named in the decision. Country comes before
anything that costs a round trip, so visitors from blocked countries cost none.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from gateway.domain import cors
from gateway.domain.client_ip import Callers
from gateway.domain.country import Countries, Rules
from gateway.domain.head import Head, flaw
from gateway.domain.hosts import Astray, Doorway, bare
from gateway.domain.limits import Ask, Limiter
from gateway.domain.load import Load
from gateway.domain.metrics import GARBLED
from gateway.domain.request_ids import RequestIds
from gateway.domain.senders import Sender, sender
from gateway.domain.shadow import Shadow
from gateway.domain.table import Route, Table, Token
from gateway.domain.verdicts import Verdict
from gateway.domain.wire import Headers
from gateway.errors import (
    BadFraming,
    CountryBlocked,
    CountryBlockedByLaw,
    HttpsRequired,
    Misdirected,
    MovedToHttps,
    NotUpgradable,
    OriginRefused,
    Overloaded,
)
from libs.errors import InvalidToken, NotFound, PayloadTooLarge, ServiceError, Unauthenticated
from libs.tokens import Claims, Verifier

_API_TOKEN = b"pat_"
_BODILESS = frozenset((b"GET", b"HEAD"))
_NOTHING = Ask([], None)


@dataclass(slots=True)
class Facts:
    """What was found out about a request; filled as far as the chain went."""

    sender: Sender
    request_id: bytes
    route: Route | None = None
    country: str | None = None
    claims: Claims | None = None


@dataclass(slots=True)
class Answer:
    """The gateway answers. `error` None: a preflight. `ask` counts first: a refused token is a call all the same."""

    facts: Facts
    error: ServiceError | None
    headers: Headers
    ask: Ask = _NOTHING
    close: bool = False
    verdict: Verdict | None = None


@dataclass(slots=True)
class Forward:
    """To the owner of the route, once the limits have passed."""

    facts: Facts
    route: Route
    ask: Ask
    body_limit: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Never changes: another policy file makes another one, by which connections work out anew what they remember."""

    callers: Callers
    doorway: Doorway
    load: Load
    countries: Countries
    elsewhere: Rules  # where a path has no route
    table: Table
    origins: cors.Origins
    limiter: Limiter
    verifier: Verifier
    body_limit: int
    shadow: Shadow = field(default_factory=Shadow)
    request_ids: RequestIds = field(default_factory=RequestIds)

    def decide(self, head: Head, peer: str) -> Forward | Answer:
        facts = self.facts(head, peer)
        origin = facts.sender.origin
        error = flaw(head)
        if error is not None:
            return Answer(facts, error, origin, close=True)
        route = facts.route = self.table.find(head.path)
        answer = self._gate(head, facts) if facts.sender.astray is None else self._astray(head, facts)
        if answer is not None:
            return answer
        assert route is not None  # noqa: S101  -- the gate answers 404 otherwise
        if route.priority < self.load.least:
            return Answer(facts, Overloaded(), origin)
        names = route.limits
        if route.posts and head.method == b"POST" and head.path.rstrip(b"/") == route.prefix:
            names += route.posts
        account = None
        if route.token is Token.CHECKED:
            account, error = self._recognise(facts)
        ask = self._ask(facts, names, account)
        known = self.limiter.remembered(ask) if self.limiter.denying else None
        if known is not None or error is not None:
            return Answer(facts, error, origin, ask, verdict=known)
        limit = self.body_limit if route.body is None else route.body
        if head.fields.length > limit:
            return Answer(facts, PayloadTooLarge(), origin, ask)
        return Forward(facts, route, ask, limit)

    def facts(self, head: Head, peer: str) -> Facts:
        found: Sender | None = head.fields.sender
        if found is None or found.policy is not self:
            found = head.fields.sender = sender(
                head.fields, peer, callers=self.callers, origins=self.origins, doorway=self.doorway
            )
            found.policy = self
        if found.caller.garbled:
            GARBLED.inc()
        return Facts(found, found.given_id or self.request_ids.next())

    def _astray(self, head: Head, facts: Facts) -> Answer | None:
        """Health checks alone may come by any door: load balancers ask by address, and in clear."""
        route, found, origin = facts.route, facts.sender, facts.sender.origin
        if route is not None and route.prefix in _HEALTH:
            return self._gate(head, facts)
        if found.astray is Astray.HOST:
            return Answer(facts, Misdirected(), origin, close=True)
        host = head.one(b"host")
        if host is None or head.fields.upgrade:
            return Answer(facts, HttpsRequired(), origin, close=True)
        # Both have passed the checks of a head: no blank, no line end, no byte outside ASCII.
        location = (b"https://%s%s" % (bare(host), head.target)).decode("ascii")
        return Answer(facts, MovedToHttps(headers={"Location": location}), origin)

    def _gate(self, head: Head, facts: Facts) -> Answer | None:
        """Everything between the framing and the token that can end a request."""
        route, origin = facts.route, facts.sender.origin
        rules = self.elsewhere if route is None else route.countries
        if rules is not None:
            answer = self._where_from(facts, rules)
            if answer is not None:
                return answer
        if route is None:
            return Answer(facts, NotFound(), origin, self._ask(facts, _BY_ADDRESS, None))
        if head.method == b"OPTIONS" and cors.is_preflight(head):
            return Answer(facts, None, self.origins.preflight(head.noted[b"origin"][0]))
        if head.fields.upgrade:
            return self._upgrade(head, facts, route)
        if head.fields.length and route.strict and head.method in _BODILESS:
            return Answer(facts, BadFraming(), origin, close=True)
        return None

    def _upgrade(self, head: Head, facts: Facts, route: Route) -> Answer | None:
        if not route.sockets:
            return Answer(facts, NotUpgradable(), facts.sender.origin, close=True)
        if not self.origins.may_open_socket(head):
            return Answer(facts, OriginRefused(), facts.sender.origin, close=True)
        return None

    def _where_from(self, facts: Facts, rules: Rules) -> Answer | None:
        sender_ = facts.sender
        if self.limiter.denying:
            denied = self.limiter.remembered(self._ask(facts, _BY_ADDRESS, None))
            if denied is not None:
                return Answer(facts, None, sender_.origin, verdict=denied)
        facts.country = self.countries.of(sender_.caller)
        if rules.admits(sender_.caller, facts.country):
            return None
        if rules.shadow:
            self.shadow.cast(f"countries.{rules.name}")
            return None
        return Answer(facts, CountryBlockedByLaw() if rules.status == 451 else CountryBlocked(), sender_.origin)

    def _ask(self, facts: Facts, names: tuple[str, ...], account: bytes | None) -> Ask:
        """Its parts but for the limits' names hang on the fields alone."""
        known = (names, facts.claims is not None)
        ask = facts.sender.asks.get(known)
        if ask is None:
            ask = facts.sender.asks[known] = self.limiter.ask(names, facts.sender.caller, account, facts.claims)
        return ask

    def _recognise(self, facts: Facts) -> tuple[bytes | None, ServiceError | None]:
        """What limits of accounts count by, and what is wrong with the token.

        A token that is sent must be good. None at all, or one of another kind, is for the service to judge; so is a
        cookie, which a browser sends with everything.
        """
        sent = facts.sender
        token = sent.bearer or sent.cookie
        if token is None:
            return None, None if sent.bearer is None else InvalidToken()
        if sent.bearer is not None and token.startswith(_API_TOKEN):
            # The service asks auth. Whoever makes up tokens to be counted anew is counted by address all the same.
            return b"pat:" + sha256(token).hexdigest()[:32].encode(), None
        try:
            facts.claims = self.verifier.verify(token.decode("ascii"))
        except Unauthenticated as error:
            return None, None if sent.bearer is None else error
        except UnicodeDecodeError:
            return None, None if sent.bearer is None else InvalidToken()
        return facts.claims.sub.encode(), None


_BY_ADDRESS = ("ip",)
_HEALTH = frozenset((b"/health", b"/api/v1/health"))
