"""Many small writes as few big ones: what comes while a batch is being written goes out with the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """`write` gets at most `most` items and returns as many results. It must not raise for what it can foresee.

    `linger`: seconds that a batch waits for company if the one before had some. What comes alone is written at once.
    """

    def __init__(
        self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, most: int, linger: float = 0.0
    ) -> None:
        self._write = write
        self._most = most
        self._linger = linger
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, item: Item) -> "asyncio.Future[Result]":
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._arrived.set()
        self._empty.clear()
        return future

    async def run(self) -> None:
        company = False
        while True:
            await self._arrived.wait()
            # Whatever else is ready to run, or soon will be, may still come along.
            await asyncio.sleep(self._linger if company and len(self._waiting) < self._most else 0)
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            if not self._waiting:
                self._arrived.clear()
            company = len(batch) > 1
            results = await self._write([item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
            if not self._waiting:
                self._empty.set()

    async def drained(self) -> None:
        """Returns once everything that was put is written."""
        await self._empty.wait()
