"""How the whole is doing, as the gateway sees it."""

import asyncio
from collections.abc import Mapping
from time import monotonic

import httpx2

_KEPT_SECONDS = 1.0
_TIMEOUT_SECONDS = 2.0


class Whole:
    """Asks one process of each service after the other; a second's worth of callers shares the answer."""

    def __init__(self, services: Mapping[str, list[str]]) -> None:
        self._services = services
        self._states: dict[str, str] = {}
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def states(self) -> dict[str, str]:
        """`healthy` or `unhealthy` by service."""
        async with self._turn:
            if monotonic() >= self._until:
                async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
                    ready = await asyncio.gather(*(_any_ready(client, urls) for urls in self._services.values()))
                words = ("healthy" if good else "unhealthy" for good in ready)
                self._states = dict(zip(self._services, words, strict=True))
                self._until = monotonic() + _KEPT_SECONDS
            return self._states


async def _any_ready(client: httpx2.AsyncClient, urls: list[str]) -> bool:
    for url in urls:
        try:
            answer = await client.get(f"{url.rstrip('/')}/health/ready")
        except httpx2.HTTPError:
            continue
        if answer.status_code == 200:
            return True
    return False
