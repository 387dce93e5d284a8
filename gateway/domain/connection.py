"""One connection to a service, asked again and again. Reads one answer at a time and hands its parts on as they come.

A service that answers what nobody asked, or in a way that has two readings, is not believed: the connection ends and is
never used again.
"""

import asyncio
from typing import Any, Protocol, cast

import httptools

from gateway.domain.head import Headers

_MAX_HEAD_BYTES = 65_536
_MAX_HEADERS = 200
_BUFFERED_BYTES = 65_536


class BadAnswer(Exception):
    """What came back is no answer to what was asked."""


class Asker(Protocol):
    """Who waits for the answer. After `answer_ended` or `answer_failed` nothing more is called.

    `answer_flush` comes after all parts that arrived together: a write for each would cost a system call each.
    """

    def answer_began(self, status: int, headers: Headers) -> None: ...
    def answer_body(self, data: bytes) -> None: ...
    def answer_flush(self) -> None: ...
    def answer_ended(self) -> None: ...
    def answer_failed(self, reason: str) -> None: ...
    def answer_upgraded(self, status: int, headers: Headers, rest: bytes) -> None: ...
    def pause_sending(self) -> None: ...
    def resume_sending(self) -> None: ...


class Keeper(Protocol):
    """Where a connection goes when its answer has ended, and hears of its end."""

    def release(self, connection: "UpstreamConnection") -> None: ...
    def forget(self, connection: "UpstreamConnection") -> None: ...


class UpstreamConnection(asyncio.Protocol):
    __slots__ = (
        "_asker",
        "_complete",
        "_fed",
        "_head_open",
        "_headers",
        "_keeper",
        "_no_body",
        "_parser",
        "_paused",
        "_reusable",
        "_status",
        "_until_close",
        "_upgrading",
        "idle_since",
        "request_open",
        "served",
        "transport",
    )

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._asker: Asker | None = None
        self._paused = False
        self._parser: Any = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self.served = 0
        # Set while the body is still being sent; an answer may come earlier, and then the rest has nowhere to go.
        self.request_open = False
        self._reset()

    def _reset(self) -> None:
        self._headers: Headers = []
        self._status = 0
        self._fed = 0
        self._head_open = True
        self._complete = False
        self._no_body = False
        self._reusable = False
        self._until_close = False
        self._upgrading = False

    def ask(self, asker: Asker, request: bytes, *, head_only: bool, upgrading: bool) -> None:
        """`head_only`: the answer to a HEAD has a length and no body. `upgrading`: 101 is an answer."""
        self._reset()
        self._asker = asker
        self._no_body = head_only
        self._upgrading = upgrading
        self.write(request)

    def write(self, data: bytes) -> None:
        # Between the end of a transport and our hearing of it, uvloop raises where asyncio drops.
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def abort(self) -> None:
        """Nobody waits any more; the rest of the answer could only be mistaken for the next one."""
        self._asker = None
        self._reusable = False
        if self.transport is not None:
            self.transport.abort()

    def hand_over(self, protocol: asyncio.BaseProtocol) -> asyncio.Transport | None:
        """After 101 the bytes belong to somebody else."""
        transport, self.transport, self._asker = self.transport, None, None
        if transport is not None:
            transport.set_protocol(protocol)
        self._keeper.forget(self)
        return transport

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    @property
    def untouched(self) -> bool:
        """Kept from an earlier request, and not a byte came back: the service had closed it before it read ours."""
        return self.served > 0 and self._fed == 0

    def pause_reading(self) -> None:
        if not self._paused and self.open and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and self.open and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # not a subclass of it on uvloop
        self.transport = transport
        transport.set_write_buffer_limits(high=_BUFFERED_BYTES)

    def data_received(self, data: bytes) -> None:
        if self._asker is None:
            self._fail("unasked")
            return
        self._fed += len(data) if self._head_open else 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            # After a whole answer the answer stands, and only the connection is not to be trusted any more.
            self._reusable = False
            if not self._complete:
                self._fail("malformed")
                return
        if self._complete:
            self._finish()
        elif self._head_open and self._fed > _MAX_HEAD_BYTES:
            self._fail("head too large")
        else:
            self._flush()

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._keeper.forget(self)
        asker, self._asker = self._asker, None
        if asker is None:
            return
        if self._until_close and exc is None:
            asker.answer_ended()
        else:
            asker.answer_failed("closed")

    def pause_writing(self) -> None:
        if self._asker is not None:
            self._asker.pause_sending()

    def resume_writing(self) -> None:
        if self._asker is not None:
            self._asker.resume_sending()

    # What the parser calls. An exception here makes the whole answer malformed.

    def on_message_begin(self) -> None:
        if self._complete:
            raise BadAnswer

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._complete:
            return
        if len(self._headers) >= _MAX_HEADERS or name is None:
            raise BadAnswer
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._status = self._parser.get_status_code()
        if status < 200:
            if status == 101 and not (self._upgrading and self._parser.should_upgrade()):
                raise BadAnswer
            return
        self._head_open = False
        self._no_body = self._no_body or status in (204, 304)
        self._until_close = not self._framed() and not self._no_body
        # Asked here: once the message has ended the parser has forgotten it.
        self._reusable = self._parser.should_keep_alive()
        if self._asker is not None:
            self._asker.answer_began(status, self._headers)
        if self._no_body:
            # The parser does not know what was asked and would wait for the body that a HEAD does not have.
            self._complete = True

    def on_body(self, data: bytes) -> None:
        if self._complete:
            raise BadAnswer
        if self._asker is not None:
            self._asker.answer_body(data)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._complete = True
        elif self._status != 101:
            self._headers = []

    def _framed(self) -> bool:
        framed = False
        for name, value in self._headers:
            if name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise BadAnswer
                framed = True
            elif name == b"content-length":
                framed = True
        return framed

    def _finish(self) -> None:
        asker, self._asker = self._asker, None
        reusable = self._reusable and not self.request_open
        # A kept connection that is not read from would be silent to whoever asks next, and deaf to its own end.
        self.resume_reading()
        if self._no_body:
            self._parser = httptools.HttpResponseParser(self)
        self.served += 1
        if reusable:
            self._keeper.release(self)
        elif self.transport is not None:
            self.transport.close()
        if asker is not None:
            asker.answer_ended()

    def _flush(self) -> None:
        if self._asker is not None and not self._head_open:
            self._asker.answer_flush()

    def _upgraded(self, rest: bytes) -> None:
        asker = self._asker
        if asker is not None:
            asker.answer_upgraded(self._status, self._headers, rest)

    def _fail(self, reason: str) -> None:
        asker, self._asker = self._asker, None
        if self.transport is not None:
            self.transport.abort()
        if asker is not None:
            asker.answer_failed(reason)
