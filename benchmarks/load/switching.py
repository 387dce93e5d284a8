"""An upstream that switches to whatever it is asked for and sends every byte back: what is behind a tunnel."""

import asyncio
import base64
import hashlib
import re
import sys

import uvloop

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"\r\nsec-websocket-key: *([^\r]+)\r\n", re.IGNORECASE)


class Echo(asyncio.Protocol):
    __slots__ = ("head", "transport")

    def __init__(self) -> None:
        self.head: bytes | None = b""
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.head is None:
            self.transport.write(data)
            return
        self.head += data
        head, end, rest = self.head.partition(b"\r\n\r\n")
        if not end:
            return
        self.head = None
        key = _KEY.search(head + b"\r\n")
        accept = base64.b64encode(hashlib.sha1((key[1] if key else b"") + _GUID).digest())  # as RFC 6455 has it
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n%s" % (accept, rest)
        )


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
