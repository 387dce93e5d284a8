"""Servers of our own for every test: a PostgreSQL and a Valkey, started once, thrown away at the end.

Databases are shared by all tests of a run and never emptied: each test makes its own users, and meets everybody else's.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from redis.asyncio import Redis
from xdist.scheduler import LoadScopeScheduling

from deploy.local.servers import PostgresServer, ValkeyServer
from deploy.local.stack import Stack
from libs import migrations
from libs.keys import KeyRing
from libs.redis import connect
from libs.testing.tokens import access_claims, access_token

for name in [name for name in os.environ if name.startswith(("PARLEY_", "AUTH_", "CHAT_", "NOTIFY_", "GATEWAY_"))]:
    if not name.startswith("PARLEY_TEST_"):
        del os.environ[name]
os.environ["PARLEY_ENVIRONMENT"] = "development"
# Several processes may run the tests. Each has ports of its own: what one found free, no other may take before it does.
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
os.environ["PARLEY_PORTS"] = f"{20000 + 3000 * _NUMBER}-{22999 + 3000 * _NUMBER}"

BLOCKED_COUNTRY = "KP"
BLOCKED_NETWORK = "203.0.113.0/24"

DatabaseUrl = Callable[[str], Awaitable[str]]
IssueToken = Callable[..., str]


# One stack is enough for all who use it, and `./parley up` takes its usual ports where they are free.
COMPANIES = {"tests/e2e": "stack", "tests/security": "stack", "tests/local": "local"}


class ByFile(LoadScopeScheduling):
    """Where several processes run the tests, those of a file stay together, and the files of a company."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return COMPANIES.get(file.rpartition("/")[0], file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    async with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
async def valkey() -> AsyncIterator[ValkeyServer]:
    async with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
async def redis_url(valkey: ValkeyServer) -> str:
    return valkey.url


@pytest.fixture(scope="session")
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
async def database_url(postgres: PostgresServer) -> DatabaseUrl:
    """`await database_url("auth")`: a migrated database, the same one for the whole run."""
    urls: dict[str, asyncio.Task[str]] = {}

    async def make(service: str) -> str:
        url = await postgres.create_database(f"{service}_test")
        await asyncio.to_thread(migrations.upgrade, service, url)
        return url

    async def get(service: str) -> str:
        if service not in urls:
            urls[service] = asyncio.create_task(make(service))
        return await urls[service]

    return get


@pytest.fixture(scope="session")
def key_ring_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    KeyRing.create(path)
    return path


@pytest.fixture(scope="session")
def key_ring(key_ring_path: Path) -> KeyRing:
    return KeyRing(key_ring_path)


@pytest.fixture(scope="session")
def issue_token(key_ring: KeyRing) -> IssueToken:
    """`issue_token(user_id, **claims)`: an access token of the shared key ring."""

    def issue(user_id: UUID | str | None = None, **claims: object) -> str:
        return access_token(key_ring, access_claims(user_id or uuid4(), **claims))

    return issue


@pytest.fixture(scope="session")
def country_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("geo") / "countries.mmdb"
    writer = MMDBWriter(6, "GeoLite2-Country-Test", languages=["en"], ipv4_compatible=True)
    for network, code in ((BLOCKED_NETWORK, BLOCKED_COUNTRY), ("198.51.0.0/16", "SE")):
        writer.insert_network(IPSet([network]), {"country": {"iso_code": code, "names": {"en": code}}})
    writer.to_db_file(str(path))
    return path


@pytest.fixture(scope="session")
async def stack(country_database: Path) -> AsyncIterator[Stack]:
    """One world for all journeys: gateway, four services, two chat processes, workers, mail."""
    behind_a_proxy = {"PARLEY_TRUSTED_PROXIES": "127.0.0.0/8"}
    gateway = {"GATEWAY_COUNTRY_DATABASE": str(country_database), "GATEWAY_COUNTRY_DENY": BLOCKED_COUNTRY}
    quick = {"NOTIFY_RETRY_BASE_SECONDS": "1"}
    async with Stack(chats=2, extra={"*": behind_a_proxy, "gateway": gateway, "notify-worker": quick}) as world:
        yield world
