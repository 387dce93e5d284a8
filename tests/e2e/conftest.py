"""One world for all journeys: gateway, four services, two chat processes, workers, mail."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from deploy.local.stack import Stack
from tests.e2e.people import Person

BLOCKED_COUNTRY = "KP"
BLOCKED_NETWORK = "203.0.113.0/24"


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
    behind_a_proxy = {"PARLEY_TRUSTED_PROXIES": "127.0.0.0/8"}
    gateway = {"GATEWAY_COUNTRY_DATABASE": str(country_database), "GATEWAY_COUNTRY_DENY": BLOCKED_COUNTRY}
    quick = {"NOTIFY_RETRY_BASE_SECONDS": "1"}
    async with Stack(chats=2, extra={"*": behind_a_proxy, "gateway": gateway, "notify-worker": quick}) as world:
        yield world


@pytest.fixture
async def ada(stack: Stack) -> AsyncIterator[Person]:
    async with Person(stack.url, "ada") as person:
        yield await person.register()


@pytest.fixture
async def grace(stack: Stack) -> AsyncIterator[Person]:
    async with Person(stack.url, "grace") as person:
        yield await person.register()


@pytest.fixture
async def alan(stack: Stack) -> AsyncIterator[Person]:
    async with Person(stack.url, "alan") as person:
        yield await person.register()
