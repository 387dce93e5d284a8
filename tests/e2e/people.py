"""People who use Parley from outside: through the gateway, over real sockets, each from an address of their own."""

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import uuid4

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from libs.tls import tls_context

_addresses = itertools.count(1)


def fresh_address() -> str:
    """Of the documentation networks, which the test's country database places in an allowed country."""
    number = next(_addresses)
    return f"198.51.{100 + number // 250}.{number % 250 + 1}"


class Person:
    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = f"{name}{secrets.token_hex(4)}"
        self.email = f"{self.name}@example.com"
        self.password = f"quite a long {secrets.token_hex(6)}"
        self.id = ""
        self.token = ""
        self.refresh = ""
        self.http = httpx2.AsyncClient(
            base_url=url, headers={"X-Forwarded-For": fresh_address()}, timeout=20, verify=tls_context()
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def register(self) -> Self:
        body = {"email": self.email, "username": self.name, "password": self.password, "first_name": self.name.title()}
        answer = await self.call("POST", "/api/v1/auth/register", body, expect=201)
        self.id = answer["user"]["id"]
        self._keep(answer)
        return self

    async def sign_in(self) -> None:
        body = {"email": self.email, "password": self.password}
        self._keep(await self.call("POST", "/api/v1/auth/token", body))

    async def renew(self) -> None:
        self._keep(await self.call("POST", "/api/v1/auth/token/refresh", {"refresh": self.refresh}))

    async def call(self, method: str, path: str, body: Any = None, *, expect: int | None = 200) -> Any:
        """The answer's JSON; fails with the answer's text when the status is another one."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = await self.http.request(method, path, json=body, headers=headers)
        assert expect is None or answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    @asynccontextmanager
    async def online(self, *conversations: str) -> AsyncIterator["Socket"]:
        address = self.url.replace("http", "ws") + "/ws"
        headers = {"X-Forwarded-For": self.http.headers["X-Forwarded-For"]}
        async with connect(address, subprotocols=["chat.v1"], additional_headers=headers) as raw:  # type: ignore[list-item]
            socket = Socket(raw)
            await socket.ask("hello", {"v": 1, "token": self.token})
            if conversations:
                await socket.ask("sub", {"streams": {f"c:{each}": None for each in conversations}})
            yield socket

    def _keep(self, answer: dict[str, Any]) -> None:
        self.token, self.refresh = answer["access"], answer["refresh"]


class Socket:
    """A chat.v1 connection: requests that await their reply, and the events in between."""

    def __init__(self, raw: ClientConnection) -> None:
        self.raw = raw
        self._ids = itertools.count(1)
        self._waiting: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []

    async def ask(self, op: str, data: dict[str, Any], stream: str | None = None) -> dict[str, Any]:
        number = next(self._ids)
        await self.raw.send(json.dumps({"i": number, "op": op, "d": data} | ({"s": stream} if stream else {})))
        async with asyncio.timeout(20):
            while True:
                frame = await self._next()
                if frame.get("i") == number:
                    assert "ok" in frame, frame
                    return dict(frame["ok"])
                self.events.append(frame)

    async def send(self, conversation: str, content: str) -> dict[str, Any]:
        return await self.ask("send", {"client_msg_id": str(uuid4()), "content": content}, f"c:{conversation}")

    async def message(self, content: str) -> dict[str, Any]:
        """Waits for the live event of a message with this content."""
        async with asyncio.timeout(20):
            while True:
                for frame in self.events:
                    if frame.get("t") == "message.new" and frame["d"]["content"] == content:
                        return frame
                self.events.append(await self._next())

    async def _next(self) -> dict[str, Any]:
        while not self._waiting:
            self._waiting = [json.loads(line) for line in str(await self.raw.recv()).splitlines()]
        return self._waiting.pop(0)
