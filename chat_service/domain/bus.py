"""Redis between the processes of chat: publishing, subscribing, and noticing when either has silently died.

Two connections of our own instead of the library's pool: a publish is written and its answer not awaited (with the note
beside it 6 us of CPU; a pipeline of the library takes 88), and a message is handed on from the read callback. Nothing
here is certain to arrive. Durable events carry numbers, so who misses one knows, and reads it from PostgreSQL.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import hiredis
import structlog
from redis.asyncio.connection import SSLConnection, parse_url
from redis.exceptions import RedisError

_CONNECT_SECONDS = 5.0
_CANARY_SECONDS = 5.0
_SILENT_SECONDS = 10.0
_CHUNK = 500

log = structlog.get_logger()


class Link(asyncio.Protocol):
    """One connection; every reply goes to `on_reply`."""

    def __init__(self, on_reply: Callable[[Any], None]) -> None:
        self.on_reply = on_reply
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._unwritten: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self.on_reply(reply)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def write(self, *words: bytes | str | int) -> None:
        """Commands of one turn of the loop go out together, in one system call."""
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unwritten.append(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub allows one word

    def _flush(self) -> None:
        commands, self._unwritten = self._unwritten, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(commands))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def connect(url: str) -> Link:
    """Signed in and on the right database. Raises OSError or RedisError."""
    to: Any = parse_url(url)
    loop = asyncio.get_running_loop()
    replies: asyncio.Queue[Any] = asyncio.Queue()
    link = Link(replies.put_nowait)
    if "path" in to:
        await loop.create_unix_connection(lambda: link, to["path"])
    else:
        secure = ssl.create_default_context() if to.get("connection_class") is SSLConnection else None
        await loop.create_connection(lambda: link, to.get("host", "localhost"), to.get("port", 6379), ssl=secure)
    first: list[tuple[bytes | str | int, ...]] = [("SELECT", to.get("db", 0))]
    if to.get("password"):
        user = [to["username"]] if to.get("username") else []
        first.insert(0, ("AUTH", *user, to["password"]))
    for words in first:
        link.write(*words)
    for _ in first:
        reply = await replies.get()
        if isinstance(reply, Exception):
            link.abort()
            raise RedisError(str(reply))
    return link


class Bus:
    """`on_message(channel, payload)` for each message; `on_return()` when messages may have been missed."""

    def __init__(self, url: str, node: str) -> None:
        self._url = url
        self._canary = b"node:" + node.encode()
        self.on_message: Callable[[bytes, bytes], None] = lambda _channel, _payload: None
        self.on_return: Callable[[], None] = lambda: None
        self._channels: set[bytes] = {self._canary}
        self._confirmed: set[bytes] = set()
        self._waiting: dict[bytes, list[asyncio.Future[None]]] = {}
        self._unconfirmed: set[bytes] = set()
        self._out: Link | None = None
        self._in: Link | None = None
        self._heard = 0.0

    @property
    def healthy(self) -> bool:
        """Whether a message of our own came round lately."""
        return self._in is not None and asyncio.get_running_loop().time() - self._heard < _SILENT_SECONDS

    def send(self, *words: bytes | str | int) -> None:
        """A command whose answer nobody needs. Without a connection it is lost."""
        if self._out is not None:
            self._out.write(*words)

    def publish(self, channel: bytes, payload: bytes) -> None:
        self.send(b"PUBLISH", channel, payload)

    async def subscribe(self, channels: Iterable[bytes], *, patience: float = 2.0) -> None:
        """Returns when Redis has confirmed, or after `patience`: then `on_return` will make up for what was missed."""
        missing = [channel for channel in channels if channel not in self._confirmed]
        if not missing:
            return
        fresh = [channel for channel in missing if channel not in self._channels]
        self._channels.update(fresh)
        if fresh and self._in is not None:
            self._in.write(b"SUBSCRIBE", *fresh)
        loop = asyncio.get_running_loop()
        futures = []
        for channel in missing:
            future = loop.create_future()
            self._waiting.setdefault(channel, []).append(future)
            futures.append(future)
        await asyncio.wait(futures, timeout=patience)

    def unsubscribe(self, channel: bytes) -> None:
        self._channels.discard(channel)
        self._confirmed.discard(channel)
        if self._in is not None:
            self._in.write(b"UNSUBSCRIBE", channel)

    async def run(self) -> None:
        await asyncio.gather(self._keep(self._serve_out), self._keep(self._serve_in), self._sing())

    async def _keep(self, serve: Callable[[Link], Awaitable[None]]) -> None:
        while True:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    link = await connect(self._url)
            except (OSError, TimeoutError, RedisError) as error:
                log.warning("bus_unreachable", reason=type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            try:
                await serve(link)
            finally:
                link.abort()
            log.warning("bus_link_lost", link=serve.__name__)
            await asyncio.sleep(0.05)

    async def _serve_out(self, link: Link) -> None:
        link.on_reply = self._published
        self._out = link
        self.send(b"PUBLISH", self._canary, b"")
        try:
            await link.lost
        finally:
            self._out = None

    def _published(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            log.warning("bus_refused", reason=str(reply)[:100])

    async def _serve_in(self, link: Link) -> None:
        link.on_reply = self._received
        self._confirmed.clear()
        self._unconfirmed = set(self._channels)
        self._heard = asyncio.get_running_loop().time()
        self._in = link
        wanted = list(self._channels)
        for start in range(0, len(wanted), _CHUNK):
            link.write(b"SUBSCRIBE", *wanted[start : start + _CHUNK])
        try:
            await link.lost
        finally:
            self._in = None

    def _received(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            log.warning("bus_refused", reason=str(reply)[:100])
        elif reply[0] == b"message":
            if reply[1] == self._canary:
                self._heard = asyncio.get_running_loop().time()
            else:
                self.on_message(reply[1], reply[2])
        elif reply[0] == b"subscribe":
            self._confirm(reply[1])

    def _confirm(self, channel: bytes) -> None:
        if channel in self._channels:
            self._confirmed.add(channel)
        for future in self._waiting.pop(channel, ()):
            if not future.done():
                future.set_result(None)
        if self._unconfirmed:
            self._unconfirmed.discard(channel)
            if not self._unconfirmed:
                self.on_return()

    async def _sing(self) -> None:
        """A subscription can die while its connection looks well: who does not hear himself starts anew."""
        while True:
            await asyncio.sleep(_CANARY_SECONDS)
            if not self.healthy:
                log.warning("bus_silent")
                for link in (self._in, self._out):
                    if link is not None:
                        link.abort()
            self.send(b"PUBLISH", self._canary, b"")
