"""A WebSocket client reduced to what a load generator needs: no parsing of what comes in, no masking work going out."""

import asyncio
import struct
from collections.abc import Callable

TEXT = 0x81
PING = 0x89
PONG = 0x8A
MASKED = 0x80
NO_KEY = b"\0\0\0\0"  # a mask of zeros is legal and leaves the bytes as they are


def frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", TEXT, MASKED | size) + NO_KEY + payload
    return struct.pack("!BBH", TEXT, MASKED | 126, size) + NO_KEY + payload


class Refused(Exception):
    """The server did not switch protocols; the message is its answer."""


class Socket(asyncio.Protocol):
    """Hands every chunk to `on_data` as it is, but for a ping that comes alone, as when nothing else happens."""

    def __init__(self) -> None:
        self.on_data: Callable[[bytes], None] = self.collect
        self.collected = b""
        self.arrived = asyncio.Event()
        self.closed = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if data[0] == PING and len(data) == data[1] + 2:
            self.transport.write(bytes((PONG, MASKED | data[1])) + NO_KEY + data[2:])
        else:
            self.on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.closed = True
        self.arrived.set()

    def collect(self, data: bytes) -> None:
        self.collected += data
        self.arrived.set()

    async def expect(self, mark: bytes) -> bytes:
        """Wait until the mark has come, within 20 s; what came so far is returned and forgotten."""
        async with asyncio.timeout(20):
            while mark not in self.collected:
                if self.closed:
                    raise Refused(self.collected[:2000].decode(errors="replace"))
                self.arrived.clear()
                await self.arrived.wait()
        seen, self.collected = self.collected, b""
        return seen

    def send(self, payload: bytes) -> None:
        """To a server that has closed the socket nothing is sent; what is then missing counts as lost."""
        if not self.closed:
            self.transport.write(frame(payload))


async def connect(host: str, port: int, path: str, *, protocol: str = "") -> Socket:
    _, socket = await asyncio.get_running_loop().create_connection(Socket, host, port)
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
    ]
    if protocol:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    socket.transport.write("\r\n".join([*lines, "", ""]).encode())
    answer = await socket.expect(b"\r\n\r\n")
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise Refused(answer[:2000].decode(errors="replace"))
    socket.collected = rest
    return socket
