"""After 101: two connections joined byte by byte. No frame is parsed here, so none costs more than a copy."""

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import structlog

from gateway.deps import Gateway
from gateway.domain.connection import UpstreamConnection

if TYPE_CHECKING:
    from gateway.routes.front import Front

_BUFFERED_BYTES = 65_536
# The service tells its client why, and closes; what it has not closed by then is cut.
_REVOKED_SECONDS = 5.0
_GOODBYE_SECONDS = 10.0  # the same, when we stop

log = structlog.get_logger()


def join(
    front: "Front", upstream: UpstreamConnection, gateway: Gateway, session: str | None, *, early: bytes, rest: bytes
) -> None:
    """`session`: whose socket it is, if that is known. `early`: what the client sent before it knew; `rest`: what the
    service sent right after its 101."""
    tunnel = Tunnel(gateway, front, session)
    ours = End(tunnel)
    behind = upstream.hand_over(ours)
    client = front.hand_over()
    theirs = End(tunnel)
    if behind is None or behind.is_closing() or client.is_closing():
        client.abort()
        if behind is not None:
            behind.abort()
        tunnel.gone()
        return
    theirs.meet(client, ours)
    ours.meet(behind, theirs)
    tunnel.led_by(theirs)
    client.set_protocol(theirs)
    if rest:
        client.write(rest)
    if early:
        behind.write(early)


class Tunnel:
    """Both ends, as one thing that is watched and that uvicorn waits for."""

    __slots__ = (
        "_client",
        "_connections",
        "_ends",
        "_gateway",
        "_open",
        "_revoked",
        "_seat",
        "_session",
        "_until",
        "heard",
    )

    def __init__(self, gateway: Gateway, front: "Front", session: str | None) -> None:
        self._gateway = gateway
        self._seat = front.seat
        self._session = session
        self._revoked = 0.0  # since when
        self._connections = cast(set[Any], front.server_state.connections)
        self._ends: list[asyncio.Transport] = []
        self._open = 0
        self._client: End | None = None
        self._until = inf
        self.heard = monotonic()
        gateway.watched.add(self)
        self._connections.add(self)

    def add(self, transport: asyncio.Transport) -> None:
        self._ends.append(transport)
        self._open += 1

    def led_by(self, client: "End") -> None:
        self._client = client

    def look(self, now: float) -> None:
        if now > self._until or now - self.heard > self._gateway.times.socket or self._outlived(now):
            # Not closed politely: one end may have stopped reading, and would hold the other's last bytes for ever.
            for transport in self._ends:
                transport.abort()

    def _outlived(self, now: float) -> bool:
        """Whether it is open still though its session has ended."""
        if self._session is None or not self._gateway.revocations.ended(self._session):
            return False
        if not self._revoked:
            self._revoked = now
        if now - self._revoked <= _REVOKED_SECONDS:
            return False
        log.warning("revoked_socket_cut", session_id=self._session)
        self._session = None
        return True

    def shutdown(self) -> None:
        """To the service it looks as if the client had hung up. It says goodbye with a code of its own: a frame of ours
        could land in the middle of one of its, for nobody here knows where those end.
        """
        self._until = monotonic() + _GOODBYE_SECONDS
        if self._client is not None:
            self._client.eof_received()

    def lost(self) -> None:
        """One end is gone; the tunnel lives until both are."""
        self._open -= 1
        if self._open == 0:
            self.gone()

    def gone(self) -> None:
        self._gateway.watched.discard(self)
        self._connections.discard(self)
        self._seat.leave()


class End(asyncio.Protocol):
    __slots__ = ("_tunnel", "other", "over", "transport")

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None
        self.over = False

    def meet(self, transport: asyncio.Transport, other: "End") -> None:
        self.transport = transport
        self.other = other
        transport.set_write_buffer_limits(high=_BUFFERED_BYTES)
        self._tunnel.add(transport)

    def data_received(self, data: bytes) -> None:
        self._tunnel.heard = monotonic()
        transport = self._opposite()
        if transport is not None and not self.over:
            transport.write(data)

    def eof_received(self) -> bool:
        """One side has said all it had to say; the other may still be talking."""
        self.over = True
        transport = self._opposite()
        if transport is None or (self.other is not None and self.other.over):
            return False
        transport.write_eof()
        return True

    def connection_lost(self, _exc: Exception | None) -> None:
        self.transport = None
        self._tunnel.lost()
        transport = self._opposite()
        if transport is not None:
            transport.close()

    def pause_writing(self) -> None:
        transport = self._opposite()
        if transport is not None:
            transport.pause_reading()

    def resume_writing(self) -> None:
        transport = self._opposite()
        if transport is not None:
            transport.resume_reading()

    def _opposite(self) -> asyncio.Transport | None:
        transport = self.other.transport if self.other is not None else None
        return None if transport is None or transport.is_closing() else transport
