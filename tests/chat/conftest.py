"""Two processes of chat that share their servers, and people who know each other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from chat_service.settings import Settings
from deploy.local.servers import ValkeyServer
from libs.db import Database
from libs.redis import connect
from libs.testing.clock import StillClock
from tests.chat.nodes import Node, Person, register, running

SettingsFor = Callable[..., Settings]
People = Callable[..., Awaitable[list[Person]]]

_FAST = {
    "send_rate": 10_000,
    "send_burst": 10_000,
    "conversation_send_rate": 10_000,
    "conversation_send_burst": 10_000,
    "change_rate": 10_000,
    "change_burst": 10_000,
    "sync_rate": 10_000,
    "frame_rate": 10_000,
    "frame_burst": 10_000,
    "people_rate": 10_000,
    "people_burst": 10_000,
    "sockets_per_user": 1_000,
    "ungreeted_per_address": 10_000,
}


def fast_settings(**own: Any) -> SettingsFor:
    """Settings without limits on speed, with changes."""
    nowhere = {"auth_url": "http://127.0.0.1:9", "notify_url": "http://127.0.0.1:9"}
    return lambda **changed: Settings(**{**own, **_FAST, **nowhere, **changed})


@pytest.fixture(scope="session")
async def chat_url(database_url: Callable[[str], Awaitable[str]]) -> str:
    return await database_url("chat")


@pytest.fixture(scope="session")
async def settings_for(
    chat_url: str, redis_url: str, key_ring_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> SettingsFor:
    files = str(tmp_path_factory.mktemp("files"))
    return fast_settings(database_url=chat_url, redis_url=redis_url, key_ring=key_ring_path, attachment_store=files)


@pytest.fixture(scope="session")
async def one(settings_for: SettingsFor) -> AsyncIterator[Node]:
    async with running(settings_for()) as node:
        yield node


@pytest.fixture(scope="session")
async def two(settings_for: SettingsFor) -> AsyncIterator[Node]:
    async with running(settings_for()) as node:
        yield node


@pytest.fixture(scope="session")
def later() -> StillClock:
    """The clock of `aging`."""
    return StillClock()


@pytest.fixture(scope="session")
async def aging(settings_for: SettingsFor, later: StillClock) -> AsyncIterator[Node]:
    """A process whose time goes by as a test says."""
    async with running(settings_for(), later) as node:
        yield node


@pytest.fixture(scope="session")
async def database(chat_url: str) -> AsyncIterator[Database]:
    opened = Database(chat_url, service="chat")
    yield opened
    await opened.close()


@pytest.fixture
async def people(database: Database, issue_token: Callable[..., str]) -> People:
    """`await people(3)`: users that nobody else has met."""

    async def make(count: int) -> list[Person]:
        return await register(database, count, issue_token)

    return make


@pytest.fixture
async def lasting(database: Database, issue_token: Callable[..., str]) -> People:
    """The same with tokens that outlast the days that a test lets go by."""

    async def make(count: int) -> list[Person]:
        return await register(database, count, lambda user_id: issue_token(user_id, exp=1 << 33))

    return make


@pytest.fixture(scope="session")
async def own_valkey() -> AsyncIterator[ValkeyServer]:
    """Flushed and killed here, so nobody else's."""
    async with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
async def own_redis(own_valkey: ValkeyServer) -> AsyncIterator[Redis]:
    client = connect(own_valkey.url)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def own_settings(settings_for: SettingsFor, own_valkey: ValkeyServer) -> Settings:
    return settings_for(redis_url=own_valkey.url)


@pytest.fixture(scope="session")
async def left(own_settings: Settings) -> AsyncIterator[Node]:
    async with running(own_settings) as node:
        yield node


@pytest.fixture(scope="session")
async def right(own_settings: Settings) -> AsyncIterator[Node]:
    async with running(own_settings) as node:
        yield node
