"""Servers of our own for every test: a PostgreSQL and a Valkey, started once, thrown away at the end.

Databases are shared by all tests of a run and never emptied: each test makes its own users, and meets everybody else's.
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from redis.asyncio import Redis
from xdist.scheduler import LoadScopeScheduling

from deploy.local.logs import complaints
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
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_SHARE = 12_000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ["PARLEY_PORTS"] = f"{20_000 + _SHARE * _NUMBER}-{19_999 + _SHARE * (_NUMBER + 1)}"

# A trace with the values of all variables takes a second to be drawn, and tasks that fail each second would do nothing
# else.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

BLOCKED_COUNTRY = "KP"
BLOCKED_NETWORK = "203.0.113.0/24"

# For processes of services. Until Python 3.12 measuring coverage costs a process half as much time again as its work,
# most of all at its start, and what services do is measured where they run in the process of the tests.
UNMEASURED = {"COVERAGE_PROCESS_CONFIG": ""}

MEASURED_CASES = 1
_cases: Counter[str] = Counter()

DatabaseUrl = Callable[[str], Awaitable[str]]
IssueToken = Callable[..., str]


# One stack is enough for all who use it, and `./parley up` takes its usual ports where they are free: two at once might
# both find them so.
LONG = ("tests/e2e/", "tests/security/", "tests/local/", "tests/chaos/", "tests/chat/test_machine.py")
COMPANIES = {"tests/e2e": "stack", "tests/security": "stack", "tests/local": "stack"}


class ByFile(LoadScopeScheduling):
    """Where several processes run the tests, those of a file stay together, and the files of a company."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return COMPANIES.get(file.rpartition("/")[0], file)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="the long form of tests that break things at random")


def pytest_configure(config: pytest.Config) -> None:
    """The same examples in every run, however long each takes: one that finds others, or meets a slow moment of the
    machine, would stop a change that has nothing to do with it. The long form looks for others."""
    settings.register_profile(
        "parley",
        deadline=None,
        derandomize=not config.getoption("--chaos"),
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("parley")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    # In the order of collection, not by the number of tests: the fewest take longest.
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes comes first, or one process would work at it while the others are done."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A journey that fails tells what the processes complained of: nobody can look at them afterwards."""
    report = yield
    world = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(world, Stack):
        ended = [f"{name} has ended" for name in world.names() if not world.is_running(name)]
        report.sections.append(("Complaints of the processes", "\n".join([*complaints(world.state.logs), *ended])))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measures the first cases of a test that has many, and none of those that hypothesis makes up: the others run the
    same lines. Until Python 3.12 a process that is measured takes half as much time again. So the coverage that is
    reported is the least that there is."""
    name = item.nodeid.partition("[")[0]
    _cases[name] += 1
    measuring = sys.gettrace()
    made_up = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    if measuring is None or (_cases[name] <= MEASURED_CASES and not made_up):
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(measuring)


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
async def stack(country_database: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One world for all journeys: gateway, four services, two chat processes, workers, mail."""
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(f"version: 1\ncountries: {{default: {{deny: [{BLOCKED_COUNTRY}]}}}}\n")
    everywhere = {"PARLEY_TRUSTED_PROXIES": "127.0.0.0/8", **UNMEASURED}
    gateway = {
        "GATEWAY_COUNTRY_DATABASE": str(country_database),
        "GATEWAY_POLICY_FILE": str(policy),
        "GATEWAY_USAGE_SECONDS": "1",
        "GATEWAY_SHED_LAG_MS": "0",  # the machine may be busy with other tests
    }
    quick = {"NOTIFY_RETRY_BASE_SECONDS": "1"}
    async with Stack(chats=2, extra={"*": everywhere, "gateway": gateway, "notify-worker": quick}) as world:
        yield world
