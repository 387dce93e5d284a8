"""The gateway as an application: its own pages, and the tasks behind the front while they run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time

from fastapi import FastAPI

from gateway.deps import SWEEP_SECONDS, Gateway, build
from gateway.domain.documents import Reference
from gateway.domain.health import Whole
from gateway.domain.table import Owner
from gateway.routes import health, reference
from gateway.settings import Settings
from libs import web
from libs.health import Check, Doubtful
from libs.tasks import background

# Addresses change hands; a database that is made monthly has missed its month.
_OLD_SECONDS = 35 * 86_400


def create_app(settings: Settings) -> FastAPI:
    """To be served with `routes.front.Front` as uvicorn's protocol, which finds the gateway in `app.state`."""
    gateway = build(settings)
    services = {"auth": settings.auth_urls, "chat": settings.chat_urls, "notify": settings.notify_urls}

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with background(_sweep(gateway), *(task() for task in gateway.tasks)):
            yield
        gateway.close()
        for close in gateway.closing:
            await close()

    app = web.create_app(
        name="gateway",
        title="Parley gateway",
        description="One door to all services.",
        settings=settings,
        routers=[reference.router, health.router],
        lifespan=lifespan,
        checks=_checks(gateway, countries=settings.country_database is not None),
    )
    app.state.gateway = gateway
    app.state.reference = Reference(services, web.API_VERSION)
    app.state.whole = Whole(services, gateway.pipe)
    return app


def _checks(gateway: Gateway, *, countries: bool) -> dict[str, Check]:
    """What readiness hangs on. An old country database is only told of: refusing everybody would be worse."""

    async def redis() -> None:
        if not gateway.pipe.connected:
            raise ConnectionError

    async def upstreams() -> None:
        groups = [gateway.groups[owner] for owner in (Owner.AUTH, Owner.CHAT, Owner.NOTIFY)]
        if not any(await asyncio.gather(*(group.reachable() for group in groups))):
            raise ConnectionError

    async def country_database() -> None:
        built = gateway.policy.countries.built
        if built is None or time() - built > _OLD_SECONDS:
            raise Doubtful

    checks: dict[str, Check] = {"redis": redis, "upstreams": upstreams}
    return {**checks, "country_database": country_database} if countries else checks


async def _sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        gateway.sweep()
