"""The HTTP and socket side of chat: where everything concrete is made."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from chat_service.domain.bus import Bus
from chat_service.domain.context import Context
from chat_service.domain.hub import Hub
from chat_service.domain.limits import Limit, SendLimits
from chat_service.domain.log import Log
from chat_service.domain.presence import Presence
from chat_service.domain.sending import LANES, Writer
from chat_service.routes import conversations, members, messages, tickets
from chat_service.routes.socket import SocketDoor
from chat_service.settings import Settings
from libs import api_tokens, internal, web
from libs.auth import authenticate, authenticate_program, revoked
from libs.clock import Clock
from libs.errors import Unavailable
from libs.lanes import Lanes
from libs.revocation import Refusal
from libs.runtime import Runtime, open_runtime
from libs.tasks import background
from libs.tokens import Claims

_READING_LANES = 4
_DESCRIPTION = "Conversations and messages. Live delivery is the socket at `/ws`, described in `docs/protocol.md`."


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        def on_revocation() -> None:
            # Revocations are followed from the first moment on, sockets are there a little later.
            if hasattr(app.state, "context"):
                app.state.context.hub.check_revoked(app.state.revocations)

        async with open_runtime("chat", settings, clock=clock, on_revocation=on_revocation) as runtime:
            runtime.onto(app)
            async with open_context(runtime, settings) as context:
                app.state.context = context
                yield

    async def database() -> None:
        await app.state.db.ping()

    async def redis() -> None:
        await app.state.redis.ping()

    async def fan_out() -> None:
        if not app.state.context.bus.healthy:
            raise Unavailable

    app = web.create_app(
        name="chat",
        title="Parley chat",
        description=_DESCRIPTION,
        settings=settings,
        routers=[module.router for module in (conversations, members, messages, tickets, internal)],
        lifespan=lifespan,
        checks={"database": database, "redis": redis, "fan_out": fan_out},
    )
    app.add_middleware(SocketDoor)
    return app


@asynccontextmanager
async def open_context(runtime: Runtime, settings: Settings) -> AsyncIterator[Context]:
    node = secrets.token_hex(6)
    url = settings.database_url.get_secret_value()
    writing, reading = Lanes("chat", url, LANES), Lanes("chat", url, _READING_LANES)
    bus = Bus(settings.redis_url, node)
    log = Log(reading)
    hub = Hub(bus, log, runtime.clock)
    presence = Presence(bus, runtime.redis, node, runtime.clock)
    presence.connected = hub.connected

    async def accept(token: str) -> Claims:
        if not token.startswith(api_tokens.PREFIX):
            return (await authenticate(token, runtime.verifier, runtime.revocations)).claims
        caller = await authenticate_program(token, runtime.api_tokens, runtime.revocations)
        api_tokens.require_both(caller.scopes or (), "chat")
        return caller.claims

    async def refused(claims: Claims) -> Refusal | None:
        return await revoked(claims, runtime.revocations)

    context = Context(
        clock=runtime.clock,
        redis=runtime.redis,
        bus=bus,
        hub=hub,
        log=log,
        lanes=reading,
        writer=Writer(writing, runtime.clock, hub.publish),
        presence=presence,
        authenticate=accept,
        refused=refused,
        send_limits=SendLimits(
            Limit(settings.send_rate, settings.send_burst),
            Limit(settings.conversation_send_rate, settings.conversation_send_burst),
        ),
        frame_limit=Limit(settings.frame_rate, settings.frame_burst),
        byte_limit=Limit(256 * 1024, 256 * 1024),
        subscribe_limit=Limit(50, max(100, settings.streams_per_socket)),
        typing_limit=Limit(0.5, 1),
        sockets_per_user=settings.sockets_per_user,
        streams_per_socket=settings.streams_per_socket,
        heartbeat_seconds=settings.heartbeat_seconds,
        idle_seconds=settings.idle_seconds,
        message_max_bytes=settings.message_max_bytes,
    )
    try:
        async with background(bus.run(), hub.run(), presence.run()):
            yield context
            await context.writer.drain()
    finally:
        await presence.end()
        await writing.close()
        await reading.close()
