"""Somebody whom simulated providers call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.sandbox.server import listen


class Receiver:
    """Keeps what it hears; refuses as many calls as it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Mapping[str, str]]] = []
        self.refuse = 0
        self.url = ""

    async def hear(self, request: Request) -> Response:
        if self.refuse:
            self.refuse -= 1
            return Response(status_code=503)
        self.heard.append((await request.body(), request.headers))
        return Response()


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    listener = listen("127.0.0.1", 0)
    app = Starlette(routes=[Route("/", receiver.hear, methods=["POST"])])
    server = _Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_keep_alive=75))
    receiver.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield receiver
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield
