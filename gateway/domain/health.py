"""How the whole is doing, as the gateway sees it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import httpx2

from gateway.domain.pipe import Pipe
from libs.tls import tls_context

_KEPT_SECONDS = 1.0
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class State:
    """`services` says of each whether one of its processes can answer. `database`: whether those that could be asked
    reach theirs. Times are milliseconds, None where there was no answer: the slowest database's, as its service
    measured it, and Redis's as this process did."""

    services: Mapping[str, bool]
    database: bool
    redis: bool
    database_ms: float | None
    redis_ms: float | None

    @property
    def healthy(self) -> bool:
        return self.redis and all(self.services.values())

    @property
    def broken(self) -> str:
        """What is to blame: a server before the services that need it."""
        parts = {"database": self.database, "redis": self.redis, **self.services}
        return next((name for name, good in parts.items() if not good), "")


@dataclass(frozen=True, slots=True)
class _Said:
    """A service of itself."""

    ready: bool = False
    checks: Mapping[str, Any] = field(default_factory=dict)
    ms: Mapping[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return self.ready and "down" not in self.checks.values()

    @property
    def database(self) -> bool:
        return bool(self.checks.get("database") != "down")

    @property
    def database_ms(self) -> float | None:
        found = self.ms.get("database")
        return float(found) if self.database and isinstance(found, int | float) else None


class Whole:
    """Asks one process of each service after the other; a second's worth of callers shares the answer."""

    def __init__(self, services: Mapping[str, list[str]], redis: Pipe) -> None:
        self._services = services
        self._redis = redis
        self._state: State | None = None
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def state(self) -> State:
        async with self._turn:
            if self._state is None or monotonic() >= self._until:
                self._state = await self._look()
                self._until = monotonic() + _KEPT_SECONDS
            return self._state

    async def _look(self) -> State:
        async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, verify=tls_context(), trust_env=False) as client:
            said = await asyncio.gather(*(_ask(client, urls) for urls in self._services.values()))
        waited = await self._redis.ping()
        measured = [each.database_ms for each in said if each.database_ms is not None]
        return State(
            services={name: each.good for name, each in zip(self._services, said, strict=True)},
            database=all(each.database for each in said),
            redis=self._redis.connected,
            database_ms=max(measured, default=None),
            redis_ms=None if waited is None else round(waited * 1000, 1),
        )


async def _ask(client: httpx2.AsyncClient, urls: list[str]) -> _Said:
    """What the first process that is ready says of itself, or else the last that answers at all."""
    said = _Said()
    for url in urls:
        try:
            answer = await client.get(f"{url.rstrip('/')}/health/ready")
        except httpx2.HTTPError:
            continue
        said = _read(answer)
        if said.ready:
            break
    return said


def _read(answer: httpx2.Response) -> _Said:
    try:
        body = answer.json()
    except ValueError:
        body = None
    return _Said(answer.is_success, _part(body, "checks"), _part(body, "ms"))


def _part(body: object, name: str) -> Mapping[str, Any]:
    part = body.get(name) if isinstance(body, dict) else None
    return part if isinstance(part, dict) else {}
