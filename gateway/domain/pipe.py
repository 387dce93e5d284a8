"""A connection to Redis that pipelines by itself: everything asked within one turn of the loop leaves in one write.

An ordinary client costs three round trips' worth of CPU per call and a connection per caller. Here answers come back in
the order of the questions, to callbacks, so a check costs no task, no future and no lock. Every question is answered
within the budget: with a reply, or with None when Redis is away, slow or unhappy; the caller then decides on its own.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import hiredis
import structlog

Reply = Any
Callback = Callable[[Reply], None]
Command = tuple[bytes, ...]

_CONNECT_SECONDS = 1.0
_DEAD_SECONDS = 2.0
_FIRST_BACKOFF, _LAST_BACKOFF = 0.05, 2.0

log = structlog.get_logger()


class Script:
    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest().encode()


def packed(script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> bytes:
    """A call of the script, as often as it is needed."""
    return _pack((b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *arguments))


def _pack(command: Command) -> bytes:
    return bytes(hiredis.pack_command(command))  # type: ignore[arg-type]


_PING = _pack((b"PING",))


class Pipe:
    """Owns one connection and keeps it: `run_forever` connects again whenever it is lost."""

    def __init__(self, url: str, *, budget_seconds: float = 0.05) -> None:
        self._url = urlsplit(url)
        self._budget = budget_seconds
        self._connection: _Connection | None = None
        self._scripts: list[Script] = []

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def script(self, text: str) -> Script:
        script = Script(text)
        self._scripts.append(script)
        return script

    def run(self, call: bytes, callback: Callback) -> None:
        """`call`: what `packed` gave."""
        connection = self._connection
        if connection is None or connection.overdue:
            # A Redis that has not answered in time is not asked again before it does.
            callback(None)
            return
        connection.ask(call, callback)

    async def ping(self) -> float | None:
        """Seconds until Redis answered; None: not within the budget."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        answered: asyncio.Future[float | None] = loop.create_future()
        self.run(_PING, lambda reply: answered.set_result(None if reply is None else loop.time() - asked))
        return await answered

    async def run_forever(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            lost = await self._connect()
            if lost is not None:
                backoff = _FIRST_BACKOFF
                await lost
                self._connection = None
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def _connect(self) -> "asyncio.Future[None] | None":
        loop = asyncio.get_running_loop()
        url = self._url
        secure = ssl.create_default_context() if url.scheme == "rediss" else None
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._budget), url.hostname or "127.0.0.1", url.port or 6379, ssl=secure
                )
                for command in self._greeting():
                    await connection.reply(command)
        except (OSError, TimeoutError, hiredis.HiredisError) as error:
            log.warning("limiter_unreachable", reason=type(error).__name__)
            return None
        self._connection = connection
        log.info("limiter_connected")
        return connection.lost

    def _greeting(self) -> list[Command]:
        url = self._url
        commands: list[Command] = []
        if url.password:
            names = (unquote(url.username).encode(),) if url.username else ()
            commands.append((b"AUTH", *names, unquote(url.password).encode()))
        if url.path.strip("/"):
            commands.append((b"SELECT", url.path.strip("/").encode()))
        return commands + [(b"SCRIPT", b"LOAD", script.text) for script in self._scripts]


class _Connection(asyncio.Protocol):
    def __init__(self, budget: float) -> None:
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[list[Any]] = deque()  # [asked at, callback or None once it was given up]
        self._unsent: list[bytes] = []
        self._watching = False
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.overdue = False

    def ask(self, packed: bytes, callback: Callback) -> None:
        if self._transport is None:
            callback(None)
            return
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(packed)
        self._waiting.append([self._loop.time(), callback])
        if not self._watching:
            self._watching = True
            self._loop.call_later(self._budget, self._watch)

    async def reply(self, command: Command) -> Reply:
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.ask(_pack(command), lambda reply: None if future.done() else future.set_result(reply))
        reply = await future
        if reply is None:
            raise TimeoutError
        return reply

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # not a subclass of it on uvloop
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self.overdue = False
                _, callback = self._waiting.popleft()
                if callback is not None:
                    _tell(callback, self._usable(reply))
        except (hiredis.ProtocolError, IndexError):
            log.warning("limiter_confused")
            self.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        while self._waiting:
            _, callback = self._waiting.popleft()
            if callback is not None:
                _tell(callback, None)
        if not self.lost.done():
            self.lost.set_result(None)

    def _usable(self, reply: Reply) -> Reply:
        if isinstance(reply, hiredis.ReplyError):
            log.warning("limiter_error", reason=str(reply)[:80])
            if str(reply).startswith("NOSCRIPT"):
                # Connecting again loads the scripts; it happens once in the life of a Redis.
                self.close()
            return None
        return reply

    def _send(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _watch(self) -> None:
        """Gives up what is over budget. One timer for all questions instead of one for each."""
        now = self._loop.time()
        late = [waiting for waiting in self._waiting if waiting[0] + self._budget <= now]
        self.overdue = self.overdue or bool(late)
        for waiting in late:
            callback, waiting[1] = waiting[1], None
            if callback is not None:
                _tell(callback, None)
        self._watching = bool(self._waiting)
        if self._watching:
            if self._waiting[0][0] + _DEAD_SECONDS < now and self._transport is not None:
                self._transport.abort()
                return
            self._loop.call_later(self._budget / 2, self._watch)


def _tell(callback: Callback, reply: Reply) -> None:
    try:
        callback(reply)
    except Exception:
        # Whatever is wrong with one question, those behind it have their answers.
        log.exception("limiter_callback_failed")
