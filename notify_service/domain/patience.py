"""How those who send wait: for something to do, and at their end for what is under way."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

GRACE_SECONDS = 8.0
"""A worker that is told to stop lets the messages under way end."""

T = TypeVar("T")


async def or_grace(work: "asyncio.Task[T]") -> T:
    """When cancelled, lets the work end first: a message that is half out would otherwise be `unknown`."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work}, timeout=GRACE_SECONDS)
        work.cancel()
        raise


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Cancelled again and again meanwhile, as a stopping worker is, and finishing all the same."""
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue
    task.result()


async def woken(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
