"""A gateway in the loop of the tests, between raw sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import uvicorn
import yaml

from gateway.app import create_app
from gateway.deps import Gateway
from gateway.domain import upstreams
from gateway.domain.breaker import Breaker
from gateway.routes.announced import protocol
from gateway.settings import Settings
from libs.serve import Server
from tests.gateway.wire import Answer, Client, Service

_callers = count(1)


class Door:
    """A running gateway and the services behind it (one stands for all of them)."""

    def __init__(
        self, port: int, service: Service, core: Gateway, server: uvicorn.Server, policy_file: Path | None = None
    ) -> None:
        self.port = port
        self.service = service
        self.core = core
        self.server = server
        self.policy_file = policy_file
        self._clients: list[Client] = []

    async def connect(self, *, limit: int = 1 << 20) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=limit))
        self._clients.append(client)
        return client

    async def raw(self, data: bytes) -> Answer:
        client = await self.connect()
        await client.send(data)
        return await client.answer()

    async def ask(
        self, path: str, method: str = "GET", *, body: bytes | None = None, caller: str | None = None, **fields: str
    ) -> Answer:
        """One request on a connection of its own. `caller`: the address that the proxy in front names."""
        lines = [f"{method} {path} HTTP/1.1", "Host: api.example.com"]
        if caller is not None:
            lines.append(f"X-Forwarded-For: {caller}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        client = await self.connect()
        await client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        answer = await client.answer(head_only=method == "HEAD")
        client.close()
        return answer

    def close(self) -> None:
        for client in self._clients:
            client.close()


Start = Callable[..., Awaitable[Door]]
Parts = dict[str, Any]


def someone() -> str:
    """An address that no other test has used."""
    number = next(_callers)
    return f"198.18.{number // 256}.{number % 256}"


@asynccontextmanager
async def running(
    redis_url: str,
    key_ring_path: Path,
    *,
    wait: bool = True,
    rest_seconds: float = 0.1,
    policy: Parts | None = None,
    **changed: Any,
) -> AsyncIterator[Door]:
    """`wait`: until the limits are counted in Redis. `policy`: parts of a policy file; `limit_name=` adds a limit.

    `rest_seconds`: as of `libs.serve.Server`.
    """
    async with AsyncExitStack() as stack:
        policy_file = None
        parts = _parts(policy, changed)
        if parts:
            policy_file = Path(stack.enter_context(TemporaryDirectory())) / "policy.yaml"
            write_policy(policy_file, parts)
            changed = {**changed, "policy_file": policy_file}
        service = await Service().start()
        stack.push_async_callback(service.stop)
        settings = Settings(**_settings(redis_url, key_ring_path, service, changed))
        app = create_app(settings)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            app,
            http=protocol(settings.proxy_protocol),
            ws="none",
            timeout_keep_alive=75,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        server = Server(config, rest_seconds=rest_seconds)
        stack.push_async_callback(_end, server, asyncio.create_task(server._serve([listener])))
        core: Gateway = app.state.gateway
        async with asyncio.timeout(30):
            while not server.started or (wait and not core.pipe.connected):
                await asyncio.sleep(0.005)
        door = Door(listener.getsockname()[1], service, core, server, policy_file)
        stack.callback(service.drop)
        stack.callback(door.close)
        yield door


def write_policy(path: Path, parts: Parts) -> None:
    replace(path, yaml.safe_dump({"version": 1, **parts}))


def replace(path: Path, text: str) -> None:
    """As operators should: whole, under its name at once."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def _parts(policy: Parts | None, changed: Parts) -> Parts:
    """Takes the limits out of `changed`."""
    limits = {name[6:]: changed.pop(name) for name in list(changed) if name.startswith("limit_")}
    parts = dict(policy or {})
    return {**parts, "limits": {**parts.get("limits", {}), **limits}} if limits else parts


async def _end(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await serving


def _settings(redis_url: str, key_ring_path: Path, service: Service, changed: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "redis_url": redis_url,
        "key_ring": key_ring_path,
        # Nobody there: what the gateway asks by itself must not be counted among what it forwards.
        "auth_url": "http://127.0.0.1:9",
        "auth_urls": [service.url],
        "chat_urls": [service.url],
        "notify_urls": [service.url],
        "probe_seconds": 0,
        "trusted_proxies": ["127.0.0.1/32"],
        # Other tests fall to the same address; those about limits name a caller of their own.
        "exempt_networks": ["127.0.0.1/32"],
        # The machine may be busy with other tests.
        "shed_lag_ms": 0,
        # A busy machine must not make Redis look slow: each process then counts for itself.
        "redis_budget_ms": 5000,
    }
    return {**values, **changed}


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """A machine that pauses must not make a service look as if it took no connections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstreams, "CONNECT_SECONDS", 30.0)
        yield


@pytest.fixture(scope="session")
async def shared(redis_url: str, key_ring_path: Path) -> AsyncIterator[Door]:
    async with running(redis_url, key_ring_path) as door:
        yield door


@pytest.fixture
async def door(shared: Door) -> Door:
    """The gateway with default settings behind one trusted proxy. The service behind starts afresh for each test."""
    shared.service.behave = Service().behave
    shared.service.seen.clear()
    for group in shared.core.groups.values():
        for instance in group.instances:
            # What failed in the tests before must not keep this one's calls from the service.
            instance.breaker = Breaker()
    return shared


@pytest.fixture
async def open_door(redis_url: str, key_ring_path: Path) -> AsyncIterator[Start]:
    """`await open_door(setting=value, policy={...})`: a gateway of this test's own."""
    async with AsyncExitStack() as stack:

        async def start(**changed: Any) -> Door:
            url = changed.pop("redis_url", redis_url)
            return await stack.enter_async_context(running(url, key_ring_path, **changed))

        yield start


@pytest.fixture
def caller() -> str:
    return someone()
