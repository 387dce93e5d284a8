"""The background of chat: events on their way, names from auth, the second look at every message, who is here, and
what is erased."""

from datetime import timedelta
from functools import partial

from chat_service.domain import erasure, profiles
from chat_service.domain.dispatch import Dispatcher
from chat_service.domain.sightings import Sightings
from chat_service.settings import Settings
from libs.clock import Clock
from libs.consumer import Consumer, handles
from libs.contracts.accounts import UserDeleted, UserRegistered, UserUpdated
from libs.outbox import Relay
from libs.runtime import open_runtime
from libs.tasks import every, supervise

_SECOND = 1.0
_MINUTES = timedelta(minutes=10).total_seconds()
_HOUR = timedelta(hours=1).total_seconds()
HANDLERS = dict(
    [
        handles(UserRegistered, profiles.on_registered),
        handles(UserUpdated, profiles.on_updated),
        handles(UserDeleted, erasure.on_deleted),
    ]
)


async def main(settings: Settings, clock: Clock | None = None) -> None:
    async with open_runtime("chat", settings, clock=clock) as runtime:
        relay = Relay(runtime.db, runtime.redis, "chat", runtime.clock)
        sightings = Sightings(runtime.db, runtime.redis, runtime.clock)
        await supervise(
            relay.run(),
            Consumer(runtime.db, runtime.redis, runtime.auth, HANDLERS, service="chat").run(),
            Dispatcher(runtime.db, runtime.redis, runtime.clock).run(),
            every(_SECOND, sightings.step),
            # What was noted in Redis may have been flushed.
            every(_MINUTES, sightings.doubt_all),
            every(_SECOND, partial(erasure.work, runtime.db, runtime.clock)),
            every(_HOUR, relay.forget),
        )
