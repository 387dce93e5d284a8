"""One socket from its first frame to its last: the state of a client, its timers and its limits."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from chat_service.domain import frames, greeting, ops
from chat_service.domain.closing import (
    EXPIRED,
    FLOOD,
    GOING_AWAY,
    HELLO_TIMEOUT,
    MALFORMED,
    SILENT,
    SLOW,
    TOO_LARGE,
)
from chat_service.domain.connections import Connection, Wire
from chat_service.domain.requests import Malformed, Request, parse
from chat_service.errors import SlowMode
from libs.db import is_unavailable
from libs.errors import ServerFault, ServiceError, Unavailable
from libs.ids import uuid7
from libs.tokens import Claims

if TYPE_CHECKING:
    from chat_service.domain.context import Context
    from chat_service.domain.streams import Stream

HELLO_SECONDS = 10.0
WARN_SECONDS = 60
GRACE_SECONDS = 25
_MOST_IN_FLIGHT = 32
_MOST_STRIKES = 10
_STRIKE_SECONDS = 60.0
_LEAVE_SECONDS = 2.0
_NOBODY = UUID(int=0)

log = structlog.get_logger()


class Session(Connection):
    __slots__ = (
        "_early",
        "_heartbeat_at",
        "_leaving",
        "_opened_at",
        "_strikes",
        "_strikes_since",
        "_warned",
        "address",
        "claims",
        "context",
        "credential",
        "focus",
        "heard",
        "id",
        "in_flight",
        "jitter",
        "open",
        "streams",
        "user_id",
    )

    def __init__(self, wire: Wire, context: "Context", credential: tuple[str, str] | None) -> None:
        """`credential` is what the handshake brought: a kind (`token` or `ticket`) and its text."""
        super().__init__(wire)
        identifier = uuid7()
        now = asyncio.get_running_loop().time()
        self.id = identifier.hex
        # Of a client that has still to say who it is.
        self.address = ""
        self.context = context
        self.credential = credential
        self.claims: Claims | None = None
        self.user_id = _NOBODY
        self.open = False
        self.streams: dict[str, Stream] = {}
        # What the user looks at; None: the client never said, so everything counts.
        self.focus: frozenset[str] | None = None
        self.in_flight = 0
        self.heard = now
        # So that sockets opened together, as after a restart, do not do everything together for ever.
        self.jitter = (identifier.int & 0xFFFF) / 0xFFFF
        self._opened_at = now
        self._heartbeat_at = 0.0
        self._warned = False
        self._leaving = False
        self._strikes = 0
        self._strikes_since = 0.0
        # What came while hello was being looked at; None: no hello yet.
        self._early: list[bytes] | None = None

    def accepted(self) -> None:
        """The handshake is over: frames may be written."""

    def receive(self, data: bytes) -> None:
        """A text frame of the peer, as it came."""
        self.heard = asyncio.get_running_loop().time()
        if self.closed or self._leaving:
            return
        if len(data) > greeting.MAX_FRAME:
            self.close(TOO_LARGE)
            return
        if self.context.byte_limit.wait(self.id, self.heard, len(data)):
            self.close(FLOOD, retry_ms=1000)
            return
        for line in data.split(b"\n") if b"\n" in data else (data,):
            if not self.closed:
                self._take(line)

    def receive_binary(self) -> None:
        self.close(MALFORMED, reason="frames are text")

    def _take(self, line: bytes) -> None:
        if self._early is not None:
            if len(self._early) >= _MOST_IN_FLIGHT:
                self.close(MALFORMED, reason="too much before welcome")
            self._early.append(line)
            return
        try:
            request = parse(line)
        except Malformed as error:
            self.close(MALFORMED, reason=f"malformed frame: {error}")
        else:
            if self.open:
                self._do(request)
            else:
                self._greet(request)

    def _greet(self, request: Request) -> None:
        if request.op != "hello":
            self.close(MALFORMED, reason="malformed frame: the first one must be hello")
            return
        self._early = []
        self.run(request, greeting.hello(self, request))

    def _do(self, request: Request) -> None:
        wait = self.context.frame_limit.wait(self.id, self.heard)
        if wait:
            self.refuse(request, frames.Throttled(wait))
            return
        try:
            work = ops.OPS.get(request.op, ops.unknown)(self, request)
        except ServiceError as error:
            self.refuse(request, error)
        else:
            if work is not None:
                self.run(request, work)

    def welcomed(self, claims: Claims) -> None:
        """Called by hello once the user is known."""
        self.user_id = UUID(claims.sub)
        self.renew(claims)
        self.open = True
        context = self.context
        self._heartbeat_at = self.heard + context.heartbeat_seconds * (0.5 + 0.5 * self.jitter)

    def take_early(self) -> None:
        early, self._early = self._early or [], None
        for line in early:
            if not self.closed:
                self._take(line)

    def renew(self, claims: Claims) -> None:
        self.claims = claims
        self._warned = False

    def run(self, request: Request, work: Coroutine[Any, Any, object]) -> None:
        """Does what an operation needs to wait for, beside the others of this socket, and answers."""
        self.began()
        self.context.hub.spawn(self._run(request, work))

    async def _run(self, request: Request, work: Coroutine[Any, Any, object]) -> None:
        try:
            result = await work
        except ServiceError as error:
            self.refuse(request, error)
        except Exception as error:
            # The peer must hear that it failed, whatever it was: it would wait for ever, and the log has the cause.
            log.exception("operation_failed", op=request.op)
            self.refuse(request, Unavailable() if is_unavailable(error) else ServerFault())
        else:
            self.reply(request, result)
        finally:
            self.ended()

    def began(self) -> None:
        self.in_flight += 1
        if self.in_flight == _MOST_IN_FLIGHT:
            self.wire.hold(on=True)

    def ended(self) -> None:
        self.in_flight -= 1
        if self.in_flight == _MOST_IN_FLIGHT // 2:
            self.wire.hold(on=False)
        if self._leaving and not self.in_flight:
            self._leave()

    def reply(self, request: Request, result: object) -> None:
        if request.number is not None and result is not None and not self.closed:
            self.push(frames.answer(request.number, result))

    def refuse(self, request: Request, error: ServiceError) -> None:
        if request.number is not None and not self.closed:
            self.push(frames.refusal(request.number, error))
        # Slow mode is part of an ordinary conversation; going on about it runs into the limits of sending.
        if error.status == 429 and not isinstance(error, SlowMode):
            self._strike()

    def _strike(self) -> None:
        if self.heard - self._strikes_since > _STRIKE_SECONDS:
            self._strikes_since, self._strikes = self.heard, 0
        self._strikes += 1
        if self._strikes >= _MOST_STRIKES:
            self.close(FLOOD, retry_ms=10_000)

    def removed_from(self, key: str) -> None:
        self.streams.pop(key, None)
        self.forget_stream(key)
        self.push(frames.packet(frames.push(key, "gone", {"reason": "removed"})))

    def follows(self, stream: str) -> bool:
        return stream in self.streams or not stream.startswith("c:")

    def spares(self, stream: str) -> bool:
        return self.focus is not None and stream not in self.focus and stream in self.streams

    def give_up(self, stream: str) -> bytes:
        """As if the client had unsubscribed: it asks again, with its position, when it looks."""
        followed = self.streams.pop(stream)
        self.context.hub.unfollow(self, followed)
        said = {"epoch": followed.epoch, "top": followed.seq}
        return frames.packet(frames.push(stream, "resync", said))

    def visit(self, now: float, wall: float) -> None:
        """Looks after all timers, about once a second."""
        if self.closed:
            return
        if not self.open:
            if now - self._opened_at > HELLO_SECONDS:
                self.close(HELLO_TIMEOUT)
            return
        if now - self.heard > self.context.idle_seconds:
            self.close(SILENT)
        elif self.stalls(now):
            self.close(SLOW, retry_ms=1000)
        elif now >= self._heartbeat_at:
            self._heartbeat_at = now + self.context.heartbeat_seconds * (1 + 0.1 * self.jitter)
            self._beat(now)
        self._check_expiry(wall)

    def _beat(self, now: float) -> None:
        """Tells how far the streams have come, so that a client knows what it missed though nothing follows."""
        # What waits for a slow reader is behind these numbers: it would take it for lost.
        streams = () if self.blocked else self.streams.values()
        since = now - 2 * self.context.heartbeat_seconds
        tops = {s.key: (s.epoch, top) for s in streams if (top := s.top_for(self, since)) is not None}
        self.push(frames.packet(frames.pos(tops) + b"\n" + _BEAT) if tops else _HEARTBEAT)

    def _check_expiry(self, wall: float) -> None:
        assert self.claims is not None  # noqa: S101  -- an open session has claims
        if wall >= self.claims.exp + GRACE_SECONDS:
            self.close(EXPIRED)
        elif wall >= self.claims.exp - WARN_SECONDS and not self._warned:
            self._warned = True
            self.push(frames.notice("auth.expiring", exp=self.claims.exp))

    def leave(self) -> None:
        """The process ends: what was begun is finished and answered, then the socket closes."""
        if self._leaving or self.closed:
            return
        self._leaving = True
        self.wire.hold(on=True)
        if self.in_flight:
            asyncio.get_running_loop().call_later(_LEAVE_SECONDS, self._leave)
        else:
            self._leave()

    def _leave(self) -> None:
        self.close(GOING_AWAY, retry_ms=int(500 + 4500 * self.jitter))


_BEAT = b'{"t":"hb"}'
_HEARTBEAT = frames.packet(_BEAT)
