"""One connection to a service, asked again and again. Reads one answer at a time and hands its parts on as they come.

A service that answers what nobody asked, or in a way that has two readings, is not believed: the connection ends and is
never used again.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from gateway.domain.headers import AnswerFields, answer_fields
from gateway.domain.wire import CHUNKED, Chunks, Malformed, field_lines, hopeless, status_line

_MAX_HEAD_BYTES = 65_536
_MAX_HEADERS = 200
_BUFFERED_BYTES = 65_536
_BEGINNING = b"HTTP/1."
_END_OF_HEAD = b"\r\n\r\n"


class Asker(Protocol):
    """Who waits for the answer. After `answer_ended` or `answer_failed` nothing more is called.

    `answer_flush` comes after all parts that arrived together: a write for each would cost a system call each.
    """

    def answer_began(self, status: int, fields: AnswerFields) -> None: ...
    def answer_body(self, data: bytes) -> None: ...
    def answer_flush(self) -> None: ...
    def answer_ended(self) -> None: ...
    def answer_failed(self, reason: str) -> None: ...
    def answer_upgraded(self, status: int, fields: AnswerFields, rest: bytes) -> None: ...
    def pause_sending(self) -> None: ...
    def resume_sending(self) -> None: ...


class Keeper(Protocol):
    """Where a connection goes when its answer has ended, and hears of its end."""

    def release(self, connection: "UpstreamConnection") -> None: ...
    def forget(self, connection: "UpstreamConnection") -> None: ...


class UpstreamConnection(asyncio.Protocol):
    __slots__ = (
        "_asker",
        "_chunks",
        "_head_only",
        "_keeper",
        "_left",
        "_paused",
        "_reusable",
        "_step",
        "_touched",
        "_unread",
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
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self.served = 0
        # Set while the body is still being sent; an answer may come earlier, and then the rest has nowhere to go.
        self.request_open = False
        self._reset()

    def _reset(self) -> None:
        self._step: Callable[[Asker, bytes], None] = self._take_head
        self._unread = b""  # the part of a head that has arrived
        self._touched = False
        self._left = 0
        self._chunks: Chunks | None = None
        self._reusable = False
        self._until_close = False

    def ask(self, asker: Asker, request: bytes, *, head_only: bool, upgrading: bool) -> None:
        """`head_only`: the answer to a HEAD has a length and no body. `upgrading`: 101 is an answer."""
        self._reset()
        self._asker = asker
        self._head_only = head_only
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
        self._step = _take_nothing
        if transport is not None:
            transport.set_protocol(protocol)
        self._keeper.forget(self)
        return transport

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    @property
    def untouched(self) -> bool:
        """Not a byte of an answer has come."""
        return not self._touched

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
        asker = self._asker
        if asker is None:
            self._fail("unasked")
            return
        self._touched = True
        try:
            self._step(asker, data)
        except Malformed:
            self._fail("malformed")

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._step = _take_nothing
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

    # The answer, step by step.

    def _take_head(self, asker: Asker, data: bytes) -> None:
        if self._unread:
            data = self._unread + data
        while (end := data.find(_END_OF_HEAD)) != -1:
            end += 4
            if end > _MAX_HEAD_BYTES:
                raise Malformed
            version, status, at = status_line(data)
            lines = field_lines(data[at:end])
            data = data[end:]
            if status >= 200 or status == 101:
                if len(lines) > _MAX_HEADERS:
                    raise Malformed
                self._begin(asker, status, answer_fields(lines, version), data)
                return
        # Something else than HTTP may never send an empty line.
        if len(data) > _MAX_HEAD_BYTES or data[:7] != _BEGINNING[: len(data)] or hopeless(data, len(self._unread) - 3):
            raise Malformed
        self._unread = data

    def _begin(self, asker: Asker, status: int, fields: AnswerFields, data: bytes) -> None:
        """The head of the answer, and what came with it of the body."""
        if status == 101:
            if not (self._upgrading and fields.socket):
                raise Malformed
            asker.answer_upgraded(status, fields, data)
            return
        length = fields.length
        self._reusable = fields.keep_alive
        asker.answer_began(status, fields)
        if self._head_only or status in (204, 304) or length == 0:
            self._finish(asker, surplus=bool(data))
            return
        if length is None:
            self._until_close = True
            self._step = self._take_all
        elif length == CHUNKED:
            self._chunks = Chunks()
            self._step = self._take_chunks
        else:
            self._left = length
            self._step = self._take_length
        if data:
            self._step(asker, data)
        else:
            asker.answer_flush()

    def _take_length(self, asker: Asker, data: bytes) -> None:
        left = self._left = self._left - len(data)
        if left > 0:
            asker.answer_body(data)
            asker.answer_flush()
        else:
            asker.answer_body(data[:left] if left else data)
            self._finish(asker, surplus=left < 0)

    def _take_chunks(self, asker: Asker, data: bytes) -> None:
        assert self._chunks is not None  # noqa: S101  -- set with this step
        pieces: list[bytes] = []
        end = self._chunks.feed(data, 0, pieces)
        if pieces:
            asker.answer_body(b"".join(pieces))
        if end == -1:
            asker.answer_flush()
        else:
            self._finish(asker, surplus=end < len(data))

    def _take_all(self, asker: Asker, data: bytes) -> None:
        asker.answer_body(data)
        asker.answer_flush()

    def _finish(self, asker: Asker, *, surplus: bool) -> None:
        """`surplus`: more came than the answer. It stands, and only the connection is not to be trusted any more."""
        self._asker = None
        # A kept connection that is not read from would be silent to whoever asks next, and deaf to its own end.
        self.resume_reading()
        self.served += 1
        if self._reusable and not self.request_open and not surplus:
            self._keeper.release(self)
        elif self.transport is not None:
            self.transport.close()
        asker.answer_ended()

    def _fail(self, reason: str) -> None:
        asker, self._asker = self._asker, None
        if self.transport is not None:
            self.transport.abort()
        if asker is not None:
            asker.answer_failed(reason)


def _take_nothing(_asker: Asker, _data: bytes) -> None:
    """In place of a method of one's own, which would keep one alive until the collector comes."""
    raise Malformed
