"""How the whole is doing, as the gateway sees it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx2

_KEPT_SECONDS = 1.0
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class State:
    """`services` says of each whether one of its processes can answer. `database`: whether those that could be asked
    reach theirs."""

    services: Mapping[str, bool]
    database: bool
    redis: bool

    @property
    def healthy(self) -> bool:
        return self.redis and all(self.services.values())

    @property
    def broken(self) -> str:
        """What is to blame: a server before the services that need it."""
        parts = {"database": self.database, "redis": self.redis, **self.services}
        return next((name for name, good in parts.items() if not good), "")


class Whole:
    """Asks one process of each service after the other; a second's worth of callers shares the answer."""

    def __init__(self, services: Mapping[str, list[str]], redis: Callable[[], bool]) -> None:
        self._services = services
        self._redis = redis
        self._state: State | None = None
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def state(self) -> State:
        async with self._turn:
            if self._state is None or monotonic() >= self._until:
                async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
                    found = await asyncio.gather(*(_checks(client, urls) for urls in self._services.values()))
                self._state = State(
                    services={
                        name: bool(checks) and all(state == "up" for state in checks.values())
                        for name, checks in zip(self._services, found, strict=True)
                    },
                    database=all(checks.get("database", "up") == "up" for checks in found),
                    redis=self._redis(),
                )
                self._until = monotonic() + _KEPT_SECONDS
            return self._state


async def _checks(client: httpx2.AsyncClient, urls: list[str]) -> dict[str, Any]:
    """What the first process that is ready says of itself, or else the last that answers at all."""
    found: dict[str, Any] = {}
    for url in urls:
        try:
            answer = await client.get(f"{url.rstrip('/')}/health/ready")
        except httpx2.HTTPError:
            continue
        found = {**_said(answer), "ready": "up" if answer.is_success else "down"}
        if answer.is_success:
            break
    return found


def _said(answer: httpx2.Response) -> dict[str, Any]:
    try:
        checks = answer.json()["checks"]
    except (ValueError, LookupError, TypeError):
        return {}
    return checks if isinstance(checks, dict) else {}
