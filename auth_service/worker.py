"""The background of auth: events on their way, revocations kept in Redis, and what may be forgotten."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from auth_service.domain import housekeeping, presence, revocations
from auth_service.settings import Settings
from libs import revocation
from libs.clock import Clock
from libs.consumer import Consumer
from libs.db import Database
from libs.http import InternalClient
from libs.outbox import Relay
from libs.revocation import HEARTBEAT_SECONDS
from libs.runtime import open_runtime
from libs.tasks import every, supervise

_HOUR = timedelta(hours=1).total_seconds()

log = structlog.get_logger()


async def main(settings: Settings, clock: Clock | None = None) -> None:
    clock = clock or Clock()
    async with open_runtime("auth", settings, clock=clock, pull=revocations.active_at(clock)) as runtime:
        relay = Relay(runtime.db, runtime.redis, "auth", clock)
        chat = InternalClient(settings.chat_url, "chat", runtime.service_tokens)
        await supervise(
            relay.run(),
            Consumer(runtime.db, runtime.redis, chat, presence.handlers(), service="auth").run(),
            every(HEARTBEAT_SECONDS, partial(beat, runtime.db, runtime.redis, clock, epoch=str(uuid4()))),
            every(_HOUR, relay.forget),
            every(_HOUR, partial(housekeeping.forget, runtime.db, clock)),
        )


async def beat(database: Database, redis: Redis, clock: Clock, *, epoch: str) -> None:
    """Tells every process that revocations flow, after publishing those that a request could not."""
    try:
        await revocations.publish_waiting(database, redis, clock)
        await revocation.heartbeat(redis, epoch, partial(revocations.active, database, clock))
    except (RedisError, OSError) as error:
        log.warning("heartbeat_missed", reason=type(error).__name__)
