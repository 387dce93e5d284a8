"""Calls from a provider back to us, as badly behaved as real ones: late, twice, out of order, many in one, or never."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import httpx2
import structlog
from pydantic import BaseModel, ConfigDict, Field

from libs.tls import tls_context

log = structlog.get_logger(__name__)

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.1
_TIMEOUT_SECONDS = 10.0


class Manners(BaseModel):
    """Where calls go, and how."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, pattern=r"^https?://\S+$", max_length=2000, description="None: nobody is called.")
    delay_ms: int = Field(0, ge=0, le=300_000, description="How long items are kept before they are told.")
    copies: int = Field(1, ge=1, le=10, description="How often each call is made.")
    batch: int = Field(1, ge=1, le=1000, description="Most items in one call; those that wait together go together.")
    reverse: bool = Field(default=False, description="Of items that wait together, the newest first.")
    drop: int = Field(0, ge=0, le=1_000_000, description="So many of the next items are never told.")


Pack = Callable[[Sequence[Any]], tuple[bytes, Mapping[str, str]]]


class Callbacks:
    """Tells items in the order of their coming, unless its manners are bad. `pack` makes a body and its headers."""

    def __init__(self, pack: Pack) -> None:
        self.manners = Manners()
        self.made = 0
        self.refused = 0
        self._pack = pack
        self._waiting: list[tuple[str, Any]] = []
        self._telling: asyncio.Task[None] | None = None

    def add(self, *items: Any, url: str | None = None) -> None:
        """`url`: where these go instead of where all others do."""
        to = url or self.manners.url
        for item in items:
            if self.manners.drop:
                self.manners.drop -= 1
            elif to is not None:
                self._waiting.append((to, item))
        if self._waiting and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell())

    @property
    def idle(self) -> bool:
        return not self._waiting and (self._telling is None or self._telling.done())

    async def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})

    async def _tell(self) -> None:
        async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, verify=tls_context(), trust_env=False) as http:
            while self._waiting:
                manners = self.manners
                # At least once around the loop, so that what happens together can be told together.
                await asyncio.sleep(manners.delay_ms / 1000)
                items, self._waiting = self._waiting, []
                if manners.reverse:
                    items.reverse()
                for to, found in groupby(items, key=itemgetter(0)):
                    await self._tell_one(http, to, [item for _, item in found])

    async def _tell_one(self, http: httpx2.AsyncClient, url: str, items: Sequence[Any]) -> None:
        for start in range(0, len(items), self.manners.batch):
            for _ in range(self.manners.copies):
                await self._call(http, url, items[start : start + self.manners.batch])

    async def _call(self, http: httpx2.AsyncClient, url: str, items: Sequence[Any]) -> None:
        """Until it is taken, a few times."""
        body, headers = self._pack(items)
        for attempt in range(_ATTEMPTS):
            try:
                answer = await http.post(url, content=body, headers=headers)
            except httpx2.HTTPError as error:
                log.info("callback_failed", reason=type(error).__name__)
            else:
                self.made += 1
                if answer.is_success:
                    return
                self.refused += 1
            await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
