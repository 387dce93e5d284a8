"""What tests of channels that write to chats share: one account of a provider, with the simulator behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

import httpx2

from notify_service.domain.adaptation import adapted
from notify_service.domain.channels import Channel, Line, Message, Outcome, Provider, Setup
from notify_service.domain.content import Content

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_people = count(500_001)


def new_chat() -> int:
    """A chat that no other test writes to. Nobody has pressed Start there, until a test does."""
    return next(_people)


def message(address: str, **content: Any) -> Message:
    return Message(uuid4(), address, None, {}, None, NOW, content=Content.model_validate(content))


def setup(provider: Provider, config: dict[str, Any], secrets: dict[str, Any]) -> Setup:
    return Setup("test", provider.config.model_validate(config), provider.secrets.model_validate(secrets))


@dataclass
class Account:
    channel: Channel
    line: Line

    async def send(self, address: str, **content: Any) -> Outcome:
        """As the sender does it."""
        given = message(address, **content)
        assert given.content is not None
        fitted = adapted(given.content, self.channel.capability)
        rendered = self.channel.render(Message(given.id, address, None, {}, None, NOW, content=fitted))
        await self.line.open()
        return await self.line.send(address, rendered)


@asynccontextmanager
async def opened(provider: Provider, given: Setup) -> AsyncIterator[Account]:
    channel = provider.open(given)
    line = channel.line()
    yield Account(channel, line)
    await line.close()


class Outside:
    """What a simulator says and does, below its path."""

    def __init__(self, http: httpx2.AsyncClient, provider: str) -> None:
        self._http = http
        self._provider = provider

    async def order(self, path: str, **body: Any) -> Any:
        method = "PUT" if path == "callbacks" else "POST"
        answer = await self._http.request(method, f"/{self._provider}/{path}", json=body)
        assert answer.status_code in (201, 204), answer.text
        return answer.json() if answer.content else None

    async def effects(self, recipient: str | None = None) -> list[dict[str, Any]]:
        """What people saw, oldest first."""
        answer = await self._http.get("/effects", params={"provider": self._provider})
        found = answer.json()["results"]
        return [each["data"] for each in found if recipient is None or recipient in each["recipients"]]
