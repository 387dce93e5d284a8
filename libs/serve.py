"""Starting the two processes of a service: `serve` answers requests, `worker` runs tasks."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from libs import logging, metrics, telemetry
from libs.settings import CommonSettings

log = structlog.get_logger()
_DRAIN_SECONDS = 30


def serve(name: str, settings: CommonSettings, create_app: Callable[[], FastAPI], **options: Any) -> None:
    """Serves until SIGTERM, then finishes what runs. `options` go to uvicorn.

    With PARLEY_LISTEN_FD the socket is inherited: whoever opened it can start the next process before the last one
    ends, and no connection is refused in between.
    """
    logging.configure(name, level=settings.log_level, form=settings.log_format)
    app = create_app()
    telemetry.instrument(name, settings.otlp_endpoint, app)
    metrics.expose(settings.host, settings.metrics_port)
    inherited = os.environ.get("PARLEY_LISTEN_FD")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="uvloop",
        ws="websockets-sansio",
        # Deflate keeps 64 KiB a connection and more; chat frames are small, and the proxy in front may compress.
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_max_size=65_536,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        # Longer than the gateway keeps its idle connections, so that the side that closes first is the one that asks.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        **options,
    )
    sockets = [socket.socket(fileno=int(inherited))] if inherited else None
    uvloop.run(uvicorn.Server(config).serve(sockets=sockets))


def work(name: str, settings: CommonSettings, main: Callable[[], Awaitable[None]]) -> None:
    """Runs a worker until SIGTERM."""
    logging.configure(f"{name}-worker", level=settings.log_level, form=settings.log_format)
    telemetry.instrument(f"{name}-worker", settings.otlp_endpoint)
    metrics.expose(settings.host, settings.metrics_port)
    uvloop.run(_until_told_to_stop(main))


async def supervise(*coroutines: Coroutine[Any, Any, None]) -> None:
    """All tasks of a worker: when one fails, all end, and the process with them."""
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Does the work for ever, `seconds` apart. A failure is logged and the next turn tries again."""
    while True:
        try:
            await work()
        except Exception:
            # A periodic task repairs itself by running again; ending the worker would stop its neighbours as well.
            log.exception("periodic_task_failed", task=getattr(work, "__qualname__", str(work)))
        await asyncio.sleep(seconds)


async def _until_told_to_stop(main: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(main())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("worker_stopped")
