from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from libs import calls, internal, web
from libs.clock import Clock
from libs.runtime import open_runtime
from libs.tasks import background
from notify_service.domain.signals import Signals
from notify_service.routes import deliveries, notifications, preferences
from notify_service.settings import Settings

DESCRIPTION = "Your inbox of notifications, what was sent to you outside, and which of it you want."


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_runtime("notify", settings, clock=clock) as runtime:
            runtime.onto(app)
            app.state.signals = Signals(runtime.db, runtime.redis)
            app.state.ask = partial(calls.profiles, runtime.auth)
            async with background(app.state.signals.run()):
                yield

    async def database() -> None:
        await app.state.db.ping()

    app = web.create_app(
        name="notify",
        title="Parley: notifications",
        description=DESCRIPTION,
        settings=settings,
        routers=[notifications.router, preferences.router, deliveries.router, internal.router],
        lifespan=lifespan,
        checks={"database": database},
    )
    return app
