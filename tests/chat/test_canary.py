"""Subscriptions that die: with their connection, or while it looks well."""

import asyncio
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from chat_service.domain import bus
from deploy.local.servers import ValkeyServer
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, running

pytestmark = pytest.mark.chaos


class Swallowing:
    """Between chat and Redis: passes everything, until it swallows all that comes back over the connections it has."""

    def __init__(self, url: str) -> None:
        self._behind = urlsplit(url)
        self._deaf: set[asyncio.StreamWriter] = set()
        self._all: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> "Swallowing":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        behind = self._behind
        self.url = behind._replace(netloc=behind.netloc.rpartition(":")[0] + f":{port}").geturl()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._all:
            writer.transport.abort()

    def swallow(self) -> None:
        self._deaf |= self._all

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(self._behind.hostname, self._behind.port)
        self._all.add(writer)
        try:
            await asyncio.gather(self._pass(reader, forth), self._pass(back, writer))
        except OSError:
            pass
        finally:
            forth.transport.abort()
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if writer not in self._deaf:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError


@pytest.mark.promise("C68")
async def test_connection_that_swallows_everything_is_noticed_and_replaced(
    left: Node,
    own_valkey: ValkeyServer,
    settings_for: SettingsFor,
    people: People,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    monkeypatch.setattr(bus, "_CANARY_SECONDS", 0.5)
    monkeypatch.setattr(bus, "_SILENT_SECONDS", 1.0)
    async with (
        Swallowing(own_valkey.url) as between,
        running(settings_for(redis_url=between.url)) as node,
        node.client(bob, conversation) as client,
    ):
        async with asyncio.timeout(30):
            while not node.context.bus.healthy:
                await asyncio.sleep(0.01)
        between.swallow()
        await left.say(ann, conversation, "unheard")
        unhealthy = False
        async with asyncio.timeout(30):
            while not unhealthy or not node.context.bus.healthy:
                unhealthy = unhealthy or not node.context.bus.healthy
                await asyncio.sleep(0.01)
        await client.push("message.new", content="unheard", patience=30)
        await left.say(ann, conversation, "heard")
        # The other process takes its own connection for silent too, and may be replacing it at this moment.
        await client.push("message.new", content="heard", patience=30)
        assert client.gaps == []


@pytest.mark.promise("C68")
async def test_subscriptions_that_redis_kills_are_made_anew(
    left: Node, right: Node, people: People, own_redis: Redis
) -> None:
    ann, bob = await people(2)
    conversation = await left.group(ann, bob)
    async with right.client(bob, conversation) as client:
        await own_redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        for number in range(3):
            await left.say(ann, conversation, f"{number}")
        await client.push("message.new", content="2", patience=30)
        assert [e["d"]["content"] for e in client.events(f"c:{conversation}")] == ["0", "1", "2"]
