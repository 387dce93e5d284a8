"""The whole decision about a request, before a byte of it travels on. Pure: a parsed head in, a decision out.

Order: framing, caller, id, deny memory, country, route, preflight, socket origin, token, body limit. What is left to
ask (limits and revocation, one round trip) is named in the decision. Country comes before anything that costs a round
trip, so visitors from blocked countries cost none.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from gateway.domain import cors
from gateway.domain.client_ip import Caller, Callers
from gateway.domain.country import Countries, Rules
from gateway.domain.head import Head, Headers, flaw
from gateway.domain.limits import Charge, Limiter, Verdict
from gateway.domain.metrics import GARBLED
from gateway.domain.table import Check, Route, Table
from gateway.errors import CountryBlocked, NotUpgradable, OriginRefused
from libs.cookies import ACCESS_COOKIE
from libs.errors import InvalidToken, NotFound, PayloadTooLarge, ServiceError, Unauthenticated
from libs.ids import uuid7
from libs.tokens import Claims, Verifier

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_API_TOKEN = b"pat_"
_COOKIE = re.compile(rb"(?:^|;[ \t]*)" + ACCESS_COOKIE.encode() + rb"=([A-Za-z0-9_.-]+)")
_SCHEMES: Final = {b"http": b"http", b"https": b"https"}


@dataclass(slots=True)
class Facts:
    """What was found out about a request; filled as far as the chain went."""

    caller: Caller
    request_id: bytes
    route: Route | None = None
    country: str | None = None
    claims: Claims | None = None
    account: bytes | None = None  # what limits of accounts count by
    proto: bytes = b"http"


@dataclass(slots=True)
class Answer:
    """The gateway answers. `error` None: a preflight. `charges` count first: a refused token is a call all the same."""

    facts: Facts
    error: ServiceError | None
    headers: Headers = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    close: bool = False
    verdict: Verdict | None = None


@dataclass(slots=True)
class Forward:
    """To the owner of the route, once the limits have passed."""

    facts: Facts
    route: Route
    charges: list[Charge]
    body_limit: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Policy:
    callers: Callers
    countries: Countries
    rules: Rules
    table: Table
    origins: cors.Origins
    limiter: Limiter
    verifier: Verifier
    body_limit: int

    def decide(self, head: Head, peer: str) -> Forward | Answer:
        facts = self.facts(head, peer)
        origin = self.origins.headers(head.one(b"origin"))
        error = flaw(head)
        if error is not None:
            return Answer(facts, error, origin, close=True)
        route = facts.route = self.table.find(head.path)
        answer = self._gate(head, facts)
        if answer is not None:
            answer.headers = answer.headers or origin
            return answer
        assert route is not None  # noqa: S101  -- the gate answers 404 otherwise
        names = route.limits
        if route.posts and head.method == b"POST" and head.path.rstrip(b"/") == route.prefix:
            names += route.posts
        if route.check is Check.TOKEN:
            error = self._check_token(head, facts)
        charges = self.limiter.charges(names, facts.caller, facts.account)
        known = self.limiter.remembered(charges)
        if known is not None or error is not None:
            return Answer(facts, error, origin, charges, verdict=known)
        limit = self.body_limit if route.body is None else route.body
        if head.length > limit:
            return Answer(facts, PayloadTooLarge(), origin, charges)
        return Forward(facts, route, charges, limit, origin)

    def facts(self, head: Head, peer: str) -> Facts:
        caller = self.callers.resolve(peer, head.noted.get(b"x-forwarded-for", ()))
        if caller.garbled:
            GARBLED.inc()
        given = head.one(b"x-request-id") if caller.peer_trusted else None
        if given is not None and _REQUEST_ID.fullmatch(given):
            facts = Facts(caller, given)
        else:
            facts = Facts(caller, str(uuid7()).encode())
        if caller.peer_trusted:
            facts.proto = _SCHEMES.get(head.one(b"x-forwarded-proto") or b"http", b"http")
        return facts

    def _gate(self, head: Head, facts: Facts) -> Answer | None:
        """Everything between the framing and the token that can end a request."""
        route = facts.route
        if route is None or route.country:
            answer = self._where_from(facts)
            if answer is not None:
                return answer
        if route is None:
            return Answer(facts, NotFound(), charges=self._by_address(facts))
        if cors.is_preflight(head):
            return Answer(facts, None, self.origins.preflight(head.noted[b"origin"][0]))
        if head.upgrade:
            if not route.sockets:
                return Answer(facts, NotUpgradable(), close=True)
            if not self.origins.may_open_socket(head):
                return Answer(facts, OriginRefused(), close=True)
        return None

    def _where_from(self, facts: Facts) -> Answer | None:
        if self.limiter.denying:
            denied = self.limiter.remembered(self._by_address(facts))
            if denied is not None:
                return Answer(facts, None, verdict=denied)
        facts.country = self.countries.of(facts.caller)
        return None if self.rules.admits(facts.caller, facts.country) else Answer(facts, CountryBlocked())

    def _by_address(self, facts: Facts) -> list[Charge]:
        return self.limiter.charges(("ip",), facts.caller, None)

    def _check_token(self, head: Head, facts: Facts) -> ServiceError | None:
        """A token that is sent must be good. None at all, or one of another kind, is for the service to judge."""
        value = head.one(b"authorization")
        if value is None:
            self._recognise_cookie(head, facts)
            return None
        if value[:7].lower() != b"bearer ":
            return None
        token = value[7:].strip()
        if token.startswith(_API_TOKEN):
            # The service asks auth. Whoever makes up tokens to be counted anew is counted by address all the same.
            facts.account = b"pat:" + sha256(token).hexdigest()[:32].encode()
            return None
        try:
            self._recognise(token, facts)
        except Unauthenticated as error:
            return error
        except UnicodeDecodeError:
            return InvalidToken()
        return None

    def _recognise(self, token: bytes, facts: Facts) -> None:
        facts.claims = self.verifier.verify(token.decode("ascii"))
        facts.account = facts.claims.sub.encode()

    def _recognise_cookie(self, head: Head, facts: Facts) -> None:
        """A browser sends its cookie with everything, be it good or not: whether it is needed, the service knows."""
        for line in head.noted.get(b"cookie", ()):
            match = _COOKIE.search(line)
            if match is not None:
                with suppress(Unauthenticated):
                    self._recognise(match[1], facts)
                return
