"""The HTTP and socket side of chat: where everything concrete is made."""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI

from chat_service.domain import receipt_feed, typing
from chat_service.domain.bus import Bus
from chat_service.domain.context import Context
from chat_service.domain.hub import Hub
from chat_service.domain.limits import Limit, SendLimits
from chat_service.domain.log import Log
from chat_service.domain.pictures import Pictures
from chat_service.domain.presence import Presence
from chat_service.domain.receipt_feed import ReceiptFeed
from chat_service.domain.recent import Recent
from chat_service.domain.sending import LANES, Writer
from chat_service.domain.stores import Store
from chat_service.domain.uploads import Files
from chat_service.domain.uploads import Limits as FileLimits
from chat_service.domain.watching import CHANNEL, MOST, Watching
from chat_service.routes import (
    attachments,
    blocks,
    compat_rooms,
    contacts,
    conversations,
    event_streams,
    exports,
    forwards,
    interests,
    joining,
    members,
    message_content,
    messages,
    overview,
    pins,
    preferences,
    presence,
    reactions,
    receipts,
    reports,
    saved,
    search,
    sync,
    threads,
    tickets,
    verify,
)
from chat_service.routes.socket import SocketDoor
from chat_service.settings import Settings
from libs import api_tokens, calls, internal, web
from libs.auth import authenticate, authenticate_program, revoked
from libs.clock import Clock
from libs.errors import Unavailable
from libs.http import InternalClient
from libs.lanes import Lanes
from libs.revocation import Refusal
from libs.runtime import Runtime, open_runtime
from libs.tasks import background
from libs.tokens import Claims

_READING_LANES = 4
# In their order: a path with a name comes before the one with an id in its place.
_ROUTERS = (
    # Before the conversations, whose paths would take its `changes` for an id.
    sync,
    search,
    verify,
    attachments,
    receipts,
    presence,
    threads,
    blocks,
    contacts,
    interests,
    exports,
    reports,
    joining,
    conversations,
    event_streams,
    members,
    preferences,
    saved,
    overview,
    forwards,
    messages,
    message_content,
    reactions,
    pins,
    tickets,
    internal,
)
_CONTROLS = {
    receipt_feed.CONTROL: receipt_feed.arrived,
    typing.CONTROL: typing.arrived,
    typing.FORGET: typing.forget,
}
_LOCKING_LANES = 2
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
        routers=[module.router for module in _ROUTERS],
        lifespan=lifespan,
        uploads=re.compile("/api/v1/attachments"),
        checks={"database": database, "redis": redis, "fan_out": fan_out},
    )
    _answer_existing_clients(app, settings)
    app.add_middleware(SocketDoor)
    return app


def _answer_existing_clients(app: FastAPI, settings: Settings) -> None:
    if "rooms" in settings.existing_clients:
        app.include_router(compat_rooms.router)


@asynccontextmanager
async def open_context(runtime: Runtime, settings: Settings) -> AsyncIterator[Context]:
    node = secrets.token_hex(6)
    url = settings.database_url.get_secret_value()
    writing, reading = Lanes("chat", url, LANES), Lanes("chat", url, _READING_LANES)
    locking = Lanes("chat", url, _LOCKING_LANES)
    bus = Bus(settings.redis_url, node)
    notify = InternalClient(settings.notify_url, "notify", runtime.service_tokens)
    log = Log(reading)
    hub = Hub(bus, log, runtime.clock)
    presence = Presence(bus, runtime.redis, node, runtime.clock)
    presence.connected = hub.connected
    feed = ReceiptFeed(hub, reading)
    hub.controls = _CONTROLS
    watching = Watching(bus, reading)
    hub.listeners, hub.on_return = {CHANNEL: watching.receive}, watching.doubt_all
    context = Context(
        clock=runtime.clock,
        db=runtime.db,
        redis=runtime.redis,
        bus=bus,
        hub=hub,
        log=log,
        lanes=reading,
        locking=locking,
        recent=Recent(reading, runtime.redis),
        writer=Writer(writing, runtime.clock, hub.publish, mention_all_max=settings.mention_all_max),
        presence=presence,
        receipts=feed,
        watching=watching,
        files=_files(settings, reading),
        authenticate=partial(_accept, runtime),
        refused=partial(_refused, runtime),
        read_notification=partial(calls.read_notification, notify),
        **_bounds(settings),
    )
    try:
        async with background(bus.run(), hub.run(), presence.run(), feed.run(), watching.run()):
            yield context
            await context.writer.drain()
            await feed.flush()
    finally:
        await presence.end()
        await notify.close()
        await writing.close()
        await reading.close()
        await locking.close()


def _bounds(settings: Settings) -> dict[str, Any]:
    """How much, how fast, how long."""
    return {
        "send_limits": SendLimits(
            Limit(settings.send_rate, settings.send_burst),
            Limit(settings.conversation_send_rate, settings.conversation_send_burst),
        ),
        "frame_limit": Limit(settings.frame_rate, settings.frame_burst),
        "byte_limit": Limit(256 * 1024, 256 * 1024),
        "subscribe_limit": Limit(50, max(100, settings.streams_per_socket)),
        "typing_limit": Limit(0.5, 1),
        "watch_limit": Limit(200, 3 * MOST),
        "content_limit": Limit(settings.change_rate, settings.change_burst),
        "sync_limit": Limit(settings.sync_rate, max(1, int(settings.sync_rate))),
        "people_limit": Limit(settings.people_rate, settings.people_burst),
        "conversation_members": settings.conversation_members,
        "rooms_gap_seconds": settings.throttle_rate_seconds,
        "sockets_per_user": settings.sockets_per_user,
        "ungreeted_per_address": settings.ungreeted_per_address,
        "streams_per_socket": settings.streams_per_socket,
        "heartbeat_seconds": settings.heartbeat_seconds,
        "idle_seconds": settings.idle_seconds,
        "message_max_bytes": settings.message_max_bytes,
        "typing_max_members": settings.typing_max_members,
        "edit_seconds": settings.edit_window_seconds,
        "delete_seconds": settings.delete_window_seconds,
    }


async def _accept(runtime: Runtime, token: str) -> Claims:
    if not token.startswith(api_tokens.PREFIX):
        return (await authenticate(token, runtime.verifier, runtime.revocations)).claims
    caller = await authenticate_program(token, runtime.api_tokens, runtime.revocations)
    api_tokens.require_both(caller.scopes or (), "chat")
    return caller.claims


async def _refused(runtime: Runtime, claims: Claims) -> Refusal | None:
    return await revoked(claims, runtime.revocations)


def _files(settings: Settings, lanes: Lanes) -> Files:
    limits = FileLimits(
        max_bytes=settings.attachment_max_bytes,
        quota=settings.attachment_quota_bytes,
        types=tuple(settings.attachment_types),
        unused_hours=settings.attachment_unused_hours,
    )
    return Files(Store(settings.attachment_store), Pictures(settings.attachment_max_pixels), limits, lanes)
