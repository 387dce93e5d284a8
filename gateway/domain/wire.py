"""HTTP/1.1 from bytes: one strict grammar for the heads and bodies of both sides, in few steps that run in C.

What does not match is refused, never repaired: no folded lines, no bare CR or LF, no space before a colon, no control
characters, one way to write a length. Whatever two parsers could read in two ways has no reading here.
"""

import re
from typing import Final, NamedTuple

Headers = list[tuple[bytes, bytes]]

CHUNKED: Final = -1
"""In place of a length: the body says itself where it ends."""
_MAX_CHUNK_LINE = 256
_MAX_TRAILER_BYTES = 16_384

# Possessive and without overlap, so that no input makes them take more than one pass.
_FIELDS = rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
_BLOCK = re.compile(_FIELDS)
_REQUEST_LINE = re.compile(rb"([A-Z]++) ([\x21-\x7e]++) HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n")
_FORBIDDEN_TRAILER = re.compile(rb"(?im)^(?:content-length|transfer-encoding|host)[ \t]*:")
# What no head can become good by any more bytes.
_HOPELESS = re.compile(rb"(?<!\r)\n|\r(?![\n\r]|\Z)|\x00|\r\r")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_LENGTH = re.compile(rb"[0-9]{1,15}")


class Malformed(Exception):
    """Bytes that are no HTTP/1.1, or that mean more than one thing."""


class RequestLine(NamedTuple):
    method: bytes
    target: bytes
    version: bytes  # b"1" for HTTP/1.1, b"0" for HTTP/1.0
    end: int


class StatusLine(NamedTuple):
    version: bytes
    status: int
    end: int


def request_line(data: bytes, start: int) -> RequestLine:
    """Raises Malformed."""
    match = _REQUEST_LINE.match(data, start)
    if match is None:
        raise Malformed
    method, target, version = match.groups()
    return RequestLine(method, target, version, match.end())


def status_line(data: bytes) -> StatusLine:
    match = _STATUS_LINE.match(data)
    if match is None:
        raise Malformed
    return StatusLine(match[1], int(match[2]), match.end())


def field_lines(block: bytes) -> list[bytes]:
    """The lines of all fields, without their ends. `block` ends with the empty line. Raises Malformed."""
    match = _BLOCK.fullmatch(block)
    if match is None:
        raise Malformed
    fields = match[1]
    return fields[:-2].split(b"\r\n") if fields else []


def split_lines(lines: list[bytes]) -> Headers:
    """Names in lower case, values without the blanks around them."""
    headers: Headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    return headers


def body_length(lengths: list[bytes] | None, codings: list[bytes] | None) -> int | None:
    """From the values of Content-Length and Transfer-Encoding: bytes, CHUNKED, or None where neither is there.

    Raises Malformed for whatever has a second reading: both at once, one of them twice, another coding.
    """
    if codings is not None:
        if lengths is not None or len(codings) != 1 or codings[0].lower() != b"chunked":
            raise Malformed
        return CHUNKED
    if lengths is None:
        return None
    if len(lengths) != 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise Malformed
    return int(lengths[0])


def hopeless(data: bytes, start: int) -> bool:
    """Whether a head that begins so can never be good; all before `start` was looked at before."""
    return _HOPELESS.search(data, max(0, start)) is not None


class Chunks:
    """The chunked coding, as it arrives. Extensions and trailers are read for their form and dropped."""

    __slots__ = ("_left", "_line", "_step", "_trailer")

    def __init__(self) -> None:
        self._left = 0
        self._line = b""  # of what is not data: the part that has arrived
        self._trailer = 0
        self._step = self._size

    def feed(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Adds what the chunks hold to `out`. Returns where the body ended, or -1: there is more. Raises Malformed."""
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                out.append(piece)
                continue
            end = data.find(b"\n", at)
            line = self._line + (data[at:] if end == -1 else data[at : end + 1])
            if len(line) > _MAX_CHUNK_LINE:
                raise Malformed
            if end == -1:
                self._line = line
                return -1
            if not line.endswith(b"\r\n"):
                raise Malformed
            self._line = b""
            at = end + 1
            if self._step(line):
                return at
        return -1

    def _size(self, line: bytes) -> bool:
        match = _CHUNK.fullmatch(line, 0, len(line) - 2)
        if match is None:
            raise Malformed
        self._left = int(match[1], 16)
        self._step = self._behind if self._left else self._field
        return False

    def _behind(self, line: bytes) -> bool:
        """Data has its own line end."""
        if line != b"\r\n":
            raise Malformed
        self._step = self._size
        return False

    def _field(self, line: bytes) -> bool:
        if line == b"\r\n":
            return True
        self._trailer += len(line)
        if (
            self._trailer > _MAX_TRAILER_BYTES
            or _BLOCK.fullmatch(line + b"\r\n") is None
            or _FORBIDDEN_TRAILER.match(line)
        ):
            raise Malformed
        return False
