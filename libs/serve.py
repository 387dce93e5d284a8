"""Starting the two processes of a service: `serve` answers requests, `worker` runs tasks."""

import os
import socket
from collections.abc import Callable
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from libs import logging, metrics, telemetry
from libs.settings import CommonSettings
from libs.tasks import Forever, until_told_to_stop

log = structlog.get_logger()
_DRAIN_SECONDS = 30


def serve(name: str, settings: CommonSettings, create_app: Callable[[], FastAPI], **options: Any) -> None:
    """Serves until SIGTERM, then finishes what runs.

    `options` go to uvicorn; `http` and `ws` may be protocols of one's own.

    With PARLEY_LISTEN_FD the socket is inherited: whoever opened it can start the next process before the last one
    ends, and no connection is refused in between.
    """
    logging.configure(name, level=settings.log_level, form=settings.log_format)
    app = create_app()
    telemetry.instrument(name, settings.otlp_endpoint)
    metrics.expose(settings.host, settings.metrics_port)
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
    uvloop.run(uvicorn.Server(config).serve(sockets=sockets))


def work(name: str, settings: CommonSettings, main: Callable[[], Forever]) -> None:
    """Runs a worker until SIGTERM."""
    logging.configure(f"{name}-worker", level=settings.log_level, form=settings.log_format)
    telemetry.instrument(f"{name}-worker", settings.otlp_endpoint)
    metrics.expose(settings.host, settings.metrics_port)
    uvloop.run(until_told_to_stop(main()))
    log.info("worker_stopped")
