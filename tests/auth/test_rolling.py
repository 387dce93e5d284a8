"""Keys change and the processes of auth are replaced, one after the other, while people go on working."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from auth_service.__main__ import main
from auth_service.settings import Settings
from libs.keys import USER, KeyRing
from tests.auth.api import PASSWORD, unique
from tests.auth.conftest import SettingsFor

TOKEN, REFRESH, ME = "/api/v1/auth/token", "/api/v1/auth/token/refresh", "/api/v1/users/me"


class Line:
    """A connection that stays open between requests, as HTTP clients keep one. A request is sent again only where they
    do: on a connection that was used before, and was closed without a byte of an answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.opened = 0

    async def ask(self, method: str, path: str, body: object = None, token: str | None = None) -> tuple[int, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", "Host: auth", f"Content-Length: {len(content)}"]
        head += ["Content-Type: application/json"] if content else []
        head += [f"Authorization: Bearer {token}"] if token else []
        request = "\r\n".join([*head, "", ""]).encode() + content
        if self._streams is not None:
            with contextlib.suppress(_ClosedWhileIdle):
                return await self._exchange(*self._streams, request)
            self.close()
        self.opened += 1
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return await self._exchange(*self._streams, request)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[int, Any]:
        try:
            writer.write(request)
            await writer.drain()
            first = await reader.readexactly(1)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _ClosedWhileIdle from None
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        content = await reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), json.loads(content)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class _ClosedWhileIdle(Exception):
    pass


class Server:
    """`python -m auth_service serve` on an inherited socket."""

    def __init__(self, settings: Settings, listener: socket.socket, log: Path) -> None:
        self._listener = listener
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._env = {
            **os.environ,
            "AUTH_DATABASE_URL": settings.database_url.get_secret_value(),
            "REDIS_URL": settings.redis_url,
            "PARLEY_KEY_RING": str(settings.key_ring),
            "PARLEY_LISTEN_FD": str(listener.fileno()),
            "AUTH_HASHING_THREADS": "1",
            # However slow the machine is, nobody is sent away but by a full queue.
            "AUTH_HASHING_WAIT_SECONDS": "60",
        }

    async def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "auth_service", "serve"),
                env=self._env,
                pass_fds=[self._listener.fileno()],
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(120):
            while "Application startup complete" not in self._log.read_text():
                assert self._process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()

    @property
    def finished(self) -> bool:
        """Whether it ended by itself, with everything answered; a client cannot tell."""
        return "Finished server process" in self._log.read_text()

    @property
    def answered(self) -> int:
        return self._log.read_text().count('"event":"request"')


class Person:
    """Signs in, asks who they are and refreshes, without end; keeps whatever was not answered as it should be."""

    def __init__(self, port: int) -> None:
        self.line = Line(port)
        self.failed: list[object] = []
        self.asked = 0
        self.kid = ""
        self._email = f"{unique()}@example.com"

    async def work(self) -> None:
        await self._ask("POST", "/api/v1/auth/register", {"email": self._email, "password": PASSWORD}, expect=201)
        while not self.failed:
            pair = await self._ask("POST", TOKEN, {"email": self._email, "password": PASSWORD})
            for _ in range(5):
                self.kid = json.loads(base64.urlsafe_b64decode(pair["access"].partition(".")[0] + "=="))["kid"]
                await self._ask("GET", ME, token=pair["access"])
                pair = await self._ask("POST", REFRESH, {"refresh": pair["refresh"]})
                await self._ask("GET", ME, token=pair["access"])
                await asyncio.sleep(0.01)

    async def _ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None, expect: int = 200
    ) -> Any:
        self.asked += 1
        try:
            status, answer = await self.line.ask(method, path, body, token)
        except Exception as error:
            self.failed.append((method, path, error))
            raise
        if status != expect:
            self.failed.append((method, path, status, answer))
        return answer


@asynccontextmanager
async def people(port: int, count: int) -> AsyncIterator[list[Person]]:
    crowd = [Person(port) for _ in range(count)]
    working = [asyncio.create_task(person.work()) for person in crowd]
    try:
        yield crowd
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        for person in crowd:
            person.line.close()


async def progress(crowd: list[Person], kid: str | None = None) -> None:
    """Until each of them has got five more answers, and a token signed with that key."""
    goals = [person.asked + 5 for person in crowd]

    def reached() -> bool:
        enough = all(person.asked >= goal for person, goal in zip(crowd, goals, strict=True))
        return enough and all(kid in (None, person.kid) for person in crowd)

    async with asyncio.timeout(120):
        while not reached() and not failures(crowd):
            await asyncio.sleep(0.02)
    assert not failures(crowd)


def failures(crowd: list[Person]) -> list[object]:
    return [failure for person in crowd for failure in person.failed]


def rotated(ring: Path) -> str:
    """As an operator does it. The key that signs from now on."""
    main(["rotate-keys"])
    return KeyRing(ring).signing_key(USER).kid


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as opened:
        yield opened


@pytest.mark.chaos
@pytest.mark.promise("A46", "A20")
async def test_no_request_fails_while_keys_and_processes_are_replaced(
    settings_for: SettingsFor, listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = tmp_path / "ring.json"
    KeyRing.create(ring, "ES256")
    monkeypatch.setenv("PARLEY_KEY_RING", str(ring))
    settings = await settings_for(key_ring=ring)
    servers = [Server(settings, listener, tmp_path / f"{number}.log") for number in range(3)]
    *old, new = servers
    async with AsyncExitStack() as ending:
        for server in servers:
            ending.push_async_callback(server.end)
        await asyncio.gather(*(server.start() for server in old))
        async with people(listener.getsockname()[1], 3) as crowd:
            await progress(crowd)
            await progress(crowd, kid=rotated(ring))
            await new.start()
            for server in old:
                await server.end()
                await progress(crowd)
            await progress(crowd, kid=rotated(ring))
        assert all(person.line.opened > 1 for person in crowd)
    assert new.answered
    assert all(server.finished for server in old)
