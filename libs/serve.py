"""Starting the two processes of a service: `serve` answers requests, `worker` runs tasks."""

import asyncio
import gc
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from libs import logging, metrics, telemetry
from libs.settings import CommonSettings
from libs.tasks import Forever, until_told_to_stop

log = structlog.get_logger()
_DRAIN_SECONDS = 30
# New objects with references to others, more than are gone, before the collector looks at the youngest.
_YOUNG = 10_000
_LAST = (b"connection", b"close")


@runtime_checkable
class Drained(Protocol):
    """A connection that does not take what it says from uvicorn's default headers, and is told by a call instead."""

    def drain(self) -> None: ...


class Server(uvicorn.Server):
    """Stops without losing a request.

    uvicorn closes connections that rest at once, and a request that is on its way to one of them is lost. Here they
    stay for `rest_seconds`, while every answer says that it is the last of its connection: whoever asks in time is
    answered and comes back by a new connection, to the next process.
    """

    def __init__(self, config: uvicorn.Config, *, rest_seconds: float = 0.0) -> None:
        super().__init__(config)
        self._rest_seconds = rest_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            spare_collector()
            _tell_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        # The list itself: requests that have begun hold it, and their heads may not be written yet.
        self.server_state.default_headers.append(_LAST)
        for connection in list(self.server_state.connections):
            if isinstance(connection, Drained):
                connection.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rest_seconds):
                while self.server_state.connections and not self.force_exit:  # noqa: ASYNC110  -- uvicorn tells nobody
                    await asyncio.sleep(0.05)
        await super().shutdown(sockets)


def _tell_ready() -> None:
    """Whoever replaces a process waits for this before it stops the one before."""
    if handle := os.environ.pop("PARLEY_READY_FD", None):
        os.write(int(handle), b"ready\n")
        os.close(int(handle))


def serve(name: str, settings: CommonSettings, create_app: Callable[[], FastAPI], **options: Any) -> None:
    """Serves until SIGTERM, then finishes what runs.

    `options` go to uvicorn; `http` and `ws` may be protocols of one's own. `open_files`: how many files and connections
    the process may have to have open at once.

    With PARLEY_LISTEN_FD the socket is inherited: whoever opened it can start the next process before the last one
    ends, and no connection is refused in between. PARLEY_READY_FD says that it does: it is told when this one is there.
    """
    logging.configure(name, level=settings.log_level, form=settings.log_format)
    allow_open_files(options.pop("open_files", 0))
    app = create_app()
    telemetry.instrument(name, settings.otlp_endpoint)
    metrics.expose(settings.host, settings.metrics_port, patient="PARLEY_READY_FD" in os.environ)
    inherited = os.environ.get("PARLEY_LISTEN_FD")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=options.pop("http", "httptools"),
        loop="uvloop",
        ws=options.pop("ws", "websockets-sansio"),
        # Deflate keeps 64 KiB a connection and more; chat frames are small, and the proxy in front may compress.
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_max_size=options.pop("ws_max_size", 65_536),
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
    uvloop.run(Server(config, rest_seconds=settings.drain_seconds).serve(sockets=sockets))


def allow_open_files(needed: int) -> None:
    """As far as the limits of the process can be raised; says so where that is not far enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (ValueError, OSError):
        allowed = soft  # systems have limits of their own beside it
    if allowed < needed:
        log.info("few_open_files", allowed=allowed, needed=needed)


def spare_collector() -> None:
    """What has been loaded stays for as long as the process does. The collector of cycles would go through all of it
    again and again, which is up to a quarter of what a request costs; and requests leave few cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


def work(name: str, settings: CommonSettings, main: Callable[[], Forever]) -> None:
    """Runs a worker until SIGTERM."""
    logging.configure(f"{name}-worker", level=settings.log_level, form=settings.log_format)
    telemetry.instrument(f"{name}-worker", settings.otlp_endpoint)
    metrics.expose(settings.host, settings.metrics_port)
    spare_collector()
    uvloop.run(until_told_to_stop(main()))
    log.info("worker_stopped")
