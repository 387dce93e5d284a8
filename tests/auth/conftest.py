"""Auth as a whole app, on the servers of the run."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import asyncpg
import pytest
from fastapi import FastAPI

from auth_service.app import create_app
from auth_service.settings import Settings
from deploy.local.servers import PostgresServer
from deploy.sandbox.server import Options, Sandbox
from deploy.sandbox.smtp import SmtpOptions
from libs import migrations
from libs.keys import Algorithm, KeyRing
from libs.testing.clients import client
from libs.testing.clock import FakeClock, LentClock, StillClock
from tests.auth.api import Api, unique
from tests.auth.elsewhere import Elsewhere, open_elsewhere
from tests.auth.phones import Phone

OpenApi = Callable[..., AbstractAsyncContextManager[Api]]
SettingsFor = Callable[..., Awaitable[Settings]]


@pytest.fixture(scope="session")
async def settings_for(
    database_url: Callable[[str], Awaitable[str]], redis_url: str, key_ring_path: Path
) -> SettingsFor:
    url = await database_url("auth")

    async def make(**changed: Any) -> Settings:
        servers = {"database_url": url, "redis_url": redis_url, "key_ring": key_ring_path}
        # However slow the machine is, nobody is sent away but by a full queue.
        hashing = {"hashing_threads": 1, "hashing_wait_seconds": 60}
        # However much tests text together, which share a database, no budget of a country or of all is spent by it.
        budgets = {"sms_prefix_budget": 10**6, "sms_global_budget": 10**6}
        return Settings(**{**servers, **hashing, **budgets, **changed})

    return make


@pytest.fixture(scope="session")
async def open_api(settings_for: SettingsFor) -> OpenApi:
    """`async with open_api(email_verification="required") as api`: an app of one's own, with a clock of its own."""

    idle: dict[str, list[tuple[FastAPI, LentClock]]] = defaultdict(list)

    @asynccontextmanager
    async def opened(**changed: Any) -> AsyncIterator[Api]:
        clock = changed.pop("clock", None) or FakeClock()
        # An app that has ended may begin again. Only its first request ever is slow: it builds the routes.
        waiting = idle[repr(sorted(changed.items()))]
        lent = LentClock()
        app, lent = waiting.pop() if waiting else (create_app(await settings_for(**changed), lent), lent)
        lent.clock = clock
        async with client(app) as http:
            # On a busy machine too the calls of a test all get their turn.
            app.state.kit.hasher.wait_seconds = 60.0
            app.state.db.engine.pool._timeout = 60.0
            yield Api(http, app, clock)
        waiting.append((app, lent))

    return opened


@pytest.fixture(scope="session")
async def providers(open_api: OpenApi) -> AsyncIterator[Elsewhere]:
    clock = FakeClock()
    sandbox = Sandbox(Options(smtp=SmtpOptions("postman", "unused"), http_port=0, smtp_port=0), clock)
    async with sandbox, open_elsewhere(open_api, sandbox, clock) as opened:
        yield opened


@pytest.fixture
async def elsewhere(providers: Elsewhere) -> Elsewhere:
    """Sign-in providers on real sockets, which behave until a test has one misbehave, and an app that knows them."""
    await providers.behave()
    return providers


@pytest.fixture(scope="session")
async def shared(open_api: OpenApi) -> AsyncIterator[Api]:
    async with open_api() as opened:
        yield opened


@pytest.fixture
def api(shared: Api) -> Api:
    """The app that tests share which leave the clock alone."""
    return Api(shared.http, shared.app, shared.clock)


@pytest.fixture(scope="session")
async def hurried(open_api: OpenApi) -> AsyncIterator[Api]:
    async with open_api(hashing_memory_kib=1024, hashing_rounds=1) as opened:
        yield opened


@pytest.fixture
def ahead(hurried: Api) -> Api:
    """An app that tests share which make many hashes, hence cheap ones, or advance the clock, which never goes back."""
    return Api(hurried.http, hurried.app, hurried.clock)


@pytest.fixture
async def aging(open_api: OpenApi) -> AsyncIterator[Api]:
    """An app whose clock a test may advance."""
    async with open_api() as opened:
        yield opened


@pytest.fixture(scope="session")
async def later(open_api: OpenApi) -> AsyncIterator[Api]:
    """An app whose clock tests advance one after the other: for those whose people and addresses nobody else has."""
    async with open_api() as opened:
        yield opened


@pytest.fixture
async def still(open_api: OpenApi) -> AsyncIterator[Api]:
    """An app whose clock stands unless a test advances it."""
    async with open_api(clock=StillClock()) as opened:
        yield opened


@pytest.fixture
async def strict(open_api: OpenApi) -> AsyncIterator[Api]:
    """An app that wants addresses confirmed before anybody signs in."""
    async with open_api(email_verification="required") as opened:
        yield opened


@pytest.fixture(scope="session", params=get_args(Algorithm))
async def either(
    request: pytest.FixtureRequest, open_api: OpenApi, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """The app with each algorithm of access tokens in turn."""
    path = tmp_path_factory.mktemp("rings") / "ring.json"
    KeyRing.create(path, request.param)
    async with open_api(key_ring=path) as opened:
        yield opened


@pytest.fixture(scope="session")
async def template(postgres: PostgresServer) -> str:
    """The name of an empty database, to be copied: faster than migrating again."""
    url = await postgres.create_database("auth_template")
    await asyncio.to_thread(migrations.upgrade, "auth", url)
    return "auth_template"


@pytest.fixture
async def alone(postgres: PostgresServer, template: str, redis_url: str, open_api: OpenApi) -> AsyncIterator[Api]:
    """An app with a database and a Redis that no other test uses: for what concerns everybody in them."""
    name = unique()
    connection = await asyncpg.connect(postgres.url)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    await connection.close()
    async with open_api(database_url=postgres.database_url(name), redis_url=redis_url.replace("/0", "/7")) as opened:
        yield opened
        await opened.app.state.redis.flushdb()


@pytest.fixture
def phone(later: Api) -> Phone:
    return Phone.new(later)
