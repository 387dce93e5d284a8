"""The HTTP side of auth: where everything concrete is made."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from auth_service.domain import revocations
from auth_service.domain.breaches import Breaches
from auth_service.domain.hashing import Hasher
from auth_service.domain.kit import Kit
from auth_service.domain.passwords import Policy
from auth_service.domain.tokens import Mint, RefreshKeys
from auth_service.routes import (
    accounts,
    admin,
    audit,
    compat_hub,
    compat_rooms,
    compat_sender,
    internal,
    keys,
    sessions,
    tokens,
    users,
)
from auth_service.settings import Settings
from libs import internal as shared
from libs import web
from libs.clock import Clock
from libs.runtime import Runtime, open_runtime

_CLIENTS = {"sender": compat_sender, "hub": compat_hub, "rooms": compat_rooms}
_DESCRIPTION = "Accounts, sign-in, sessions and tokens."


@asynccontextmanager
async def open_kit(runtime: Runtime, settings: Settings) -> AsyncIterator[Kit]:
    hasher = Hasher(settings.hashing_threads)
    refresh_keys = RefreshKeys(settings.refresh_keys.get_secret_value())
    breaches = Breaches(settings.hibp_url) if settings.hibp_url else None
    try:
        yield Kit(
            database=runtime.db,
            redis=runtime.redis,
            clock=runtime.clock,
            hasher=hasher,
            passwords=Policy(nist=settings.password_profile == "nist", breaches=breaches),  # noqa: S105
            mint=Mint(runtime.ring, refresh_keys, runtime.clock),
            cipher=runtime.cipher,
            sessions_per_user=settings.sessions_per_user,
            must_verify=settings.email_verification == "required",
            avatar_hosts=frozenset(settings.avatar_hosts),
        )
    finally:
        hasher.close()
        if breaches is not None:
            await breaches.close()


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    clock = clock or Clock()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pull = revocations.active_at(clock)
        async with (
            open_runtime("auth", settings, clock=clock, pull=pull) as runtime,
            open_kit(runtime, settings) as kit,
        ):
            runtime.onto(app)
            app.state.kit = kit
            yield

    async def database() -> None:
        await app.state.db.ping()

    app = web.create_app(
        name="auth",
        title="Parley auth",
        description=_DESCRIPTION,
        settings=settings,
        routers=[
            *(module.router for module in (accounts, admin, audit, tokens, sessions, users, keys, internal, shared)),
            *(_CLIENTS[name].router for name in settings.existing_clients),
        ],
        lifespan=lifespan,
        # Redis is not among them: without it people still sign in, and sign out.
        checks={"database": database},
    )
    return app
