"""The side of the client: uvicorn's protocol, with what it lacks.

Own: a deadline for the head, limits of head and target before they are in memory, one meaning for every message,
answers in the order of the requests, and a way past ASGI for what is only passed on. Requests for the gateway's own
pages take uvicorn's way to the application.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.deps import Gateway
from gateway.domain.head import Head, Headers
from gateway.errors import BadFraming, HeadTooLarge, TargetTooLong
from gateway.routes.exchange import Exchange
from libs.errors import ServiceError

_MAX_TARGET_BYTES = 8192
_MAX_HEAD_BYTES = 16_384
_MAX_HEADERS = 100
_MAX_PIPELINED = 100
_BUFFERED_BYTES = 65_536
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 4 << 20


# Why the client is not read from: bits, since operations on an enum's flags cost a microsecond each.
HOLD_UPSTREAM = 1  # the service takes the body more slowly than the client sends it
HOLD_PIPELINE = 2  # an earlier request is not answered yet
HOLD_UPGRADE = 4  # what follows belongs to the socket, once there is one


class Refused(Exception):
    """Thrown through the parser to stop it."""


class Front(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.gateway = cast(Gateway, cast(Any, config.app).state.gateway)
        # uvicorn's own parser is lenient about data after `Connection: close`.
        self.parser = httptools.HttpRequestParser(self)
        self.peer = ""
        self.deadline = 0.0
        self.on_deadline: Callable[[], None] = self._expire_head
        self._exchanges: deque[Exchange] = deque()
        self._fresh = True
        self._head_open = False
        self._fed = 0
        self._size = 0
        self._refusal: ServiceError | None = None
        self._ended = False
        self._lingering = False
        self._discarded = 0
        self.held = 0
        self._advancing = False
        self.draining = False

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_BUFFERED_BYTES)
        self.peer = self.client[0] if self.client else ""
        self.deadline = monotonic() + self.gateway.times.header
        self.gateway.watched.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gateway.watched.discard(self)
        while self._exchanges:
            self._exchanges.popleft().abandon()

    def data_received(self, data: bytes) -> None:
        if self._lingering or self._ended:
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES:
                self.transport.abort()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._exchanges[-1].early = data[upgrade.args[0] :]
            self._ended = True
            self.hold(HOLD_UPGRADE)
        except httptools.HttpParserError:
            self._break()
        if self._head_open:
            self._fed += len(data)
            if self._fed > _MAX_HEAD_BYTES:
                self._break(HeadTooLarge())
        self._advance()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._exchanges:
            self._exchanges[0].pause_answer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._exchanges and self._exchanges[0].started:
            self._exchanges[0].resume_answer()
        elif not self._advancing:
            self._advance()

    def shutdown(self) -> None:
        """uvicorn is about to stop: finish what runs, take nothing new."""
        self.draining = True
        if not self._exchanges:
            self.transport.close()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._ended or len(self._exchanges) >= _MAX_PIPELINED:
            raise Refused
        self.url = b""
        self.headers = []
        self._size = self._fed = 0
        self._head_open = True
        if not self._exchanges and not self._fresh:
            self.deadline = monotonic() + self.gateway.times.header
            self.on_deadline = self._expire_head
        self._fresh = False

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > _MAX_TARGET_BYTES:
            self._refuse(TargetTooLong())

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_open:
            # A trailer. They are read for their framing and not passed on.
            self._size += len(name) + len(value)
            if self._size > _MAX_HEAD_BYTES:
                raise Refused
            return
        self._size += len(name) + len(value) + 4
        if self._size > _MAX_HEAD_BYTES or len(self.headers) >= _MAX_HEADERS:
            self._refuse(HeadTooLarge())
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._head_open = False
        parser = self.parser
        version = parser.get_http_version()
        upgrade = parser.should_upgrade()
        head = Head(parser.get_method(), self.url, self.headers, version, upgrade)
        keep_alive = version == "1.1" and not upgrade and parser.should_keep_alive()
        self._exchanges.append(Exchange(self, self.gateway, head, keep_alive=keep_alive))

    def on_body(self, body: bytes) -> None:
        self._exchanges[-1].feed(body)

    def on_message_complete(self) -> None:
        exchange = self._exchanges[-1]
        exchange.end_request()
        self._ended = self._ended or not exchange.keep_alive

    # What the exchange in turn calls.

    def write(self, *parts: bytes) -> None:
        # Between the end of a transport and our hearing of it, uvloop raises where asyncio drops.
        if self.transport.is_closing():
            return
        if len(parts) == 1:
            self.transport.write(parts[0])
        else:
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
        if not self._exchanges or self._exchanges[0] is not exchange:
            return
        self._exchanges.popleft()
        self.let(HOLD_UPSTREAM)
        self.server_state.total_requests += 1
        if not exchange.request_complete or (not exchange.keep_alive and exchange.status >= 400):
            self.linger()
        elif not exchange.keep_alive or (self.draining and not self._exchanges):
            self.close()
        elif not self._advancing:
            self._advance()

    def close(self) -> None:
        """Once what was written has been read; but nobody may take for ever to read it."""
        self._ended = True
        self._exchanges.clear()
        self.transport.close()
        self.deadline = monotonic() + self.gateway.times.body
        self.on_deadline = self.transport.abort

    def linger(self) -> None:
        """Closes so that the answer arrives: closing with unread bytes would reset the connection and lose it."""
        if self.transport.is_closing() or self._lingering:
            return
        self._lingering = True
        self._exchanges.clear()
        self.deadline = monotonic() + _LINGER_SECONDS
        self.on_deadline = self.transport.abort
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.let(self.held)

    def run_page(self, cycle: RequestResponseCycle) -> None:
        self._start_asgi_task(cycle, self.app)

    def hand_over(self) -> asyncio.Transport:
        """The transport, for good: the connection is a tunnel from now on."""
        self.connections.discard(self)
        self.gateway.watched.discard(self)
        self._exchanges.clear()
        self.let(HOLD_UPGRADE)
        return self.transport

    @property
    def date(self) -> bytes:
        defaults: Headers = self.server_state.default_headers
        return defaults[0][1] if defaults else b""

    def look(self, now: float) -> None:
        if self.deadline and now > self.deadline:
            self.deadline = 0.0
            self.on_deadline()

    # Inside.

    def _refuse(self, error: ServiceError) -> None:
        self._refusal = error
        raise Refused

    def _break(self, error: ServiceError | None = None) -> None:
        """What came last has no meaning. What came before it is still answered, in order; then the connection ends."""
        if self._ended:
            return
        self._ended = True
        self._head_open = False
        self._refusal = self._refusal or error or BadFraming()
        last = self._exchanges[-1] if self._exchanges else None
        if last is not None and not last.request_complete:
            last.break_off(self._refusal)
            self._refusal = None

    def _advance(self) -> None:
        """Starts the request whose turn it is, and those after it that are answered at once."""
        self._advancing = True
        while self._exchanges and not self._exchanges[0].started and not self.flow.write_paused:
            # A refusal that ends the connection empties the queue: what came behind it is never looked at.
            self._exchanges[0].start()
        self._advancing = False
        if self.transport.is_closing() or self._lingering:
            return
        if not self._exchanges:
            self.let(HOLD_PIPELINE)
            self._wait()
        elif len(self._exchanges) > 1 or not self._exchanges[0].started:
            self.hold(HOLD_PIPELINE)
            if not self._exchanges[0].started:
                # Whoever does not read the answers gets no more of them.
                self.deadline = monotonic() + self.gateway.times.body
                self.on_deadline = self.transport.abort
        else:
            self.let(HOLD_PIPELINE)

    def _wait(self) -> None:
        """For the next request, or the rest of its head."""
        if self._refusal is not None:
            self._answer_broken(self._refusal)
        elif not self._head_open:
            self.deadline = monotonic() + self.gateway.times.keep_alive
            self.on_deadline = self.close
        elif self.on_deadline != self._expire_head:
            self.deadline = monotonic() + self.gateway.times.header
            self.on_deadline = self._expire_head

    def _answer_broken(self, error: ServiceError) -> None:
        self._refusal = None
        head = Head(b"GET", self.url or b"/", [])
        exchange = Exchange(self, self.gateway, head, keep_alive=False)
        self._exchanges.append(exchange)
        exchange.refuse_unread(error)

    def _expire_head(self) -> None:
        # Nothing is said: half a request has nobody to hear it, and an idle connection just ends.
        self.transport.abort()
