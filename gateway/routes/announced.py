"""In front of the front, where load balancers pass bytes: who is at their other side, before the first of them counts.

From a load balancer's address an announcement must come, and from no other can one: there it is a bad request.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.domain.announcements import announcement
from gateway.domain.client_ip import parse, within
from gateway.domain.metrics import UNANNOUNCED
from gateway.domain.wire import Malformed
from gateway.routes.front import Front, peer_of


def protocol(announcers: Sequence[str]) -> type[asyncio.Protocol]:
    """What uvicorn makes for each connection. Where nobody announces, nothing stands before the front."""
    return Announced if announcers else Front


class Announced(asyncio.Protocol):
    """Until the announcement is read; then the connection is the front's for good."""

    __slots__ = ("_data", "_deadline", "_front", "_peer", "_transport")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._front = Front(config, server_state, app_state, _loop)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # until the connection is made
        self._peer = ""
        self._data = b""
        self._deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = peer_of(transport)
        gateway = self._front.gateway
        address = parse(self._peer)
        if address is None or not within(address, gateway.announcers):
            transport.set_protocol(self._front)
            self._front.begin(self._transport, self._peer)
            return
        self._deadline = monotonic() + gateway.times.header
        self._front.server_state.connections.add(cast(Any, self))
        gateway.watched.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  -- as the transport calls it
        self._go()

    def data_received(self, data: bytes) -> None:
        data = self._data + data
        try:
            found = announcement(data)
        except Malformed:
            self._refuse()
            return
        if found is None:
            self._data = data
            return
        self._go()
        front = self._front
        self._transport.set_protocol(front)
        front.begin(self._transport, found.peer or self._peer)
        if found.end < len(data):
            front.data_received(data[found.end :])

    def look(self, now: float) -> None:
        if now > self._deadline:
            self._refuse()

    def drain(self) -> None:
        self._front.drain()

    def shutdown(self) -> None:
        """The server is about to stop. Nobody has asked for anything yet."""
        self._transport.abort()

    def _refuse(self) -> None:
        # Nothing is said: whoever is there speaks another language, or nothing at all.
        UNANNOUNCED.inc()
        self._transport.abort()

    def _go(self) -> None:
        self._front.server_state.connections.discard(cast(Any, self))
        self._front.gateway.watched.discard(self)
