"""Clients of other protocols, which know nothing of ours: a socket, and literal JSON."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.chat.nodes import Node, Person

Frame = dict[str, Any]
_PATIENCE = 10.0


@dataclass
class Foreign:
    socket: ClientConnection
    heard: list[Frame] = field(default_factory=list)
    """Everything that came, in order."""

    async def say(self, frame: object) -> None:
        await self.socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    async def next(self) -> Frame:
        async with asyncio.timeout(_PATIENCE):
            text = await self.socket.recv()
        frame: Frame = json.loads(text)
        self.heard.append(frame)
        return frame

    async def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The first that fits of those that come from now on."""
        while True:
            frame = await self.next()
            if wanted(frame):
                return frame

    async def code(self) -> int:
        """With which it is closed; what comes before is heard."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


@contextlib.asynccontextmanager
async def foreign(node: Node, path: str, *names: str, **headers: str) -> AsyncIterator[Foreign]:
    url = node.url.replace("http", "ws", 1) + path
    subprotocols = [Subprotocol(name) for name in names] or None
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with connect(
        url, subprotocols=subprotocols, additional_headers=fields, compression=None, proxy=None
    ) as socket:
        yield Foreign(socket)


def with_token(path: str, person: Person) -> str:
    return f"{path}?token={person.token}"
