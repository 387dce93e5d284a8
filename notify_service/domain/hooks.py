"""The door for providers: who calls is proved on the bytes that came, and nothing is answered before it is kept."""

import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog
from sqlalchemy import select

from libs.crypto import CannotDecrypt, FieldCipher
from libs.db import Database
from libs.errors import BadRequest, NotFound, Unauthenticated, Unavailable
from notify_service.domain import accounts
from notify_service.domain.channels import Setup
from notify_service.domain.channels.http import Refused
from notify_service.domain.channels.inbound import Hook, Inbound, Reply
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.told import Item, Keeper
from notify_service.models import Account

# How long a changed secret may take to be known here.
_REMEMBER_SECONDS = 5.0

T = TypeVar("T")
log = structlog.get_logger()


class Forged(Unauthenticated):
    code = "bad_signature"
    detail = "This call is not signed as its provider signs."


class NotUnderstood(BadRequest):
    code = "malformed"
    detail = "This is not what this provider sends."


@dataclass(frozen=True, slots=True)
class _Known:
    provider: str
    inbound: Inbound
    setup: Setup
    until: float


class Hooks:
    def __init__(self, db: Database, cipher: FieldCipher, keeper: Keeper) -> None:
        self._db = db
        self._cipher = cipher
        self._keeper = keeper
        self._known: dict[str, _Known] = {}

    async def hear(self, provider: str, account: str, hook: Hook) -> Reply | None:
        """Keeps all that a call tells. Raises NotFound, Forged, NotUnderstood and Unavailable, after which nothing is
        kept."""
        known = await self._of(provider, account)
        inbound, setup = known.inbound, known.setup
        if inbound.challenge is not None and (reply := inbound.challenge(hook, setup)) is not None:
            return reply
        if hook.method != "POST" or not await _proved(hook, known):
            log.warning("hook_forged", account=account)
            raise Forged
        try:
            events = inbound.parse(hook, setup)
        except ValueError:
            log.warning("hook_malformed", account=account)
            raise NotUnderstood from None
        if inbound.obey is not None:
            await _asked(inbound.obey(hook, setup))
        await self._keeper.keep([Item(account, event) for event in events])
        return None

    async def _of(self, provider: str, account: str) -> _Known:
        known = self._known.get(account)
        if known is None or known.until < time.monotonic():
            known = self._known[account] = await self._load(account)
        if known.provider != provider:
            raise NotFound
        return known

    async def _load(self, name: str) -> _Known:
        async with self._db.transaction() as session:
            account = await session.scalar(select(Account).where(Account.name == name, Account.enabled))
        kind = PROVIDERS.get(account.provider) if account else None
        if account is None or kind is None or kind.inbound is None:
            raise NotFound
        try:
            setup = accounts.setup_of(account, kind, self._cipher)
        except (ValueError, CannotDecrypt):
            log.warning("account_fails", account=name, code=accounts.BAD_SETUP)
            raise NotFound from None
        return _Known(account.provider, kind.inbound, setup, time.monotonic() + _REMEMBER_SECONDS)


async def _proved(hook: Hook, known: _Known) -> bool:
    inbound, setup = known.inbound, known.setup
    if inbound.evidence is not None:
        try:
            hook = replace(hook, evidence=await _asked(inbound.evidence(hook, setup)))
        except ValueError:
            return False
    return inbound.verify(hook, setup)


async def _asked(question: Awaitable[T]) -> T:
    """Of a provider that is asked back while it waits: what it does not answer now, it will tell again."""
    try:
        return await question
    except Refused as error:
        log.warning("hook_without_answer", code=error.outcome.code)
        raise Unavailable from None
