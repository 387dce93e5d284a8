"""The WebSocket of uvicorn, with its queues and copies taken out of the way of chat.

As the ASGI interface has it, each incoming frame goes through a queue to a task, and each outgoing one is built anew
for every receiver. Here incoming frames are handed to the session from the read callback, and outgoing ones are written
as they are: made once, the same bytes for everybody. An app finds the wire under `EXTENSION` in the scope's extensions;
until it attaches a session the protocol is uvicorn's own.
"""

import asyncio
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from websockets.frames import Frame

    from chat_service.domain.sessions import Session

EXTENSION = "parley.wire"
HTTP = "parley.http"
"""Under which a request's state holds its connection."""
_CLOSE_SECONDS = 10.0


class Wire(WebSocketsSansIOProtocol):
    session: "Session | None" = None
    held = False
    hung_up = False

    def attach(self, session: "Session") -> None:
        self.session = session

    def write(self, packet: bytes) -> None:
        self.transport.write(packet)

    def write_many(self, packets: list[bytes]) -> None:
        self.transport.writelines(packets)

    def hold(self, *, on: bool) -> None:
        self.held = on
        if self.transport.is_closing():
            return
        if on:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def end(self, code: int, reason: str) -> None:
        if self.close_sent or self.transport.is_closing() or not self.handshake_complete:
            return
        # A close frame holds 123 bytes of reason (RFC 6455, section 5.5).
        self.conn.send_close(code, reason[:120])
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.held:
            self.hold(on=False)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        # Not `close`, which would wait for ever for a peer that reads nothing.
        self.close_timer = self.loop.call_later(_CLOSE_SECONDS, self.transport.abort)
        if self.hung_up:
            # Nobody will answer the frame; it leaves, and the connection with it.
            self.transport.close()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            cast(dict[str, object], self.scope["extensions"])[EXTENSION] = self

    def send_receive_event_to_app(self) -> None:
        session = self.session
        if session is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "text":
            session.receive(data)
        else:
            session.receive_binary()

    def handle_close(self, event: "Frame") -> None:
        self._end_session()
        super().handle_close(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_session()
        super().connection_lost(exc)

    def _end_session(self) -> None:
        # At once, for a write to a transport that is gone raises, and would end the delivery to everybody else.
        if self.session is not None:
            self.session.closed = True

    def handle_ping(self) -> None:
        if self.session is not None:
            self.session.heard = asyncio.get_running_loop().time()
        super().handle_ping()

    def handle_pong(self, event: "Frame") -> None:
        if self.session is not None:
            self.session.heard = asyncio.get_running_loop().time()
        super().handle_pong(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.session is not None:
            self.session.block()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.session is not None:
            self.session.unblock()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's never keeps it open
        """No close frame came before. A gateway that stops ends its half so; the client behind it still listens, and is
        told where it stands and when to come back."""
        if self.session is None or self.close_sent:
            return False
        self.hung_up = True
        self.session.leave()
        return True

    def shutdown(self) -> None:
        if self.session is not None and not self.close_sent:
            self.session.leave()
        else:
            super().shutdown()


class Http(HttpToolsProtocol):
    """uvicorn's own, but an event stream is told when the process ends: it would not end by itself."""

    session: "Session | None" = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][HTTP] = self

    def shutdown(self) -> None:
        super().shutdown()
        if self.session is not None:
            self.session.leave()
