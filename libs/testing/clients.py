"""Talking to an app in the same process, through its whole ASGI stack."""

import ipaddress
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI

_OWN = ("127.0.0.1", 123)
_networks = itertools.count(1)


class Transport(httpx2.ASGITransport):
    """Each request comes from the address in its extension `client`, or from this one's own.

    Port 0 is how the server marks an address that a trusted proxy has forwarded.
    """

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Read before the first wait, so that requests at once do not take each other's.
        self.client = request.extensions.get("client", _OWN)
        return await super().handle_async_request(request)


@asynccontextmanager
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """The app with its lifespan running, behind a client. What ends in a 500 outside ends in a 500 here."""
    async with app.router.lifespan_context(app):
        transport = Transport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            yield http


def some_address() -> str:
    """An address that no other test of this process has, nor a neighbour of it (IPv4 /24)."""
    return str(ipaddress.ip_address(0x0A000001 + (next(_networks) << 8)))
