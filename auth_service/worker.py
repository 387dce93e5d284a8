"""The background of auth: events on their way, revocations kept in Redis, keys that take turns, and what may be
forgotten."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from auth_service.domain import (
    audit,
    chain,
    deletion,
    exports,
    housekeeping,
    months,
    presence,
    resealing,
    revocations,
    usage,
)
from auth_service.domain.key_turns import KeyTurns
from auth_service.settings import Settings
from libs import revocation
from libs.clock import Clock
from libs.consumer import Consumer, handles
from libs.contracts.audit import Audited
from libs.db import Database
from libs.http import InternalClient
from libs.outbox import open_relay
from libs.revocation import HEARTBEAT_SECONDS
from libs.runtime import open_runtime
from libs.tasks import every, supervise

_HOUR = timedelta(hours=1).total_seconds()
_SEAL_SECONDS = 1.0
_LOOK_SECONDS = 2.0
_MINUTE = 60.0
_HEARD = dict([handles(Audited, audit.on_audited)])

log = structlog.get_logger()


async def main(settings: Settings, clock: Clock | None = None) -> None:
    clock = clock or Clock()
    url = settings.database_url.get_secret_value()
    async with (
        open_runtime("auth", settings, clock=clock, pull=revocations.active_at(clock)) as runtime,
        open_relay(url, runtime.redis, "auth", clock) as relay,
    ):
        chat = InternalClient(settings.chat_url, "chat", runtime.service_tokens)
        notify = InternalClient(settings.notify_url, "notify", runtime.service_tokens)
        consumer = partial(Consumer, runtime.db, runtime.redis, service="auth")
        turns = KeyTurns(runtime.db, runtime.ring, clock, days=settings.key_rotation_days)
        keep = timedelta(days=settings.audit_keep_days)
        keep_usage = timedelta(days=settings.usage_keep_days)
        try:
            await supervise(
                relay.run(),
                consumer(chat, {**presence.handlers(), **_HEARD}).run(),
                consumer(notify, _HEARD).run(),
                every(HEARTBEAT_SECONDS, partial(beat, runtime.db, runtime.redis, clock, epoch=str(uuid4()))),
                every(_LOOK_SECONDS, partial(exports.make_waiting, runtime.db, runtime.cipher, clock)),
                every(_MINUTE, partial(deletion.purge, runtime.db, clock)),
                every(_MINUTE, turns.look),
                every(_HOUR, relay.forget),
                every(_HOUR, partial(housekeeping.forget, runtime.db, clock)),
                every(_SEAL_SECONDS, partial(chain.seal, runtime.db)),
                every(_HOUR, partial(chain.tell_head, runtime.db)),
                every(_HOUR, partial(resealing.renew, runtime.db, runtime.cipher)),
                every(_HOUR, partial(keep_months, runtime.db, clock, keep=keep)),
                every(_HOUR, partial(usage.forget, runtime.db, clock, keep=keep_usage)),
            )
        finally:
            await chat.close()
            await notify.close()


async def keep_months(database: Database, clock: Clock, *, keep: timedelta) -> None:
    await months.prepare(database, clock)
    await months.forget(database, clock, keep=keep)


async def beat(database: Database, redis: Redis, clock: Clock, *, epoch: str) -> None:
    """Tells every process that revocations flow, after publishing those that a request could not."""
    try:
        await revocations.publish_waiting(database, redis, clock)
        await revocation.heartbeat(redis, epoch, partial(revocations.active, database, clock))
    except (RedisError, OSError) as error:
        log.warning("heartbeat_missed", reason=type(error).__name__)
