"""Hears the events of auth and chat, and sends what is due."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from libs import calls, idempotency
from libs.clock import Clock
from libs.consumer import Consumer, handles
from libs.contracts.accounts import MessageRequested, UserDeleted, UserRegistered, UserUpdated
from libs.contracts.events import Event
from libs.contracts.messages import MessageSent
from libs.db import Database
from libs.http import InternalClient
from libs.ids import uuid7
from libs.lanes import Lanes
from libs.outbox import open_relay
from libs.runtime import Runtime, open_runtime
from libs.tasks import every, supervise
from notify_service.deps import fixed_accounts
from notify_service.domain import (
    accounts,
    campaign_progress,
    deliveries,
    devices,
    digests,
    endpoints,
    erasure,
    fallbacks,
    gauges,
    notifications,
    orders,
    pacing,
    preferences,
    profiles,
    provider_templates,
    quotas,
    recipient_quotas,
    retention,
    snoozes,
    standins,
    templates,
    throttles,
    told,
)
from notify_service.domain.arrivals import Arrivals
from notify_service.domain.channels.registry import OURS
from notify_service.domain.drafts import Draft
from notify_service.domain.happenings import Listening
from notify_service.domain.hearing import Hearing
from notify_service.domain.inbox_sender import InboxSender
from notify_service.domain.locks import Locks
from notify_service.domain.media import Fetching
from notify_service.domain.orders import INAPP, MAIL_ACCOUNT, SMS_ACCOUNT, Order
from notify_service.domain.polling import Pollers
from notify_service.domain.profiles import Ask
from notify_service.domain.sender import Tools
from notify_service.domain.senders import Senders, listen
from notify_service.domain.signals import Signals
from notify_service.domain.templates.kinds import PAGES
from notify_service.domain.turns import HIGH
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.domain.verdicts import Policy, policy_for
from notify_service.models import Account, Device, Notification, Profile
from notify_service.schemas.inbox import notification_json
from notify_service.settings import Settings

# Later than this a mail has nothing to say any more.
_WORTH_SENDING = timedelta(hours=24)
_SHORT_LIVED = dict.fromkeys(("phone_code", "phone_change"), timedelta(minutes=5))
_ERASE_SECONDS = 2.0
_HEAR_SECONDS = 0.2
_LOOK_SECONDS = 5.0
_FETCH_SECONDS = 0.5
_TELL_SECONDS = 0.5
# Providers tell for seven days what was not taken.
_TOLD_FOR = timedelta(days=8)
# Connections for marks and verdicts of all accounts, for what comes to inboxes and for what open sockets are shown.
_LANES = 4
_HOUR = timedelta(hours=1).total_seconds()

log = structlog.get_logger()


async def main(settings: Settings, clock: Clock | None = None) -> None:
    url = settings.database_url.get_secret_value()
    async with (
        open_runtime("notify", settings, clock=clock) as runtime,
        open_relay(url, runtime.redis, "notify", runtime.clock) as relay,
    ):
        chat = InternalClient(settings.chat_url, "chat", runtime.service_tokens)
        templates.prepare()
        policy = policy_of(settings)
        links = UnsubscribeLinks(settings.field_keys.get_secret_value(), settings.public_url)
        tools = tools_of(runtime, settings, policy, links)
        signals = Signals(tools.lanes, runtime.redis)
        heard = Heard(runtime, signals, link_base=settings.link_base)
        ask = partial(calls.profiles, runtime.auth)
        fixed = fixed_accounts(settings)
        async with runtime.db.transaction() as session:
            await accounts.settle_fixed(session, fixed, runtime.clock.now())
        senders = Senders(runtime.db, tools, fixed, of_inboxes(runtime, tools, ask, signals))
        fetching = Fetching(runtime.db, runtime.cipher, most_bytes=settings.media_max_bytes)
        consumer = partial(Consumer, runtime.db, runtime.redis, service="notify")
        try:
            await supervise(
                relay.run(),
                consumer(runtime.auth, heard.of_auth()).run(),
                consumer(chat, heard.of_chat()).run(),
                signals.run(),
                tools.locks.run(),
                senders.run(),
                Pollers(runtime.db, tools.locks, runtime.cipher).run(),
                listen(runtime.redis, senders),
                every(1, partial(reap, runtime.db, policy)),
                every(1, partial(campaign_progress.work, runtime.db, signals, links, runtime.clock)),
                every(1, partial(fallbacks.work, runtime.db, ask, runtime.clock)),
                every(1, partial(standins.work, runtime.db)),
                every(_LOOK_SECONDS, partial(gauges.work, runtime.db, runtime.clock, senders.tokens)),
                every(1, partial(digests.work, runtime.db, runtime.clock)),
                every(1, partial(snoozes.work, runtime.db, partial(show, signals), runtime.clock)),
                every(_HEAR_SECONDS, Hearing(runtime.db, runtime.clock).work),
                every(_FETCH_SECONDS, fetching.work),
                every(_TELL_SECONDS, partial(endpoints.work, runtime.db, signals, runtime.clock, tools.listening)),
                every(1, partial(provider_templates.work, runtime.db, runtime.cipher)),
                every(_ERASE_SECONDS, partial(erasure.work, runtime.db, runtime.clock)),
                every(_HOUR, relay.forget),
                every(_HOUR, partial(forget, runtime)),
                every(_HOUR, partial(accounts.warn, runtime.db, runtime.clock)),
                every(_HOUR, partial(retention.work, runtime.db, runtime.clock, **kept(settings))),
                every(_HOUR, partial(idempotency.forget, runtime.db, runtime.clock)),
            )
        finally:
            await tools.lanes.close()
            await chat.close()


def tools_of(runtime: Runtime, settings: Settings, policy: Policy, links: UnsubscribeLinks) -> Tools:
    return Tools(
        locks=Locks(runtime.db),
        lanes=Lanes("notify", settings.database_url.get_secret_value(), _LANES),
        cipher=runtime.cipher,
        links=links,
        clock=runtime.clock,
        listening=Listening(),
        policy_of=partial(policy_for, policy),
        private_networks=settings.private_networks,
    )


def of_inboxes(runtime: Runtime, tools: Tools, ask: Ask, signals: Signals) -> Callable[[Account], InboxSender]:
    arrivals = Arrivals(
        runtime.db,
        tools.lanes,
        ask=ask,
        show=partial(show_at_once, signals),
        listening=tools.listening,
        policy=tools.policy_of(INAPP),
        clock=runtime.clock,
    )
    return partial(InboxSender, db=runtime.db, arrivals=arrivals, tools=tools)


def show(signals: Signals, session: AsyncSession, created: Notification) -> None:
    """To whoever has the inbox open, after the commit."""
    signals.live(session, created.user_id, notification_json(created))


def show_at_once(signals: Signals, created: Notification) -> None:
    """The same of what is committed already."""
    signals.show(created.user_id, notification_json(created))


def kept(settings: Settings) -> dict[str, timedelta]:
    """How long what has ended stays."""
    return {
        "deliveries": timedelta(days=settings.delivery_keep_days),
        "inbound": timedelta(days=settings.inbound_keep_days),
    }


def policy_of(settings: Settings) -> Policy:
    return Policy(
        retry_base=settings.retry_base_seconds,
        retry_cap=settings.retry_cap_seconds,
        max_attempts=settings.max_attempts,
        lease=settings.lease_seconds,
        breaker=settings.breaker_seconds,
    )


async def forget(runtime: Runtime) -> None:
    now = runtime.clock.now()
    async with runtime.db.transaction() as session:
        await quotas.forget(session, now)
        await recipient_quotas.forget(session)
        await told.forget(session, now - _TOLD_FOR)
        await throttles.forget(session, now)


async def reap(db: Database, policy: Policy) -> None:
    async with db.transaction() as session:
        freed = await deliveries.reap(session, max_attempts=policy.max_attempts, ours=OURS)
    if freed:
        log.warning("deliveries_taken_over", count=freed)


class Heard:
    """What follows from each event. All of it in the transaction that also moves the position in the stream."""

    def __init__(self, runtime: Runtime, signals: Signals, *, link_base: str | None) -> None:
        self._clock = runtime.clock
        self._ask = partial(calls.profiles, runtime.auth)
        self._signals = signals
        self._link_base = link_base

    def of_auth(self) -> dict[str, Any]:
        return dict(
            [
                handles(UserRegistered, self.registered),
                handles(UserUpdated, self.updated),
                handles(UserDeleted, erasure.on_deleted),
                handles(MessageRequested, self.requested),
            ]
        )

    def of_chat(self) -> dict[str, Any]:
        return dict([handles(MessageSent, self.message_sent)])

    async def registered(self, session: AsyncSession, data: UserRegistered, _event: Event) -> None:
        await profiles.keep(session, [data.profile])
        welcome = Draft(
            user_id=data.profile.user_id,
            category="account",
            title="Welcome to Parley",
            message="Your account is ready. Whatever happens while you are away, you find it here.",
            dedupe_key="welcome",
        )
        await self._tell(session, [welcome])

    async def updated(self, session: AsyncSession, data: UserUpdated, _event: Event) -> None:
        await profiles.keep(session, [data.profile])

    async def requested(self, session: AsyncSession, data: MessageRequested, event: Event) -> None:
        page = PAGES.get(data.kind) if self._link_base else None
        variables = {
            **data.variables,
            "name": data.name,
            "language": data.language,
            # Where links lead is configured and nothing else: no header, no event can name another host.
            "page": f"{self._link_base}/{page}" if page else None,
        }
        order = Order(
            id=data.id,
            owner="auth",
            user_id=data.user_id,
            address=data.email or data.phone_number or "",
            category="security",
            channel=data.channel,
            account=SMS_ACCOUNT if data.channel == "sms" else MAIL_ACCOUNT,
            template=data.kind,
            lane=HIGH,
            variables=variables,
            secret=data.secret,
            # Two mails with one code do no harm; none locks a person out.
            at_least_once=data.secret is not None,
            expires_at=event.occurred_at + _SHORT_LIVED.get(data.kind, _WORTH_SENDING),
        )
        await self._order(session, [order])

    async def message_sent(self, session: AsyncSession, data: MessageSent, _event: Event) -> None:
        where = f" in {data.conversation_name}" if data.conversation_type != "direct" else ""
        mentioned = set(data.mentioned)
        drafts = [
            _message_draft(data, user_id, where, category="mention" if user_id in mentioned else "message")
            for user_id in data.away
        ]
        created = await self._tell(session, drafts)
        wanted = [*await self._mails(session, data, created), *await self._pushes(session, data, created)]
        await self._order(session, await pacing.paced(session, wanted, self._clock.now()))

    async def _mails(self, session: AsyncSession, data: MessageSent, created: Sequence[Notification]) -> list[Order]:
        users = [each.user_id for each in created]
        known = await profiles.find(session, users, self._ask)
        off = await preferences.switched_off(session, "email", users)
        reachable = ((each, known.get(each.user_id)) for each in created)
        return [
            _message_order(data, each, profile, allowed=preferences.allow(off, each.user_id, each.category))
            for each, profile in reachable
            if profile is not None and profile.email and profile.email_verified
        ]

    async def _pushes(self, session: AsyncSession, data: MessageSent, created: Sequence[Notification]) -> list[Order]:
        users = [each.user_id for each in created]
        wanted: list[Order] = []
        for channel in sorted(devices.CHANNELS):
            theirs = await devices.among(session, channel, users)
            off = await preferences.switched_off(session, channel, theirs)
            wanted += (
                _push_order(data, each, device, allowed=preferences.allow(off, each.user_id, each.category))
                for each in created
                for device in theirs.get(each.user_id, ())
            )
        return wanted

    async def _tell(self, session: AsyncSession, drafts: list[Draft]) -> list[Notification]:
        """What somebody does not want in the inbox is put away there unseen: mails about it hang on it, and so does
        forgetting whom it is about."""
        now = self._clock.now()
        off = await preferences.switched_off(session, INAPP, [each.user_id for each in drafts])
        drafts = [
            each if preferences.allow(off, each.user_id, each.category) else replace(each, read_at=now, archived_at=now)
            for each in drafts
        ]
        created = await notifications.create(session, drafts, now)
        for each in created:
            if each.archived_at is None:
                show(self._signals, session, each)
        return list(created)

    async def _order(self, session: AsyncSession, wanted: list[Order]) -> None:
        await orders.order(session, wanted, self._clock)
        if wanted:
            self._signals.wake(session, *{each.account for each in wanted})


def _message_draft(data: MessageSent, user_id: Any, where: str, *, category: str) -> Draft:
    return Draft(
        user_id=user_id,
        category=category,
        title=f"{data.sender_name}{where}",
        message=data.excerpt,
        action_url=f"/conversations/{data.conversation_id}",
        actor={"id": str(data.sender_id), "name": data.sender_name},
        related_object_type="message",
        related_object_id=str(data.message_id),
        data={"conversation_id": str(data.conversation_id), "seq": data.seq},
        dedupe_key=f"message:{data.message_id}",
    )


def _message_order(data: MessageSent, told: Notification, profile: Profile, *, allowed: bool) -> Order:
    return Order(
        id=uuid7(),
        owner="chat",
        user_id=told.user_id,
        notification_id=told.id,
        address=profile.email or "",
        category=told.category,
        template=told.category,
        variables={"name": profiles.shown_name(profile), "language": profile.language, **_said(data)},
        expires_at=data.sent_at + _WORTH_SENDING,
        reason=None if allowed else preferences.REASON,
        together=True,
        keys={"conversation": str(data.conversation_id)},
    )


def _push_order(data: MessageSent, told: Notification, device: Device, *, allowed: bool) -> Order:
    named = {"category": told.category, "conversation_id": data.conversation_id, "message_id": data.message_id}
    return Order(
        id=uuid7(),
        owner="chat",
        user_id=told.user_id,
        notification_id=told.id,
        channel=device.channel,
        account=device.account,
        address=device.address,
        category=told.category,
        template=told.category,
        variables={**_said(data), "data": {name: str(value) for name, value in named.items()}},
        expires_at=data.sent_at + _WORTH_SENDING,
        reason=None if allowed else preferences.REASON,
    )


def _said(data: MessageSent) -> dict[str, Any]:
    return {
        "sender": data.sender_name,
        "conversation": None if data.conversation_type == "direct" else data.conversation_name,
        "excerpt": data.excerpt,
    }
