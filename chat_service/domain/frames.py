"""What goes over a socket, down to the bytes.

A packet is a whole WebSocket frame, header included. It is made once and written to every subscriber as it is: a
server's frames carry no mask, so all of them get the same bytes.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from chat_service.errors import SlowMode
from libs.errors import Invalid, RateLimited, ServiceError, Unavailable

_MOST_LINES = 64
_MOST_BYTES = 65_536


def packet(payload: bytes) -> bytes:
    """A text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def lines(packet: bytes) -> list[bytes]:
    """What is in a text frame of ours."""
    size = packet[1]
    return packet[4 if size == 126 else 10 if size == 127 else 2 :].split(b"\n")


def pack(lines: Sequence[bytes]) -> list[bytes]:
    """Few frames with many lines: a frame costs a client and a server as much as a kilobyte does."""
    if len(lines) == 1:
        return [packet(lines[0])]
    packets, waiting, size = [], list[bytes](), 0
    for line in lines:
        if waiting and (len(waiting) == _MOST_LINES or size + len(line) > _MOST_BYTES):
            packets.append(packet(b"\n".join(waiting)))
            waiting, size = [], 0
        waiting.append(line)
        size += len(line) + 1
    if waiting:
        packets.append(packet(b"\n".join(waiting)))
    return packets


def dump(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def load(data: bytes | str) -> Any:
    """Raises ValueError for anything but JSON in UTF-8."""
    return orjson.loads(data)


def event(conversation_id: UUID, seq: int, kind: str, data: object) -> bytes:
    """The line of a durable event; `data` may be JSON already."""
    body = data if isinstance(data, bytes) else dump(data)
    return b'{"s":"c:%b","q":%d,"t":"%b","d":%b}' % (str(conversation_id).encode(), seq, kind.encode(), body)


def push(stream: str, kind: str, data: object) -> bytes:
    """The line of a push without a number: it may be lost, and what it says can be read elsewhere."""
    return b'{"s":"%b","t":"%b","d":%b}' % (stream.encode(), kind.encode(), dump(data))


def notice(kind: str, **data: object) -> bytes:
    """A packet about the socket itself, as `hb` and `goaway`."""
    return packet(dump({"t": kind, "d": data} if data else {"t": kind}))


def pos(tops: Mapping[str, tuple[int, int]]) -> bytes:
    """The line that says how far streams have come: epoch and number of the last event of each."""
    return b'{"t":"pos","d":{"tops":%b}}' % dump(tops)


def answer(request: int, data: object) -> bytes:
    return packet(b'{"i":%d,"ok":%b}' % (request, dump(data)))


def refusal(request: int, error: ServiceError) -> bytes:
    return packet(b'{"i":%d,"err":%b}' % (request, dump(described(error))))


def described(error: ServiceError) -> dict[str, Any]:
    retry_ms = 1000 * error.retry_after if isinstance(error, RateLimited | Unavailable) else 0
    if isinstance(error, Throttled | SlowMode):
        retry_ms = error.retry_ms
    said: dict[str, Any] = {
        "code": error.code,
        "retry": retry_ms > 0 or error.status >= 500,
        "retry_ms": retry_ms,
        "detail": error.detail,
    }
    if isinstance(error, Invalid) and error.errors:
        said["errors"] = [{"field": e.field, "message": e.message} for e in error.errors]
    return said


class Throttled(RateLimited):
    """Too fast; milliseconds for a socket, whole seconds for HTTP."""

    def __init__(self, seconds: float) -> None:
        self.retry_ms = int(seconds * 1000) + 1
        super().__init__(int(seconds) + 1)
