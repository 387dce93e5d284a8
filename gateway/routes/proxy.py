"""The way to a service and back, streamed: neither way holds more than a buffer, and the slower side sets the pace."""

from time import monotonic
from typing import TYPE_CHECKING

from gateway.deps import Gateway
from gateway.domain.connection import UpstreamConnection
from gateway.domain.headers import AnswerFields
from gateway.domain.holders import session_of
from gateway.domain.metrics import UPSTREAM_FAILURES
from gateway.domain.policy import Facts, Forward
from gateway.domain.upstreams import Instance
from gateway.domain.verdicts import LIMIT_NAMES
from gateway.domain.wire import CHUNKED
from gateway.routes import socket
from gateway.routes.answers import forwarded_head, switched_head
from gateway.routes.holds import HOLD_UPSTREAM
from libs.errors import BadGateway, GatewayTimeout, Unavailable

if TYPE_CHECKING:
    from gateway.routes.exchange import Exchange
    from gateway.routes.front import Front

_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))


class Passage:
    __slots__ = (
        "_begun",
        "_chunked",
        "_era",
        "_exchange",
        "_facts",
        "_forward",
        "_front",
        "_gateway",
        "_group",
        "_head",
        "_instance",
        "_out",
        "_repeated",
        "_sent_at",
        "_upstream",
        "_waits",
        "fresh",
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
        self._group = gateway.groups[forward.route.owner]
        self._instance: Instance | None = None
        self._era = 0  # of the call, until its outcome is known
        self._waits = False  # the request is sent, and no head of an answer has come
        self._upstream: UpstreamConnection | None = None
        # A socket takes its connection with it, so one that is kept would only be lost to the others.
        self.fresh = self._head.socket
        self._begun = False  # part of the answer is out
        self._chunked = False  # the answer to the client
        self._repeated = False
        self._out: list[bytes] = []  # of the answer, until the turn's parts are together
        self._sent_at = 0.0

    # To the service.

    def start(self) -> None:
        self._group.acquire(self)

    @property
    def whole(self) -> bool:
        return self._exchange.request_complete

    def feed(self, data: bytes) -> None:
        if self._upstream is None:
            self._exchange.held.append(data)
            self._front.hold(HOLD_UPSTREAM)
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

    def unavailable(self, why: str, retry_after: int) -> None:
        self._count_failure(why)
        if not self._exchange.answered:
            self._exchange.refuse(Unavailable(retry_after=retry_after))

    def connected(self, instance: Instance, upstream: UpstreamConnection, era: int, now: float) -> None:
        exchange, head = self._exchange, self._head
        if exchange.answered:
            instance.left(era)
            instance.release(upstream)
            return
        self._instance, self._upstream, self._era = instance, upstream, era
        self._sent_at = now
        facts = self._facts
        upstream.request_open = True
        request = b"%s %s HTTP/1.1\r\n%sx-request-id: %s\r\n%s\r\n" % (
            head.method,
            head.target,
            facts.sender.lines,
            facts.request_id,
            b"" if facts.country is None else b"x-client-country: %s\r\n" % facts.country.encode(),
        )
        if exchange.held:
            request = b"".join((request, *map(self._framed, exchange.held)))
            exchange.held.clear()
            self._front.let(HOLD_UPSTREAM)
        upstream.ask(self, request, head_only=head.method == b"HEAD", upgrading=head.socket)
        if exchange.request_complete:
            self._end_sending()

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data) if self._head.chunked else data

    def _end_sending(self) -> None:
        assert self._upstream is not None  # noqa: S101  -- asked by those who know
        assert self._instance is not None  # noqa: S101  -- it is that of the connection
        if self._head.chunked:
            self._upstream.write(b"0\r\n\r\n")
        self._upstream.request_open = False
        if not self._exchange.status:
            self._instance.waiting += 1
            self._waits = True
            self._exchange.watch(self._gateway.times.answer, self._too_late)

    def pause_sending(self) -> None:
        """The service takes the body more slowly than the client sends it; if not at all, it will not answer either."""
        self._front.hold(HOLD_UPSTREAM)
        if not self._exchange.status:
            self._exchange.watch(self._gateway.times.answer, self._too_late)

    def resume_sending(self) -> None:
        self._front.let(HOLD_UPSTREAM)
        if not (self._exchange.status or self._exchange.request_complete):
            self._exchange.watch_body()

    # And back.

    def answer_began(self, status: int, fields: AnswerFields) -> None:
        exchange = self._exchange
        exchange.status = status
        self._answered()
        lines = self._frame(status, fields.length)
        if fields.said.isdisjoint(LIMIT_NAMES):
            # Otherwise the service counts itself, and knows more.
            lines += exchange.verdict.lines()
        head = forwarded_head(
            status,
            fields,
            self._facts.sender.origin,
            facts=self._facts,
            lines=lines,
            date=self._front.date,
            keep_alive=exchange.stays(),
        )
        self._out.append(head)
        exchange.watch(self._gateway.times.stream, exchange.break_answer)

    def _answered(self) -> None:
        """The process has done what it is for. What becomes of the body says no more about it."""
        now = monotonic()
        self._group.seconds.observe(now - self._sent_at)
        instance = self._instance
        assert instance is not None  # noqa: S101  -- it is that of the connection
        instance.answered(self._settle(instance), now)

    def _frame(self, status: int, length: int | None) -> bytes:
        """How the client learns where the body ends; never copied from the service."""
        if status == 204:
            return b""
        if length is not None and length != CHUNKED:
            return b"content-length: %d\r\n" % length
        if self._head.method == b"HEAD" or status == 304:
            return b""
        if self._head.fields.version != b"1":
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
        if not front.write_paused:
            # Before the write: that may fill the buffer, and then it is the client who must move.
            front.deadline = monotonic() + self._gateway.times.stream
        front.writelines(self._out)
        self._out.clear()
        if front.write_paused:
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
        exchange, upstream, instance = self._exchange, self._upstream, self._instance
        assert upstream is not None  # noqa: S101  -- it calls
        assert instance is not None  # noqa: S101  -- it is that of the connection
        again = upstream.untouched and self._repeatable()
        if again and upstream.served:
            # The service had closed the kept connection before it saw the request: that says nothing about it.
            self._leave()
            self._group.acquire(self)
            return
        self._failed(reason)
        self._leave()
        if again and self._group.retry(self, instance):
            return
        if self._begun:
            exchange.break_answer()
        else:
            exchange.status = 0
            exchange.refuse(BadGateway())

    def _repeatable(self) -> bool:
        """Once, and only what may be done twice: a service may have done it before it fell."""
        once = not self._repeated
        # Another kept connection might be as dead.
        self._repeated = self.fresh = True
        return once and self._head.method in _IDEMPOTENT and not self._head.fields.length

    def answer_upgraded(self, status: int, fields: AnswerFields, rest: bytes) -> None:
        upstream, front, exchange = self._upstream, self._front, self._exchange
        assert upstream is not None  # noqa: S101  -- it calls
        self._answered()
        self._leave()
        exchange.end(status)
        front.write(switched_head(fields, facts=self._facts, date=front.date))
        session = session_of(self._head, self._facts.sender, self._gateway.policy.verifier)
        socket.join(front, upstream, self._gateway, session, early=exchange.early, rest=rest)

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
        self._failed("silent")
        self._exchange.refuse(GatewayTimeout())

    def _failed(self, why: str) -> None:
        self._count_failure(why)
        instance = self._instance
        if instance is not None and self._era:
            self._instance = None
            instance.failed(self._settle(instance))

    def _leave(self) -> None:
        """The connection to the service has gone back, or is of no use any more."""
        self._upstream = None
        instance, self._instance = self._instance, None
        if instance is None:
            return
        if self._era:
            instance.left(self._settle(instance))
        else:
            instance.ended()

    def _settle(self, instance: Instance) -> int:
        """The era of the call, whose outcome is known now."""
        if self._waits:
            self._waits = False
            instance.waiting -= 1
        era, self._era = self._era, 0
        return era

    def _count_failure(self, why: str) -> None:
        UPSTREAM_FAILURES.labels(self._forward.route.owner.value, why).inc()
