from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Request

from libs.auth import Caller, CurrentUser
from libs.errors import Forbidden, PayloadTooLarge
from libs.paging import PageRequest, keyset
from notify_service.domain.profiles import Ask
from notify_service.domain.signals import Signals
from notify_service.domain.unsubscribe_links import UnsubscribeLinks
from notify_service.errors import MayNotSend
from notify_service.settings import Settings

ADMIN = "admin"
STAFF = frozenset({"support", "moderator", "admin"})


class Links:
    """The ways to the rest of Parley."""

    def __init__(self, request: Request) -> None:
        self.signals = cast(Signals, request.app.state.signals)
        self.ask = cast(Ask, request.app.state.ask)


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


Admin = Annotated[Caller, Depends(_admin)]
MaySend = Annotated[Caller, Depends(_sender)]
Paging = Annotated[Before, Depends()]
Outside = Annotated[Links, Depends()]
WaysOut = Annotated[UnsubscribeLinks, Depends(_ways_out)]
