import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

import structlog
from fastapi import FastAPI

from libs import calls, web
from libs import internal as shared
from libs.clock import Clock
from libs.db import is_unavailable
from libs.lanes import Lanes
from libs.runtime import Runtime, open_runtime
from libs.tasks import background
from notify_service.deps import Channels, allowed, fixed_accounts
from notify_service.domain.accounts import Fixed, make_fixed
from notify_service.domain.campaign_events import Following
from notify_service.domain.hooks import Hooks
from notify_service.domain.inboxes import Inboxes
from notify_service.domain.intake import Intake
from notify_service.domain.sending import Means
from notify_service.domain.signals import Signals
from notify_service.domain.told import Keeper
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.models import Notification
from notify_service.routes import (
    accounts,
    audiences,
    campaign_recipients,
    campaigns,
    categories,
    compat_sender,
    dead_letters,
    deliveries,
    devices,
    hooks,
    inbound_messages,
    internal,
    media,
    notifications,
    preferences,
    provider_templates,
    queues,
    suppressions,
    unsubscriptions,
)
from notify_service.routes.bodies import Incoming
from notify_service.schemas.inbox import notification_json
from notify_service.settings import Settings

# One writes what webhooks tell, one what comes into inboxes, one counts for open sockets; one looks up what is to be
# sent, and one stores it.
_LANES = 5
log = structlog.get_logger()
DESCRIPTION = "Your inbox of notifications, what was sent to you outside, and which of it you want."


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_runtime("notify", settings, clock=clock) as runtime:
            runtime.onto(app)
            app.state.allowed = allowed(settings)
            app.state.ask = partial(calls.profiles, runtime.auth)
            fixed = fixed_accounts(settings)
            await _make_accounts(runtime, fixed)
            inside = settings.private_networks
            app.state.channels = channels = Channels(fixed, runtime.cipher, private_networks=inside)
            app.state.following = Following(runtime.db, channels.of, runtime.clock)
            app.state.incoming = Incoming()
            app.state.public_url = settings.public_url
            app.state.unsubscribe_links = UnsubscribeLinks(settings.field_keys.get_secret_value(), settings.public_url)
            app.state.private_networks = inside
            async with _writers(app, runtime, settings):
                yield

    async def database() -> None:
        await app.state.db.ping()

    app = web.create_app(
        name="notify",
        title="Parley: notifications",
        description=DESCRIPTION,
        settings=settings,
        routers=[
            notifications.router,
            preferences.router,
            deliveries.router,
            devices.router,
            dead_letters.router,
            audiences.router,
            campaigns.router,
            campaigns.one,
            campaign_recipients.router,
            accounts.router,
            provider_templates.router,
            queues.router,
            suppressions.router,
            categories.router,
            media.router,
            inbound_messages.router,
            compat_sender.router,
            hooks.router,
            unsubscriptions.router,
            internal.router,
            shared.router,
        ],
        lifespan=lifespan,
        checks={"database": database},
        # Providers send forms, JSON and what they call so, mail programs forms of two kinds; recipients come as a file.
        uploads=re.compile("/hooks/.+|/u/[^/]+|/api/v1/audiences/[^/]+/file"),
    )
    return app


async def _make_accounts(runtime: Runtime, fixed: Iterable[Fixed]) -> None:
    """Those of the settings can be seen and sent over from the first request on, before any worker has begun."""
    try:
        async with runtime.db.transaction() as session:
            await make_fixed(session, fixed, runtime.clock.now())
    except Exception as error:
        if not is_unavailable(error):
            raise
        # They are there since this or a worker has begun for the first time: no reason not to begin now.
        log.warning("accounts_not_made", reason=type(error).__name__)


@asynccontextmanager
async def _writers(app: FastAPI, runtime: Runtime, settings: Settings) -> AsyncIterator[None]:
    """What many requests have done together, past sessions."""
    lanes = Lanes("notify", settings.database_url.get_secret_value(), _LANES)
    keeper = Keeper(lanes.fetch)
    app.state.hooks = Hooks(runtime.db, runtime.cipher, keeper)
    app.state.signals = signals = Signals(lanes, runtime.redis)

    def show(created: Notification) -> None:
        signals.show(created.user_id, notification_json(created))

    app.state.inboxes = inboxes = Inboxes(runtime.db, lanes, app.state.ask, show, clock=runtime.clock)
    intake = Intake(lanes.fetch, runtime.clock)
    app.state.means = Means(intake, app.state.ask, app.state.unsubscribe_links)
    try:
        async with background(signals.run(), keeper.run(), inboxes.run(), intake.run()):
            yield
    finally:
        await lanes.close()
