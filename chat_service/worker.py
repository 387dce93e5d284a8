"""The background of chat: events on their way, names from auth, and the second look at every message."""

from datetime import timedelta

from chat_service.domain import profiles
from chat_service.domain.dispatch import Dispatcher
from chat_service.settings import Settings
from libs.clock import Clock
from libs.consumer import Consumer, handles
from libs.contracts.accounts import UserRegistered, UserUpdated
from libs.outbox import Relay
from libs.runtime import open_runtime
from libs.tasks import every, supervise

_HOUR = timedelta(hours=1).total_seconds()
HANDLERS = dict(
    [
        handles(UserRegistered, profiles.on_registered),
        handles(UserUpdated, profiles.on_updated),
    ]
)


async def main(settings: Settings, clock: Clock | None = None) -> None:
    async with open_runtime("chat", settings, clock=clock) as runtime:
        relay = Relay(runtime.db, runtime.redis, "chat", runtime.clock)
        await supervise(
            relay.run(),
            Consumer(runtime.db, runtime.redis, runtime.auth, HANDLERS, service="chat").run(),
            Dispatcher(runtime.db, runtime.redis, runtime.clock).run(),
            every(_HOUR, relay.forget),
        )
