"""Notify with everything around it. The Valkey is its own: the streams of auth and chat are written by these tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import uvicorn

from deploy.local.ports import free_port
from deploy.local.servers import PostgresServer, ValkeyServer
from deploy.sandbox.server import Options, Sandbox, listen
from deploy.sandbox.smtp import SmtpOptions
from libs import migrations
from libs.redis import connect
from libs.testing.clients import client
from libs.testing.clock import FakeClock
from notify_service.app import create_app
from tests.notify.asking import TOKEN, Decide, MakeBot, Person
from tests.notify.chats import Outside, new_chat
from tests.notify.world import SMTP_PASSWORD, SMTP_USER, Producer, World, _Server

_bots = count(1)
_categories = count(1)

AsUser = Callable[..., Person]
OpenWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture(scope="session")
async def open_world(key_ring_path: Path, tmp_path_factory: pytest.TempPathFactory) -> OpenWorld:
    @asynccontextmanager
    async def opened(database_url: str, smtp: SmtpOptions | None = None) -> AsyncIterator[World]:
        certificate = tmp_path_factory.mktemp("smtp") / "certificate.pem"
        options = Options(
            smtp=smtp or SmtpOptions(SMTP_USER, SMTP_PASSWORD),
            http_port=0,
            # A port that nobody else is given while a test stops this server.
            smtp_port=free_port(),
            certificate_file=certificate,
        )
        async with ValkeyServer() as valkey, Sandbox(options) as sandbox:
            redis = connect(valkey.url)
            async with Producer("auth", redis).serve() as auth, Producer("chat", redis).serve() as chat:
                yield World(database_url, valkey.url, redis, key_ring_path, sandbox, certificate, auth, chat)
            await redis.aclose()

    return opened


@pytest.fixture(scope="session")
async def world(open_world: OpenWorld, database_url: Callable[[str], Awaitable[str]]) -> AsyncIterator[World]:
    """With a worker that runs for the whole session. Nobody ends it, so nothing waits for its leases to be over: they
    are as long as in production, and a machine that stands still for a moment makes no message `unknown`."""
    async with open_world(await database_url("notify")) as opened:
        opened.changed["lease_seconds"] = 10
        async with opened.working():
            yield opened


@pytest.fixture
async def own_world(open_world: OpenWorld, postgres: PostgresServer) -> AsyncIterator[World]:
    """A database and a Valkey that nobody else uses, and no worker yet."""
    url = await postgres.create_database(f"notify_{uuid4().hex}")
    await asyncio.to_thread(migrations.upgrade, "notify", url)
    async with open_world(url) as opened:
        yield opened


@pytest.fixture(scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    """The providers alone, for tests of channels."""
    async with Sandbox(Options(smtp=SmtpOptions(SMTP_USER, SMTP_PASSWORD), http_port=0, smtp_port=0)) as running:
        yield running


@pytest.fixture(scope="session")
def sandbox_url(sandbox: Sandbox) -> str:
    return f"http://127.0.0.1:{sandbox.http_port}"


@pytest.fixture(scope="session")
async def api(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(create_app(world.settings())) as http:
        yield http


@pytest.fixture
def as_user(api: httpx2.AsyncClient, issue_token: Callable[..., str]) -> AsUser:
    """`me = as_user()`: somebody new, or the user given, with a way to call the API."""
    return lambda user_id=None, **claims: Person(api, issue_token(user_id, **claims))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def aging(world: World, clock: FakeClock, issue_token: Callable[..., str]) -> AsyncIterator[Person]:
    """Somebody whose calls go to an app with a clock to set, with a token for the week."""
    async with client(create_app(world.settings(), clock)) as http:
        yield Person(http, issue_token(exp=int(clock.seconds()) + 7 * 86_400))


@pytest.fixture(scope="session")
async def telegram(world: World) -> AsyncIterator[Outside]:
    url = f"http://127.0.0.1:{world.sandbox.http_port}"
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        yield Outside(http, "telegram")


@pytest.fixture
def admin(as_user: Any) -> Person:
    person: Person = as_user(roles=["admin"])
    return person


@pytest.fixture
def make_bot(world: World, telegram: Outside, admin: Person) -> MakeBot:
    """`await make_bot(daily_limit=2)`: an account of its own; returns its name."""

    async def make(**given: Any) -> str:
        number = next(_bots)
        body = {
            "name": f"bot-{number}",
            "provider": "telegram",
            "config": {"base_url": f"http://127.0.0.1:{world.sandbox.http_port}/telegram"},
            "secrets": {"token": TOKEN},
            **given,
        }
        answer = await admin.call("POST", "/accounts", json=body)
        assert answer.status_code == 201, answer.text
        return f"bot-{number}"

    return make


@pytest.fixture
async def bot(make_bot: MakeBot) -> str:
    return await make_bot()


@pytest.fixture
async def chat(telegram: Outside) -> str:
    """Somebody who has pressed Start."""
    return str((await telegram.order("chats", id=new_chat()))["id"])


@pytest.fixture
async def decide(admin: Person) -> AsyncIterator[Decide]:
    """`await decide(throttle={...})`: for a category of its own, or the one named; returns its name."""
    decided: set[str] = set()

    async def put(name: str | None = None, **rule: Any) -> str:
        name = name or f"category_{next(_categories)}"
        answer = await admin.call("PUT", f"/categories/{name}", json=rule)
        assert answer.status_code == 200, answer.text
        decided.add(name)
        return name

    yield put
    for name in decided:
        await admin.call("DELETE", f"/categories/{name}")


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[Sandbox]:
    """One of its own: a bot has one place that its updates go to."""
    options = Options(smtp=SmtpOptions(SMTP_USER, SMTP_PASSWORD), http_port=0, smtp_port=0, imap_port=0)
    async with Sandbox(options) as running:
        yield running


@pytest.fixture(scope="module")
async def web(provider: Sandbox) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{provider.http_port}", trust_env=False) as http:
        yield http


@pytest.fixture(scope="module")
async def door(world: World) -> AsyncIterator[str]:
    """Where providers call."""
    listener = listen("127.0.0.1", 0)
    app = create_app(world.settings(public_url=None))
    server = _Server(uvicorn.Config(app, log_config=None, ws="none", timeout_keep_alive=75))
    serving = asyncio.create_task(server.serve([listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/hooks"
    server.should_exit = True
    await serving
