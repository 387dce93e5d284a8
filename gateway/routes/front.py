"""The side of the client: one connection, one request at a time, each with one meaning and one answer.

What is passed on goes past ASGI; the gateway's own pages are an application behind it. What a client sends ahead of the
answers that it is owed waits in the connection, not in memory.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.deps import Gateway
from gateway.domain.crowd import Seat
from gateway.domain.head import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, Fields, Head, too_long
from gateway.domain.metrics import TALLY
from gateway.domain.wire import CHUNKED, Chunks, Headers, Malformed, hopeless, request_line
from gateway.errors import BadFraming, HeadTooLarge, TargetTooLong
from gateway.routes.answers import own_answer, refusal
from gateway.routes.exchange import Exchange
from gateway.routes.holds import HOLD_PIPELINE, HOLD_UPGRADE, HOLD_UPSTREAM
from libs.errors import ServiceError

_BUFFERED_BYTES = 65_536
_MOST_REMEMBERED = 4096
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 4 << 20


class Front(asyncio.Protocol):
    """As uvicorn's protocol: it makes one for each connection, and asks it to `shutdown` when it is to stop."""

    __slots__ = (
        "_chunks",
        "_discarded",
        "_ended",
        "_exchange",
        "_fields",
        "_in_head",
        "_leaving",
        "_left",
        "_lingering",
        "_scanned",
        "_taking",
        "_unread",
        "app",
        "deadline",
        "draining",
        "gateway",
        "held",
        "on_deadline",
        "peer",
        "seat",
        "server_state",
        "transport",
        "write_paused",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002  -- as uvicorn calls it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.app = config.loaded_app
        self.gateway = cast(Gateway, cast(Any, config.app).state.gateway)
        self.server_state = server_state
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)  # until the connection is made
        self.peer = ""
        self.seat = Seat(self.gateway.crowd)
        self.deadline = 0.0
        self.on_deadline: Callable[[], None] = self._expire_head
        self.held = 0
        self.write_paused = False
        self.draining = False
        self._exchange: Exchange | None = None
        self._fields: Fields | None = None  # of the last request
        self._unread = b""  # of the next head, and what came behind it
        self._scanned = 0
        self._in_head = True  # the deadline is that of a head
        self._left = 0  # of the body, where its length is known
        self._chunks: Chunks | None = None
        self._taking = False
        self._ended = False
        self._lingering = False
        self._leaving = False
        self._discarded = 0

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.begin(cast(asyncio.Transport, transport), peer_of(transport))  # not a subclass of it on uvloop

    def begin(self, transport: asyncio.Transport, peer: str) -> None:
        """A connection of `peer`, if there is room for one more."""
        self.transport = transport
        self.peer = peer
        transport.set_write_buffer_limits(high=_BUFFERED_BYTES)
        try:
            self.seat.take(self.gateway.policy.callers.direct(peer))
        except ServiceError as error:
            self._turn_away(error)
            return
        self.deadline = monotonic() + self.gateway.times.header
        self.server_state.connections.add(cast(Any, self))
        self.gateway.watched.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  -- as the transport calls it
        self.server_state.connections.discard(cast(Any, self))
        self.gateway.watched.discard(self)
        self.seat.leave()
        self._ended = True
        self.on_deadline = _nothing
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES:
                self.transport.abort()
            return
        if self._unread:
            data = self._unread + data
            self._unread = b""
        self._take(data)

    def pause_writing(self) -> None:
        self.write_paused = True
        if self._exchange is not None:
            self._exchange.pause_answer()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._exchange is not None:
            self._exchange.resume_answer()
        elif not self._taking:
            self._go_on()

    def drain(self) -> None:
        """The server is about to stop: from now on every answer is the last of its connection."""
        self.draining = True

    def shutdown(self) -> None:
        """What was on its way had time to arrive. What runs is finished; a head that has begun keeps its deadline."""
        self.draining = self._leaving = True
        if self._exchange is None and not (self._unread or self._lingering):
            self.close()

    # What has arrived.

    def _take(self, data: bytes) -> None:
        """As far as it goes: until a part is missing, or a request is not answered yet."""
        self._taking = True
        while data and not self._ended:
            exchange = self._exchange
            if exchange is None:
                data = self._take_head(data)
            elif exchange.request_complete:
                self._unread = data
                self.hold(HOLD_PIPELINE)
                break
            else:
                data = self._take_body(exchange, data)
        self._taking = False

    def _take_head(self, data: bytes) -> bytes:
        """Begins the request whose head is complete. Returns what came behind it that is nobody's yet."""
        if self.write_paused:
            # Whoever does not read the answers gets no more of them.
            self._unread = data
            self.hold(HOLD_PIPELINE)
            self._give(self.gateway.times.body, self.transport.abort)
            return b""
        start = 2 if data.startswith(b"\r\n") else 0  # an empty line before a request is allowed
        end = data.find(b"\r\n\r\n", max(start, self._scanned - 3)) + 4
        if end == 3:
            self._wait_for_head(data)
            return b""
        self._scanned = 0
        if end - start > MAX_HEAD_BYTES:
            return self._refuse(HeadTooLarge(), data)
        try:
            method, target, version, at = request_line(data, start)
            fields = self._fields_of(data[at:end], version)
        except Malformed:
            return self._refuse(too_long(data) or BadFraming(), data)
        if len(target) > MAX_TARGET_BYTES:
            return self._refuse(TargetTooLong(), data)
        if len(fields.headers) > MAX_HEADERS:
            return self._refuse(HeadTooLarge(), data)
        return self._begin(Head(method, target, fields), data[end:])

    def _fields_of(self, block: bytes, version: bytes) -> Fields:
        """Those of the last request, if they are the same."""
        fields = self._fields
        if fields is None or fields.block != block or fields.version != version:
            fields = Fields(block, version)
            self._fields = fields if len(block) <= _MOST_REMEMBERED else None
        return fields

    def _begin(self, head: Head, data: bytes) -> bytes:
        exchange = self._exchange = Exchange(self, self.gateway, head)
        self._in_head = False
        self.deadline = 0.0  # that of the head; each step from here on has its own
        fields = head.fields
        if fields.upgrade or fields.unclear:
            exchange.early = data
            self._ended = True
            self.hold(HOLD_UPGRADE)
            data = b""
        elif fields.length:
            self._left, self._chunks = (0, Chunks()) if fields.length == CHUNKED else (fields.length, None)
            exchange.request_complete = False
            if data:
                data = self._take_body(exchange, data)
        elif not fields.keep_alive:
            self._ended = True
        # Behind the body, so that a small one leaves together with its head.
        exchange.start()
        return data

    def _take_body(self, exchange: Exchange, data: bytes) -> bytes:
        if self._chunks is not None:
            return self._take_chunks(exchange, self._chunks, data)
        left = self._left
        piece, rest = (data, b"") if len(data) <= left else (data[:left], data[left:])
        self._left -= len(piece)
        exchange.feed(piece)
        if not self._left:
            self._end_request(exchange)
        return rest

    def _take_chunks(self, exchange: Exchange, chunks: Chunks, data: bytes) -> bytes:
        pieces: list[bytes] = []
        try:
            end = chunks.feed(data, 0, pieces)
        except Malformed:
            self._ended = True
            exchange.break_off(BadFraming())
            return b""
        if pieces:
            exchange.feed(b"".join(pieces))
        if end == -1:
            return b""
        self._end_request(exchange)
        return data[end:]

    def _end_request(self, exchange: Exchange) -> None:
        exchange.end_request()
        if not exchange.keep_alive:
            self._ended = True

    def _wait_for_head(self, data: bytes) -> None:
        """For the rest of a head, unless it can never become one."""
        error: ServiceError | None = too_long(data)
        if error is None and hopeless(data, self._scanned - 3):
            error = BadFraming()
        if error is not None:
            self._refuse(error, data)
            return
        self._unread = data
        self._scanned = len(data)
        if not self._in_head:
            self._in_head = True
            self._give(self.gateway.times.header, self._expire_head)

    def _refuse(self, error: ServiceError, data: bytes) -> bytes:
        """Bytes that are no request. They get one answer, the last of this connection."""
        self._ended = True
        words = data[:MAX_TARGET_BYTES].split(b" ", 2)
        # The path only chooses the shape of the answer.
        target = words[1] if len(words) == 3 and words[1].isascii() else b"/"
        exchange = self._exchange = Exchange(self, self.gateway, Head(b"GET", target, Fields()))
        exchange.refuse_unread(error)
        return b""

    def _turn_away(self, error: ServiceError) -> None:
        """There is no room. It is said without reading a byte: more would cost what there is too little of."""
        self._ended = True
        TALLY.refused(error.code)
        facts = self.gateway.policy.facts(Head(b"GET", b"/", Fields()), self.peer)
        status, lines, body = refusal(error, b"/", facts.request_id)
        self.write(own_answer(status, lines, body, facts=facts, date=self.date, keep_alive=False, head_only=False))
        self.transport.close()

    def _go_on(self) -> None:
        """With what came while an earlier request was being answered."""
        data, self._unread = self._unread, b""
        self.let(HOLD_PIPELINE)
        if data:
            self._take(data)

    # What the exchange in turn calls.

    def write(self, data: bytes) -> None:
        # Between the end of a transport and our hearing of it, uvloop raises where asyncio drops.
        if not self.transport.is_closing():
            self.transport.write(data)

    def writelines(self, parts: list[bytes]) -> None:
        if not self.transport.is_closing():
            self.transport.writelines(parts)

    def hold(self, reason: int) -> None:
        if not self.held and not self.transport.is_closing():
            self.transport.pause_reading()
        self.held |= reason

    def let(self, reason: int) -> None:
        held, self.held = self.held, self.held & ~reason
        if held and not self.held and not self.transport.is_closing():
            self.transport.resume_reading()

    def exchange_done(self, exchange: Exchange) -> None:
        """The answer is written. The next request has its turn, or the connection its end."""
        if self._exchange is not exchange:
            return
        self._exchange = None
        if self.held:
            self.let(HOLD_UPSTREAM)
        self.server_state.total_requests += 1
        if not exchange.request_complete or (not exchange.keep_alive and exchange.status >= 400):
            self.linger()
        elif self._leaving or (self.draining and not exchange.keep_alive):
            # With more in the buffers than was answered, closing would reset the connection and lose the answer.
            self.linger()
        elif not exchange.keep_alive:
            self.close()
        else:
            self._give(self.gateway.times.keep_alive, self.close)
            if self._unread and not self._taking:
                self._go_on()

    def close(self) -> None:
        """Once what was written has been read; but nobody may take for ever to read it."""
        self._ended = True
        self.transport.close()
        self._give(self.gateway.times.body, self.transport.abort)

    def linger(self) -> None:
        """Closes so that the answer arrives: closing with unread bytes would reset the connection and lose it."""
        if self.transport.is_closing() or self._lingering:
            return
        self._ended = self._lingering = True
        self._give(_LINGER_SECONDS, self.transport.abort)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.let(self.held)

    def hand_over(self) -> asyncio.Transport:
        """The transport, for good: the connection is a tunnel from now on."""
        self.server_state.connections.discard(cast(Any, self))
        self.gateway.watched.discard(self)
        self._exchange = self._fields = None
        self.on_deadline = _nothing
        self.let(HOLD_UPGRADE)
        return self.transport

    @property
    def date(self) -> bytes:
        defaults: Headers = self.server_state.default_headers
        return defaults[0][1] if defaults else b""

    def look(self, now: float) -> None:
        if self._exchange is None:
            # A connection that rests remembers nothing; to one that does not, once a look costs little.
            self._fields = None
        if self.deadline and now > self.deadline:
            self.deadline = 0.0
            self.on_deadline()

    def _give(self, seconds: float, then: Callable[[], None]) -> None:
        self.deadline = monotonic() + seconds
        self.on_deadline = then

    def _expire_head(self) -> None:
        # Nothing is said: half a request has nobody to hear it, and an idle connection just ends.
        self.transport.abort()


def peer_of(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _nothing() -> None:
    """In place of a method of one's own, which would keep one alive until the collector comes."""
