"""The background of chat: events on their way, names from auth, the second look at every message, who is here, and
what is erased, and files that nobody needs."""

from datetime import timedelta
from functools import partial

from chat_service.domain import drift, erasure, interests, pins, profiles, pruning
from chat_service.domain.collecting import Collector
from chat_service.domain.dispatch import Dispatcher
from chat_service.domain.sightings import Sightings
from chat_service.domain.stores import Store
from chat_service.settings import Settings
from libs import calls, idempotency
from libs.clock import Clock
from libs.consumer import Consumer, handles
from libs.contracts.accounts import UserDeleted, UserRegistered, UserReinstated, UserSuspended, UserUpdated
from libs.outbox import open_relay
from libs.runtime import open_runtime
from libs.tasks import every, supervise

_SECOND = 1.0
_MINUTES = timedelta(minutes=10).total_seconds()
_MINUTE = 60.0
_HOUR = timedelta(hours=1).total_seconds()
_SIX_HOURS = 6 * _HOUR
HANDLERS = dict(
    [
        handles(UserRegistered, profiles.on_registered),
        handles(UserUpdated, profiles.on_updated),
        handles(UserSuspended, profiles.on_suspended),
        handles(UserReinstated, profiles.on_reinstated),
        handles(UserDeleted, erasure.on_deleted),
    ]
)


async def main(settings: Settings, clock: Clock | None = None) -> None:
    url = settings.database_url.get_secret_value()
    async with (
        open_runtime("chat", settings, clock=clock) as runtime,
        open_relay(url, runtime.redis, "chat", runtime.clock) as relay,
    ):
        sightings = Sightings(runtime.db, runtime.redis, runtime.clock)
        store = Store(settings.attachment_store)
        collector = Collector(runtime.db, store, runtime.clock, settings.attachment_unused_hours)
        kept = pruning.Kept(settings.event_log_keep, timedelta(days=settings.event_log_days))
        await supervise(
            relay.run(),
            Consumer(runtime.db, runtime.redis, runtime.auth, HANDLERS, service="chat").run(),
            Dispatcher(runtime.db, runtime.redis, runtime.clock).run(),
            every(_SECOND, sightings.step),
            # What was noted in Redis may have been flushed.
            every(_MINUTES, sightings.doubt_all),
            every(_SECOND, partial(erasure.work, runtime.db, runtime.clock)),
            every(_MINUTE, collector.step),
            every(_SIX_HOURS, collector.sweep),
            every(_MINUTE, partial(interests.expire, runtime.db, runtime.redis, runtime.clock)),
            every(_MINUTES, partial(profiles.refresh, runtime.db, partial(calls.profiles, runtime.auth))),
            every(drift.SECONDS, drift.Auditor(runtime.db, settings.audit_members_per_minute).step),
            every(_SECOND, partial(pins.expire, runtime.db, runtime.clock)),
            every(_HOUR, partial(pruning.work, runtime.db, runtime.clock, kept)),
            every(_HOUR, relay.forget),
            every(_HOUR, partial(idempotency.forget, runtime.db, runtime.clock)),
        )
