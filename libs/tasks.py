"""Tasks that live as long as their process, and end when they are told to."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import structlog

from libs.db import is_unavailable
from libs.errors import Unavailable

log = structlog.get_logger()
Forever = Coroutine[Any, Any, None]
# Of a whole worker: several times what `stop` gives each of its tasks.
_PATIENCE_SECONDS = 5.0


@asynccontextmanager
async def background(*coroutines: Forever) -> AsyncIterator[None]:
    """Runs tasks for as long as the block; when one of them dies, the process is asked to end.

    A process that limps on without its listener looks healthy and delivers nothing; a restarted one delivers.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    for task in tasks:
        task.add_done_callback(_end_process_on_failure)
    try:
        yield
    finally:
        await stop(tasks)


async def supervise(*coroutines: Forever) -> None:
    """Runs the tasks of a worker. When one fails, all end, and its error is raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await stop(tasks)


async def stop(tasks: Iterable["asyncio.Task[Any]"], *, patience: float = 0.5) -> None:
    """Cancels until the tasks have ended.

    Once is not enough: redis-py 8.1 swallows about one cancellation in a hundred that meets an arriving answer, and the
    task would read on for ever. A task that stops others before it closes what they used needs more `patience` than
    they do: cancelled again in the middle of that, it would leave them running and connections open.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=patience)


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Does the work for ever, `seconds` apart. A failure is logged and the next turn tries again."""
    while True:
        try:
            await work()
        except Exception as error:
            # A periodic task repairs itself by running again; ending the worker would stop its neighbours as well.
            name = getattr(work, "__qualname__", str(work))
            if isinstance(error, Unavailable) or is_unavailable(error):
                # All of them at once, every second, as long as it takes: a trace of each would only be in the way.
                log.warning("periodic_task_waits", task=name, reason=type(error).__name__)
            else:
                log.exception("periodic_task_failed", task=name)
        await asyncio.sleep(seconds)


async def until_told_to_stop(main: Forever) -> None:
    """Runs `main` until SIGTERM or SIGINT."""
    task = asyncio.create_task(main)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    waiting = asyncio.create_task(told.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        await stop([task, waiting], patience=_PATIENCE_SECONDS)


def _end_process_on_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("background_task_died", task=task.get_name(), exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)
