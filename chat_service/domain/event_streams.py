"""The socket's stand-in where there are none: the same session, told over an HTTP answer that does not end.

What a session writes are WebSocket frames; here their contents become server-sent events, a line each. Positions go out
as the `id` of events, which a browser repeats when it comes back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from chat_service.domain import frames
from chat_service.domain.following import Position, Wanted, conversation_of
from chat_service.errors import NoConversation, invalid

if TYPE_CHECKING:
    from chat_service.domain.sessions import Session

# As much as the buffer of a socket takes.
_FULL_BYTES = 65_536
_POSITION_SECONDS = 1.0
_END_SECONDS = 10.0
# Longer ones would not fit into the header with which a browser comes back.
_MOST_ID = 6_000
_MOST_NUMBER = 1 << 62


class EventWire:
    """What a session writes, until it is sent. One writer; it waits for the peer, nobody else does."""

    def __init__(self, abort: Callable[[], None]) -> None:
        self.held = False
        self.session: Session | None = None
        self._abort = abort
        self._waiting: list[bytes] = []
        self._size = 0
        self._awake = asyncio.Event()
        self._ended = False
        self._told = ""
        self._tell_at = 0.0

    def write(self, packet: bytes) -> None:
        self._waiting.append(packet)
        self._size += len(packet)
        self._awake.set()
        if self._size > _FULL_BYTES and self.session is not None:
            self.session.block()

    def write_many(self, packets: list[bytes]) -> None:
        for packet in packets:
            self.write(packet)

    def hold(self, *, on: bool) -> None:
        self.held = on

    def end(self, code: int, reason: str) -> None:
        if not self._ended:
            self.write(frames.notice("closed", code=code, reason=reason))
            self._ended = True
            # A peer that reads nothing would keep the writer for ever.
            asyncio.get_running_loop().call_later(_END_SECONDS, self._abort)

    async def run(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Sends until the session is closed."""
        loop = asyncio.get_running_loop()
        while True:
            await self._awake.wait()
            self._awake.clear()
            packets, self._waiting, self._size = self._waiting, [], 0
            body = b"".join(map(_events, packets)) + self._position(loop.time())
            if body:
                await send(body)
            if self._ended and not self._waiting:
                return
            session = self.session
            if session is not None:
                session.heard = loop.time()
                if session.blocked and not self._waiting:
                    session.unblock()

    def _position(self, now: float) -> bytes:
        """The position behind all that was sent, at most once a second: it may be as long as the events."""
        session = self.session
        if session is None or session.blocked or self._ended:
            return b""
        if now < self._tell_at:
            asyncio.get_running_loop().call_at(self._tell_at, self._awake.set)
            return b""
        text = positions(session)
        if not text or text == self._told or len(text) > _MOST_ID:
            return b""
        self._told, self._tell_at = text, now + _POSITION_SECONDS
        return b"id: %b\n\n" % text.encode()


def _events(packet: bytes) -> bytes:
    """The lines of a frame as events; `goaway` also tells a browser when to come back."""
    lines = _payload(packet).split(b"\n")
    said = b"".join(b"data: %b\n\n" % line for line in lines)
    if lines[0].startswith(b'{"t":"goaway"'):
        return b"retry: %d\n" % frames.load(lines[0])["d"]["retry_ms"] + said
    return said


def _payload(packet: bytes) -> bytes:
    """What `frames.packet` wrapped."""
    return packet[{126: 4, 127: 10}.get(packet[1], 2) :]


def positions(session: "Session") -> str:
    """`c:<id>@<epoch>.<q>,...`; empty while one of the streams still has something to be told."""
    tops = {stream: stream.top_for(session, 0.0) for stream in session.streams.values()}
    if None in tops.values():
        return ""
    return ",".join(f"{stream.key}@{stream.epoch}.{top}" for stream, top in tops.items())


def parse_positions(text: str) -> Wanted:
    """What `positions` wrote; a stream without a position is followed from now on. Raises Invalid."""
    return dict(map(_wanted, text.split(","))) if text else {}


def _wanted(part: str) -> tuple[str, Position | None]:
    key, at, position = part.partition("@")
    try:
        conversation_of(key)
        epoch, _, number = position.partition(".")
        found = (int(epoch), int(number)) if at else None
    except (NoConversation, ValueError):
        raise invalid("resume", "This must be streams with positions, as in c:<id>@1.42,c:<id>.") from None
    if found is not None and not all(0 <= part < _MOST_NUMBER for part in found):
        raise invalid("resume", "A position is <epoch>.<q>.")
    return key, found


def greeting(wanted: Wanted) -> bytes:
    data: dict[str, Any] = {"v": 1}
    if wanted:
        data["resume"] = wanted
    return frames.dump({"op": "hello", "d": data})
