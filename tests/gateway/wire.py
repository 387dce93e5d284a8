"""Both ends of the gateway: a client that sends the bytes it is told, and services that record what they got."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

TIMEOUT = 10.0


@dataclass
class Answer:
    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return next(value for field_name, value in self.fields if field_name == name)

    def get(self, name: str) -> str | None:
        return next((value for field_name, value in self.fields if field_name == name), None)

    def all(self, name: str) -> list[str]:
        return [value for field_name, value in self.fields if field_name == name]


class Client:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        async with asyncio.timeout(TIMEOUT):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = raw[:-4].decode("latin-1").split("\r\n")
        fields = [(name.lower(), value.strip()) for name, _, value in (text.partition(":") for text in lines)]
        return int(line.split(" ")[1]), fields

    async def answer(self, *, head_only: bool = False) -> Answer:
        status, fields = await self.head()
        found = Answer(status, fields, b"")
        if head_only or status in (204, 304):
            return found
        async with asyncio.timeout(TIMEOUT):
            if found.get("transfer-encoding") == "chunked":
                found.body = await read_chunks(self.reader)
            elif (length := found.get("content-length")) is not None:
                found.body = await self.reader.readexactly(int(length))
            else:
                found.body = await self.reader.read()
        return found

    async def closed(self) -> bool:
        """Whether the gateway ends the connection without another byte."""
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()


@dataclass
class Seen:
    """A request as a service got it."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    raw: bytes = b""
    complete: bool = False

    def get(self, name: str) -> str | None:
        return next((value for field_name, value in self.fields if field_name == name), None)

    def names(self) -> set[str]:
        return {name for name, _ in self.fields}


Behaviour = Callable[["Service", Seen, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
GET = b"GET /api/v1/messages HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def answer_ok(
    _service: "Service", seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    seen.body = await read_body(seen, reader)
    seen.complete = True
    writer.write(OK if seen.method != "HEAD" else OK[:-2])
    return True


def answers(raw: bytes, *, close: bool = False) -> Behaviour:
    """Always these bytes."""

    async def behave(_: "Service", seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen.body = await read_body(seen, reader)
        seen.complete = True
        writer.write(raw)
        return not close

    return behave


def begins(raw: bytes) -> Behaviour:
    """These bytes, and then nothing more, for as long as anybody waits."""

    async def behave(_: "Service", seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen.body = await read_body(seen, reader)
        writer.write(raw)
        await reader.read()
        return False

    return behave


@dataclass
class Counts:
    """A behaviour: reads whatever comes, counts its bytes and says nothing."""

    got: int = 0

    async def __call__(
        self, _service: "Service", _seen: Seen, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter
    ) -> bool:
        while data := await reader.read(1 << 16):
            self.got += len(data)
        return False


@dataclass
class Service:
    """An HTTP server that believes everything, as a service behind a gateway may."""

    behave: Behaviour = answer_ok
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, port: int = 0) -> "Service":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        await self._server.wait_closed()

    def drop(self) -> None:
        """Ends every open connection."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        raw = await reader.readuntil(b"\r\n\r\n")
        line, *lines = raw[:-4].decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        fields = [(name.lower(), value.strip()) for name, _, value in (text.partition(":") for text in lines)]
        seen = Seen(method, target, fields, raw=raw)
        self.seen.append(seen)
        return await self.behave(self, seen, reader, writer)


async def read_body(seen: Seen, reader: asyncio.StreamReader) -> bytes:
    if seen.get("transfer-encoding") == "chunked":
        return await read_chunks(reader)
    return await reader.readexactly(int(seen.get("content-length") or 0))


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)
