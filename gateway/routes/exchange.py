"""One request and its answer: decided, counted, then taken by whoever answers it, or refused here.

Callbacks, not a task: each step runs in the turn of the loop in which its bytes arrive.
"""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gateway.deps import Gateway
from gateway.domain.head import Head, Headers
from gateway.domain.limits import FREE, Verdict
from gateway.domain.metrics import REFUSED, requests
from gateway.domain.policy import Answer, Facts, Forward
from gateway.domain.table import Owner
from gateway.errors import SlowRequest
from gateway.routes.answers import CONTINUE, own_answer, refusal
from gateway.routes.asgi import Page
from gateway.routes.proxy import Passage
from libs.errors import PayloadTooLarge, RateLimited, ServiceError

if TYPE_CHECKING:
    from gateway.routes.front import Front

HOLD_UPSTREAM = 1
_LEAST_BYTES_PER_SECOND = 1024
# As nginx counts clients that left before the answer.
_CLIENT_LEFT = 499


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

    def __init__(self, front: "Front", gateway: Gateway, head: Head, *, keep_alive: bool) -> None:
        self._front = front
        self._gateway = gateway
        self._taker: Taker | None = None
        self._received = 0
        self._since = self._body_since = monotonic()
        self.head = head
        self.keep_alive = keep_alive
        self.request_complete = False
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
        self._front.deadline = 0.0  # that of the head; each step from here on has its own
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
        """Asks for limits and revocation in one round trip, if there is anything to ask."""
        claims = decision.facts.claims
        if claims is not None and (refusal := self._gateway.revocations.refusal(claims)):
            self.refuse(refusal())
            return
        if not decision.charges and claims is None:
            passed()
            return

        def judged(verdict: Verdict) -> None:
            if self.answered:
                return
            self.verdict = verdict
            if verdict.refused_by is not None:
                self._limited(verdict)
            elif verdict.revoked is not None:
                self.refuse(verdict.revoked())
            else:
                passed()

        self._gateway.limiter.check(decision.charges, claims, judged)

    def _limited(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.refuse(RateLimited(verdict.retry_after))

    def _answer(self, answer: Answer) -> None:
        if answer.error is None:
            self._write(204, answer.headers, b"")
        else:
            self.refuse(answer.error, close=answer.close)

    def _go_on(self) -> None:
        forward, facts = self.forward, self.facts
        assert forward is not None  # noqa: S101  -- set before the limits are asked
        assert facts is not None  # noqa: S101  -- set before the limits are asked
        if self._oversized():
            self.refuse(PayloadTooLarge(), close=True)
            return
        if not self.request_complete:
            self._body_since = monotonic()
            self.watch(self._gateway.times.body, self._body_late)
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
        REFUSED.labels(error.code).inc()
        status, headers, body = refusal(error, self.head.path, self.facts.request_id)
        self.keep_alive = self.keep_alive and not close
        origin = self._gateway.policy.origins.headers(self.head.one(b"origin"))
        self._write(status, [*headers, *origin], body)

    def break_answer(self) -> None:
        """Part of the answer is out; breaking the connection is the only way to say that the rest is missing."""
        self._drop()
        self.record(self.status)
        self._front.transport.abort()

    def finish(self) -> None:
        """The answer has been written whole."""
        self.answered = True
        self.record(self.status)
        self._front.exchange_done(self)

    def record(self, status: int) -> None:
        facts = self.facts
        assert facts is not None  # noqa: S101  -- every request is looked at first
        route = facts.route
        name = route.name if route is not None else "none"
        requests(name, status).inc()
        if route is not None and not route.limits:
            return  # health checks would be most of the log
        path = route.prefix if route is not None and route.secret else self.head.path
        self._gateway.access.add(
            method=self.head.method.decode(),
            path=path.decode("latin-1"),
            status=status,
            ms=round((monotonic() - self._since) * 1000, 1),
            client=facts.caller.text,
            country=facts.country,
            user_id=facts.claims.sub if facts.claims is not None else None,
            request_id=facts.request_id.decode(),
        )

    def _write(self, status: int, headers: Headers, body: bytes) -> None:
        assert self.facts is not None  # noqa: S101  -- every request is looked at first
        self._drop()
        self.status = status
        charges = self.forward.charges if self.forward is not None else []
        self._front.write(
            own_answer(
                status,
                [*headers, *self.verdict.headers(charges)],
                body,
                request_id=self.facts.request_id,
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
            # It is the service that is slow; it has its own deadline.
            left = self._gateway.times.body
        if left > 0:
            self.watch(left, self._body_late)
        else:
            self.refuse(SlowRequest(), close=True)
