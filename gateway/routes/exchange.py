"""One request and its answer: decided, counted, then taken by whoever answers it, or refused here.

Callbacks, not a task: each step runs in the turn of the loop in which its bytes arrive.
"""

from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import structlog

from gateway.deps import Gateway
from gateway.domain.head import Head
from gateway.domain.headers import joined
from gateway.domain.limits import FREE
from gateway.domain.metrics import TALLY
from gateway.domain.policy import Answer, Facts, Forward
from gateway.domain.table import Owner
from gateway.domain.verdicts import Verdict
from gateway.domain.wire import Headers
from gateway.errors import SlowRequest, TooManySockets
from gateway.routes.answers import CONTINUE, HSTS, own_answer, page_head, refusal
from gateway.routes.asgi import Page
from gateway.routes.holds import HOLD_UPSTREAM
from gateway.routes.proxy import Passage
from libs.errors import PayloadTooLarge, RateLimited, ServiceError

if TYPE_CHECKING:
    from gateway.routes.front import Front

_LEAST_BYTES_PER_SECOND = 1024
# As nginx counts clients that left before the answer.
_CLIENT_LEFT = 499

log = structlog.get_logger()


class Taker(Protocol):
    """Who answers the request: a service, or a page of the gateway's own."""

    def feed(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def drop(self) -> None: ...
    def pause_answer(self) -> None: ...
    def resume_answer(self) -> None: ...


class Exchange:
    __slots__ = (
        "_body_since",
        "_front",
        "_gateway",
        "_passed",
        "_received",
        "_since",
        "_taker",
        "answered",
        "broken",
        "early",
        "facts",
        "forward",
        "head",
        "held",
        "keep_alive",
        "request_complete",
        "started",
        "status",
        "verdict",
    )

    def __init__(self, front: "Front", gateway: Gateway, head: Head) -> None:
        self._front = front
        self._gateway = gateway
        self._taker: Taker | None = None
        self._received = 0
        self._since = self._body_since = monotonic()
        self.head = head
        self.keep_alive = head.fields.keep_alive
        self.request_complete = True  # until a body is announced
        self.started = False
        self.answered = False
        self.status = 0  # of the answer, once its head is written
        self.held: list[bytes] = []  # of the body, until somebody takes it
        self.early = b""  # what came after an upgrade request, for the socket
        self.broken: ServiceError | None = None
        self.facts: Facts | None = None
        self.forward: Forward | None = None
        self.verdict: Verdict = FREE

    # What the client's side calls.

    def start(self) -> None:
        self.started = True
        if self.broken is not None:
            self.refuse_unread(self.broken)
            return
        decision = self._gateway.policy.decide(self.head, self._front.peer)
        self.facts = decision.facts
        if isinstance(decision, Forward):
            self.forward = decision
            self._count(decision, self._go_on)
        elif decision.verdict is not None:
            self._limited(decision.verdict)
        else:
            self._count(decision, lambda: self._answer(decision))

    def feed(self, data: bytes) -> None:
        self._received += len(data)
        if self.answered:
            return
        if self._oversized():
            self.refuse(PayloadTooLarge(), close=True)
        elif self._taker is not None:
            self._taker.feed(data)
        else:
            self.held.append(data)
            if self.started:
                self._front.hold(HOLD_UPSTREAM)

    def end_request(self) -> None:
        self.request_complete = True
        if self._taker is not None and not self.answered:
            self._taker.end()

    def break_off(self, error: ServiceError) -> None:
        """What follows the head has no meaning, or too much of it came."""
        self.keep_alive = False
        self.broken = error
        if self.started and not self.answered:
            self.refuse(error, close=True)

    def refuse_unread(self, error: ServiceError) -> None:
        """For a request that is not looked at, because its head or its body never became one."""
        self.started = True
        self.facts = self._gateway.policy.facts(self.head, self._front.peer)
        self.refuse(error, close=True)

    def abandon(self) -> None:
        """The client is gone."""
        if self.started and not self.answered:
            self._drop()
            self.record(self.status or _CLIENT_LEFT)

    def pause_answer(self) -> None:
        if self._taker is not None:
            self._taker.pause_answer()

    def resume_answer(self) -> None:
        if self._taker is not None:
            self._taker.resume_answer()

    # The decision.

    def _count(self, decision: Forward | Answer, passed: Callable[[], None]) -> None:
        """Asks for limits and revocation in one round trip, unless nothing is to be asked or it was asked ahead."""
        claims = decision.facts.claims
        if claims is not None and (refusal := self._gateway.revocations.refusal(claims)):
            self.refuse(refusal())
            return
        ask = decision.ask
        if ask.call is None:
            passed()
            return
        if ask.lease is not None and (counted := ask.lease.spend()) is not None:
            self.verdict = counted
            passed()
            return

        self._passed = passed
        self._gateway.limiter.check(ask, self._judged)

    def _judged(self, verdict: Verdict) -> None:
        if self.answered:
            return
        self.verdict = verdict
        try:
            if verdict.refused:
                self._limited(verdict)
            elif verdict.revoked is not None:
                self.refuse(verdict.revoked())
            else:
                self._passed()
        except Exception:
            # Others wait for the same answer of Redis, and above them nobody knows whose request this was.
            log.exception("request_failed", request_id=self.facts.request_id.decode() if self.facts else "")
            self._front.transport.abort()

    def _limited(self, verdict: Verdict) -> None:
        limit = verdict.limit
        assert limit is not None  # noqa: S101  -- it refuses
        self.verdict = verdict
        self.refuse(_throttled(verdict.reset, limit.count, limit.seconds))

    def _answer(self, answer: Answer) -> None:
        if answer.error is None:
            self._write(204, joined(answer.headers), b"")
        else:
            self.refuse(answer.error, close=answer.close)

    def _go_on(self) -> None:
        forward, facts = self.forward, self.facts
        assert forward is not None  # noqa: S101  -- set before the limits are asked
        assert facts is not None  # noqa: S101  -- set before the limits are asked
        if self._oversized():
            self.refuse(PayloadTooLarge(), close=True)
            return
        if self.head.fields.upgrade and not self._front.seat.open_socket(facts.sender.caller):
            self.refuse(TooManySockets(), close=True)
            return
        if not self.request_complete:
            self._body_since = monotonic()
            self.watch_body()
            if b"expect" in self.head.noted and not self._received:
                self._front.write(CONTINUE)
        if forward.route.owner is Owner.GATEWAY:
            self._taker = Page(self, self._front, facts)
        else:
            passage = Passage(self, self._front, self._gateway, forward=forward, facts=facts)
            self._taker = passage
            passage.start()

    def _oversized(self) -> bool:
        return self.forward is not None and self._received > self.forward.body_limit

    # What the taker calls in turn.

    def watch(self, seconds: float, then: Callable[[], None]) -> None:
        """The one deadline of the connection; each phase replaces that of the last."""
        front = self._front
        front.deadline = monotonic() + seconds
        front.on_deadline = then

    def watch_body(self) -> None:
        self.watch(self._gateway.times.body, self._body_late)

    def stays(self) -> bool:
        """Whether the connection can carry another request after this answer."""
        if not self.request_complete or self._front.draining:
            self.keep_alive = False
        return self.keep_alive

    def refuse(self, error: ServiceError, *, close: bool = False) -> None:
        assert self.facts is not None  # noqa: S101  -- every request is looked at first
        if self.status:
            self.break_answer()
            return
        TALLY.refused(error.code)
        status, lines, body = refusal(error, self.head.path, self.facts.request_id)
        self.keep_alive = self.keep_alive and not close
        self._write(status, lines + joined(self.facts.sender.origin), body)

    def break_answer(self) -> None:
        """Part of the answer is out; breaking the connection is the only way to say that the rest is missing."""
        self._drop()
        self.record(self.status)
        self._front.transport.abort()

    def finish(self) -> None:
        """The answer has been written whole."""
        self.end(self.status)
        self._front.exchange_done(self)

    def end(self, status: int) -> None:
        """Nothing more is said here."""
        self.answered = True
        self.record(status)
        # Who answers knows us and we know them: without this the collector would have to find both.
        self._taker = None

    def record(self, status: int) -> None:
        facts = self.facts
        assert facts is not None  # noqa: S101  -- every request is looked at first
        route = facts.route
        name = route.name if route is not None else "none"
        TALLY.answered(name, status)
        if route is not None and route.owner is Owner.GATEWAY and not route.limits:
            return  # health checks would be most of the log
        seconds = monotonic() - self._since
        self._gateway.access.add(self.head, facts, status, seconds)
        usage, claims = self._gateway.usage, facts.claims
        if usage is not None and claims is not None and route is not None:
            usage.add(claims.sub, route.prefix, status, seconds)

    def answer_page(self, status: int, headers: Headers, body: bytes) -> None:
        """Of the gateway's own application, whole."""
        facts = self.facts
        assert facts is not None  # noqa: S101  -- every request is looked at first
        self.status = status
        ours = [*facts.sender.origin, HSTS] if facts.sender.tls else facts.sender.origin
        framing = b"content-length: %d\r\n%s" % (len(body), self.verdict.lines())
        head = page_head(status, headers, ours, framing=framing, date=self._front.date, keep_alive=self.stays())
        self._front.write(head if self.head.method == b"HEAD" else head + body)
        self.finish()

    def _write(self, status: int, lines: bytes, body: bytes) -> None:
        assert self.facts is not None  # noqa: S101  -- every request is looked at first
        self._drop()
        self.status = status
        took = b"x-request-duration: %.3fs\r\n" % (monotonic() - self._since)
        self._front.write(
            own_answer(
                status,
                b"".join((lines, self.verdict.lines(), took)),
                body,
                facts=self.facts,
                date=self._front.date,
                keep_alive=self.stays(),
                head_only=self.head.method == b"HEAD",
            )
        )
        self.finish()

    def _drop(self) -> None:
        self.answered = True
        self.held.clear()
        if self._taker is not None:
            self._taker.drop()

    def _body_late(self) -> None:
        """The body must come at a human pace; one byte now and then only keeps a connection from others."""
        if self.request_complete or self.answered:
            return
        pace = self._gateway.times.body + self._received / _LEAST_BYTES_PER_SECOND
        left = self._body_since + pace - monotonic()
        if self._front.held:
            # It is the service that is slow, or not connected yet; it has deadlines of its own.
            left = self._gateway.times.body
        if left > 0:
            self.watch(left, self._body_late)
        else:
            self.refuse(SlowRequest(), close=True)


@lru_cache(maxsize=1024)
def _throttled(wait: int, count: int, seconds: int) -> RateLimited:
    """Of a flood all get the same one; nobody raises it."""
    return RateLimited(wait, allowed=(count, seconds))
