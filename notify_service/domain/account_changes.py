"""Setting accounts up, and changing them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from libs import audits
from libs.crypto import CannotDecrypt, FieldCipher
from libs.errors import FieldError, Invalid, NotFound, sentence_of
from notify_service.domain import accounts, endpoints, polling, provider_templates, queues, quotas, recipient_quotas
from notify_service.domain.channels import Provider, keep_nothing
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.quotas import Standing
from notify_service.errors import AccountExists, AccountInUse, AccountIsFixed
from notify_service.models import Account, Polling


@dataclass(frozen=True, slots=True)
class Shown:
    """An account with what goes on there. `quota` and its hours, where it has one, and that of recipients, which are of
    a day; `polling` where it was asked."""

    account: Account
    state: str
    quota: Standing | None
    hours: int
    recipients: Standing | None
    recipient_hours: int
    waiting: int
    polling: Polling | None
    made: Mapping[str, str] = field(default_factory=dict)
    """Secrets that were made just now, and that somebody else has to know too."""


@dataclass(frozen=True, slots=True)
class By:
    """Who does it."""

    user_id: UUID
    now: datetime
    cipher: FieldCipher
    private_networks: bool
    """Whether accounts may lead inside."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is given, and None for what shall stay."""

    config: Mapping[str, Any] | None
    secrets: Mapping[str, Any] | None
    limits: Mapping[str, Any]

    @property
    def fields(self) -> list[str]:
        parts = {"config": self.config, "secrets": self.secrets}
        return sorted([*self.limits, *(name for name, value in parts.items() if value is not None)])


async def create(db: AsyncSession, by: By, wanted: Wanted, *, name: str, provider: str) -> Shown:
    """Raises Invalid with the fields of `config` and `secrets` that are wrong, and AccountExists."""
    kind = PROVIDERS.get(provider)
    if kind is None:
        raise Invalid(errors=[FieldError("provider", "There is no such provider.")])
    if kind.ours:
        raise Invalid(errors=[FieldError("provider", "Its one account is there already.")])
    if await db.get(Account, name) is not None:
        raise AccountExists
    account = Account(
        name=name,
        channel=kind.capability.channel,
        provider=provider,
        source=accounts.API,
        created_at=by.now,
        updated_at=by.now,
        **wanted.limits,
    )
    made = _set_up(account, kind, wanted, by)
    db.add(account)
    await db.flush()
    await provider_templates.schedule(db, account)
    await audits.tell(db, "account.created", by.user_id, now=by.now, account=name, provider=provider)
    return replace(await shown(db, account, by.now), made=made)


async def change(db: AsyncSession, by: By, wanted: Wanted, *, name: str) -> Shown:
    """Changes what is given. What the provider had against the account is forgotten: it is tried anew."""
    account = await db.get(Account, name, with_for_update=True)
    if account is None:
        raise NotFound
    made: Mapping[str, str] = {}
    if wanted.config is not None or wanted.secrets is not None:
        if account.source == accounts.SETTINGS:
            raise AccountIsFixed
        kind = PROVIDERS.get(account.provider)
        if kind is None:
            raise Invalid(errors=[FieldError("provider", "There is no such provider any more.")])
        made = _set_up(account, kind, wanted, by)
    for column, value in wanted.limits.items():
        setattr(account, column, value)
    account.version += 1
    account.down_until = None
    if account.fault is not None:
        account.fault = None
        await accounts.tell(db, account, None, by.now)
    account.updated_at = by.now
    await db.flush()
    await recipient_quotas.release(db, [name])
    await provider_templates.schedule(db, account)
    await audits.tell(db, "account.changed", by.user_id, now=by.now, account=name, fields=wanted.fields)
    return replace(await shown(db, account, by.now), made=made)


async def remove(db: AsyncSession, by: By, name: str) -> None:
    """Raises AccountInUse while messages wait for it."""
    account = await db.get(Account, name, with_for_update=True)
    if account is None:
        raise NotFound
    if account.source == accounts.SETTINGS:
        raise AccountIsFixed
    await endpoints.give_up(db, name)
    if await queues.waiting(db, name):
        raise AccountInUse
    await db.execute(delete(Account).where(Account.name == name))
    await polling.forget(db, name)
    await audits.tell(db, "account.removed", by.user_id, now=by.now, account=name)


async def read(db: AsyncSession, name: str, now: datetime) -> Shown:
    account = await db.get(Account, name)
    if account is None:
        raise NotFound
    return await shown(db, account, now)


async def everyone(db: AsyncSession, now: datetime) -> Sequence[Shown]:
    """All accounts, by channel and in the order in which they stand in for each other."""
    query = select(Account).order_by(Account.channel, Account.rank, Account.name)
    return [await shown(db, account, now) for account in (await db.scalars(query)).all()]


async def shown(db: AsyncSession, account: Account, now: datetime) -> Shown:
    capability = accounts.able(account)
    limit = accounts.limit_of(account, capability) if capability else None
    pool = recipient_quotas.pool_of(account, capability) if capability else None
    standing = None
    if limit is not None:
        standing = await quotas.standing(db, account.name, limit=limit[0], hours=limit[1], now=now)
    return Shown(
        account=account,
        state=accounts.state_of(account, now),
        quota=standing,
        hours=limit[1] if limit else 0,
        recipients=await recipient_quotas.standing(db, pool) if pool else None,
        recipient_hours=pool.hours if pool else 0,
        waiting=await queues.waiting(db, account.name),
        polling=await db.get(Polling, account.name),
    )


def _set_up(account: Account, kind: Provider, wanted: Wanted, by: By) -> dict[str, str]:
    """Returns the secrets that it has made and that somebody else has to know."""
    cipher = by.cipher
    given = dict(account.config or {} if wanted.config is None else wanted.config)
    secrets = dict(_unsealed(account, cipher) if wanted.secrets is None else wanted.secrets)
    known = secrets.keys() - {name for name, value in secrets.items() if value is None}
    if kind.complete is not None:
        kind.complete(given, secrets)
    config = _checked(kind.config, given, "config")
    account.config = config.model_dump(mode="json", exclude_defaults=True)
    account.secrets = accounts.sealed(account.name, _checked(kind.secrets, secrets, "secrets"), cipher)
    try:
        accounts.open_channel(account, cipher, keep_nothing, private_networks=by.private_networks)
    except accounts.CannotSetUp as error:
        raise Invalid(errors=[FieldError("config", str(error.__cause__) or "This makes no account.")]) from None
    return {name: secrets[name] for name in sorted(kind.shared - known)}


def _checked(model: type[BaseModel], given: Mapping[str, Any], path: str) -> BaseModel:
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        # Without the values: they may be secrets.
        raise Invalid(
            errors=[
                FieldError(".".join((path, *map(str, each["loc"]))), sentence_of(each))
                for each in error.errors(include_input=False, include_url=False, include_context=False)
            ]
        ) from None


def _unsealed(account: Account, cipher: FieldCipher) -> Mapping[str, Any]:
    try:
        return accounts.unsealed(account, cipher)
    except CannotDecrypt:
        raise Invalid(
            errors=[FieldError("secrets", "The stored ones cannot be read any more: give them anew.")]
        ) from None
