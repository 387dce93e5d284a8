"""The way to a service and back, streamed: neither way holds more than a buffer, and the slower side sets the pace."""

from time import monotonic
from typing import TYPE_CHECKING

from gateway.deps import Gateway
from gateway.domain.connection import UpstreamConnection
from gateway.domain.head import Headers
from gateway.domain.headers import own_lines, upstream_head
from gateway.domain.metrics import UPSTREAM_FAILURES
from gateway.domain.policy import Facts, Forward
from gateway.domain.upstreams import Instance
from gateway.routes import socket
from gateway.routes.answers import forwarded_head, switched_head
from libs.errors import BadGateway, GatewayTimeout, Unavailable

if TYPE_CHECKING:
    from gateway.routes.exchange import Exchange
    from gateway.routes.front import Front

_HOLD_UPSTREAM = 1
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))


class Passage:
    __slots__ = (
        "_begun",
        "_chunked",
        "_exchange",
        "_facts",
        "_forward",
        "_front",
        "_gateway",
        "_head",
        "_instance",
        "_out",
        "_repeated",
        "_sent_at",
        "_upstream",
    )

    def __init__(
        self, exchange: "Exchange", front: "Front", gateway: Gateway, *, forward: Forward, facts: Facts
    ) -> None:
        self._exchange = exchange
        self._front = front
        self._gateway = gateway
        self._forward = forward
        self._facts = facts
        self._head = exchange.head
        self._instance: Instance | None = None
        self._upstream: UpstreamConnection | None = None
        self._begun = False  # part of the answer is out
        self._chunked = False  # the answer to the client
        self._repeated = False
        self._out: list[bytes] = []  # of the answer, until the turn's parts are together
        self._sent_at = 0.0

    # To the service.

    def start(self) -> None:
        # A socket takes its connection with it, so one that is kept would only be lost to the others.
        self._acquire(fresh=self._head.socket)

    def feed(self, data: bytes) -> None:
        if self._upstream is None:
            self._exchange.held.append(data)
            self._front.hold(_HOLD_UPSTREAM)
        else:
            self._upstream.write(self._framed(data))

    def end(self) -> None:
        if self._upstream is not None:
            self._end_sending()

    def drop(self) -> None:
        upstream = self._upstream
        self._leave()
        if upstream is not None:
            upstream.abort()

    def _acquire(self, *, fresh: bool) -> None:
        group = self._gateway.groups[self._forward.route.owner]
        group.acquire(self._connected, self._nobody_there, fresh=fresh)

    def _nobody_there(self) -> None:
        self._count_failure("unreachable")
        if not self._exchange.answered:
            self._exchange.refuse(Unavailable())

    def _connected(self, instance: Instance, upstream: UpstreamConnection) -> None:
        exchange, head = self._exchange, self._head
        if exchange.answered:
            instance.release(upstream)
            return
        self._instance, self._upstream = instance, upstream
        instance.in_flight += 1
        self._sent_at = monotonic()
        lines = own_lines(
            head,
            client=self._facts.caller.raw,
            proto=self._facts.proto,
            request_id=self._facts.request_id,
            country=self._facts.country,
        )
        upstream.request_open = True
        request = upstream_head(head, lines)
        if exchange.held:
            request = b"".join((request, *map(self._framed, exchange.held)))
            exchange.held.clear()
            self._front.let(_HOLD_UPSTREAM)
        upstream.ask(self, request, head_only=head.method == b"HEAD", upgrading=head.socket)
        if exchange.request_complete:
            self._end_sending()

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data) if self._head.chunked else data

    def _end_sending(self) -> None:
        assert self._upstream is not None  # noqa: S101  -- asked by those who know
        if self._head.chunked:
            self._upstream.write(b"0\r\n\r\n")
        self._upstream.request_open = False
        if not self._exchange.status:
            self._exchange.watch(self._gateway.times.answer, self._too_late)

    def pause_sending(self) -> None:
        self._front.hold(_HOLD_UPSTREAM)

    def resume_sending(self) -> None:
        self._front.let(_HOLD_UPSTREAM)

    # And back.

    def answer_began(self, status: int, headers: Headers) -> None:
        exchange = self._exchange
        exchange.status = status
        self._gateway.groups[self._forward.route.owner].seconds.observe(monotonic() - self._sent_at)
        framing = self._frame(status, headers)
        head = forwarded_head(
            status,
            headers,
            [*self._forward.headers, *exchange.verdict.headers(self._forward.charges)],
            framing=framing,
            request_id=self._facts.request_id,
            date=self._front.date,
            keep_alive=exchange.stays(),
        )
        self._out.append(head)
        exchange.watch(self._gateway.times.stream, exchange.break_answer)

    def _frame(self, status: int, headers: Headers) -> bytes:
        """How the client learns where the body ends; never copied from the service."""
        if status == 204:
            return b""
        for name, value in headers:
            if name == b"content-length":
                return b"content-length: %s\r\n" % value
        if self._head.method == b"HEAD" or status == 304:
            return b""
        if self._head.version == "1.0":
            self._exchange.keep_alive = False
            return b""
        self._chunked = True
        return b"transfer-encoding: chunked\r\n"

    def answer_body(self, data: bytes) -> None:
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def answer_flush(self) -> None:
        self._begun = True
        front = self._front
        if not front.flow.write_paused:
            # Before the write: that may fill the buffer, and then it is the client who must move.
            front.deadline = monotonic() + self._gateway.times.stream
        front.write(*self._out)
        self._out.clear()
        if front.flow.write_paused:
            # Also when it is an earlier answer that fills the buffer: then nobody says so again.
            self.pause_answer()

    def answer_ended(self) -> None:
        if self._chunked:
            self._out.append(b"0\r\n\r\n")
        # Before the write, which may call for a pause: the connection to the service is no longer ours to pause.
        self._leave()
        # One piece: most answers are small, and joining them costs less than a vector of buffers.
        self._front.write(b"".join(self._out))
        self._out.clear()
        self._exchange.finish()

    def answer_failed(self, reason: str) -> None:
        untouched = self._upstream is not None and self._upstream.untouched
        self._leave()
        exchange = self._exchange
        bodiless = not self._head.chunked and not self._head.length
        if untouched and not self._repeated and bodiless and self._head.method in _IDEMPOTENT:
            # The service had closed the kept connection before it saw the request.
            self._repeated = True
            self._acquire(fresh=True)
            return
        self._count_failure(reason)
        if self._begun:
            exchange.break_answer()
        else:
            exchange.status = 0
            exchange.refuse(BadGateway())

    def answer_upgraded(self, status: int, headers: Headers, rest: bytes) -> None:
        upstream, front, exchange = self._upstream, self._front, self._exchange
        assert upstream is not None  # noqa: S101  -- it calls
        self._leave()
        exchange.answered = True
        exchange.record(status)
        front.write(switched_head(headers, request_id=self._facts.request_id, date=front.date))
        socket.join(front, upstream, self._gateway, early=exchange.early, rest=rest)

    def pause_answer(self) -> None:
        """The client reads more slowly than the service writes; below some 2 KiB a second only to keep us busy."""
        if self._upstream is not None:
            self._upstream.pause_reading()
            self._exchange.watch(self._gateway.times.body, self._exchange.break_answer)

    def resume_answer(self) -> None:
        if self._upstream is not None:
            self._upstream.resume_reading()
            self._exchange.watch(self._gateway.times.stream, self._exchange.break_answer)

    def _too_late(self) -> None:
        self._count_failure("silent")
        self._exchange.refuse(GatewayTimeout())

    def _leave(self) -> None:
        """The connection to the service has gone back, or is of no use any more."""
        self._upstream = None
        if self._instance is not None:
            self._instance.in_flight -= 1
            self._instance = None

    def _count_failure(self, why: str) -> None:
        UPSTREAM_FAILURES.labels(self._forward.route.owner.value, why).inc()
