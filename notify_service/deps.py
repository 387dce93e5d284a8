from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Request

from libs.auth import Caller, CurrentUser
from libs.crypto import FieldCipher
from libs.db import Database
from libs.deps import Db, made
from libs.errors import Forbidden, PayloadTooLarge
from libs.paging import PageRequest, keyset
from libs.settings import SettingsRefused
from notify_service.domain import accounts, campaigns
from notify_service.domain.accounts import CannotSetUp, Fixed
from notify_service.domain.campaign_events import Following
from notify_service.domain.channels import CannotRender, Channel, keep_nothing
from notify_service.domain.channels.email import Email
from notify_service.domain.channels.email import account as mail_account
from notify_service.domain.channels.inapp import InApp
from notify_service.domain.channels.sms import Account as SmsAccount
from notify_service.domain.channels.sms import Nowhere, Sms
from notify_service.domain.inboxes import Inboxes
from notify_service.domain.orders import INAPP, MAIL_ACCOUNT, SMS_ACCOUNT
from notify_service.domain.profiles import Ask
from notify_service.domain.sending import Means
from notify_service.domain.signals import Signals
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.errors import MayNotSend
from notify_service.models import Account, Campaign
from notify_service.settings import Settings

ADMIN = "admin"
STAFF = frozenset({"support", "moderator", "admin"})


class Links:
    """The ways to the rest of Parley."""

    def __init__(self, request: Request) -> None:
        self.signals = cast(Signals, request.app.state.signals)
        self.ask = cast(Ask, request.app.state.ask)
        self.inboxes = cast(Inboxes, request.app.state.inboxes)
        self.means = cast(Means, request.app.state.means)
        self.channels = cast(Channels, request.app.state.channels)
        self.following = cast(Following, request.app.state.following)
        self.cipher = cast(FieldCipher, request.app.state.cipher)
        self.unsubscribe_links = cast(UnsubscribeLinks, request.app.state.unsubscribe_links)
        self.database = cast(Database, request.app.state.db)
        self.private_networks = cast(bool, request.app.state.private_networks)


class Before:
    """The page asked for, and the id that it lies behind."""

    def __init__(self, paging: Annotated[PageRequest, keyset(UUID)]) -> None:
        self.paging = paging
        self.id: UUID | None = paging.last


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the settings say about sending."""

    senders: frozenset[UUID]
    mails_a_day: int
    whatsapps_a_day: int
    whatsapp_template: tuple[str, str]


def allowed(settings: Settings) -> Allowed:
    name, _, language = settings.whatsapp_template.partition("/")
    return Allowed(settings.senders, settings.mails_a_day, settings.whatsapps_a_day, (name, language))


async def _limits(request: Request) -> Allowed:
    return cast(Allowed, request.app.state.allowed)


Limits = Annotated[Allowed, Depends(_limits)]


async def _admin(me: CurrentUser) -> Caller:
    if ADMIN not in me.roles:
        raise Forbidden
    return me


async def _sender(me: CurrentUser, limits: Limits) -> Caller:
    if ADMIN not in me.roles and me.user_id not in limits.senders:
        raise MayNotSend
    return me


async def _ways_out(request: Request) -> UnsubscribeLinks:
    return cast(UnsubscribeLinks, request.app.state.unsubscribe_links)


async def body_of(request: Request, most: int) -> bytes:
    """Of a path that bounds its body itself. Raises PayloadTooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise PayloadTooLarge
    return bytes(body)


def text_channel(settings: Settings) -> Channel:
    if settings.sms_url is None:
        return Nowhere()
    token = settings.sms_token.get_secret_value() if settings.sms_token else ""
    return Sms(
        SmsAccount(
            url=settings.sms_url,
            token=token or None,
            sender=settings.sms_from,
            connections=settings.sms_connections,
            timeout=settings.sms_timeout_seconds,
        )
    )


def mail_channel(settings: Settings) -> Email:
    """Raises SettingsRefused."""
    try:
        account = mail_account(
            settings.smtp_url.get_secret_value(),
            mail_from=settings.mail_from,
            ca_file=settings.smtp_ca_file,
            connections=settings.smtp_connections,
            messages_per_connection=settings.smtp_messages_per_connection,
            timeout=settings.smtp_timeout_seconds,
        )
    except OSError as error:
        # Without what it says of the address, where the password is.
        reason = error.strerror or type(error).__name__
        raise SettingsRefused(f"NOTIFY_SMTP_CA_FILE, or the certificate of NOTIFY_SMTP_URL: {reason}") from None
    except (ValueError, CannotRender):
        raise SettingsRefused("NOTIFY_SMTP_URL or NOTIFY_MAIL_FROM cannot be meant; see their descriptions") from None
    return Email(account)


def fixed_accounts(settings: Settings) -> list[Fixed]:
    """The accounts that the environment describes, and our own."""
    return [
        Fixed(MAIL_ACCOUNT, mail_channel(settings)),
        Fixed(SMS_ACCOUNT, text_channel(settings)),
        Fixed(INAPP, InApp()),
    ]


class Channels:
    """The channels of accounts, as their senders open them; for those who only look."""

    def __init__(self, fixed: Iterable[Fixed], cipher: FieldCipher, *, private_networks: bool) -> None:
        self._fixed: Mapping[str, Channel] = {each.name: each.channel for each in fixed}
        self._cipher = cipher
        self._private_networks = private_networks

    def of(self, account: Account) -> Channel:
        """Raises CannotSetUp."""
        if account.source != accounts.SETTINGS:
            inside = self._private_networks
            return accounts.open_channel(account, self._cipher, keep_nothing, private_networks=inside)
        if account.name not in self._fixed:
            raise CannotSetUp
        return self._fixed[account.name]


Admin = Annotated[Caller, Depends(_admin)]
MaySend = Annotated[Caller, Depends(_sender)]


async def _campaign(campaign_id: UUID, db: Db, me: MaySend) -> Campaign:
    return await campaigns.one(db, str(me.user_id), campaign_id)


async def _held_campaign(campaign_id: UUID, db: Db, me: MaySend) -> Campaign:
    return await campaigns.held(db, str(me.user_id), campaign_id)


SeenCampaign = Annotated[Campaign, Depends(_campaign)]
"""One of the caller's own."""
HeldCampaign = Annotated[Campaign, Depends(_held_campaign)]
"""The same, to change it: nobody else does until the request is over."""
Paging = Annotated[Before, made(Before)]
Outside = Annotated[Links, made(Links)]
WaysOut = Annotated[UnsubscribeLinks, Depends(_ways_out)]
