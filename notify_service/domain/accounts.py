"""Sending accounts: what they are set up with, which of a channel's sends, and how they fare."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog
from pydantic import BaseModel, SecretStr
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs import outbox
from libs.clock import Clock
from libs.contracts.notifications import AccountChanged
from libs.crypto import CannotDecrypt, FieldCipher
from libs.db import Database
from notify_service.domain import happenings
from notify_service.domain.channels import Capability, Channel, Keep, Provider, Setup
from notify_service.domain.channels.registry import POLLED, PROVIDERS
from notify_service.models import Account

SETTINGS, API = "settings", "api"
BAD_SETUP = "bad_setup"
SETTLES = timedelta(minutes=5)
"""So long an account that was down has to be well before it sends for its channel again: one that comes and goes takes
nothing along."""
_SOON = timedelta(days=7)
BEST_FIRST = """
    CASE WHEN account.fault IS NOT NULL THEN 3 WHEN account.down_until > :now THEN 2
        WHEN account.down_until > :settled THEN 1 ELSE 0 END, account.rank, account.name
"""
"""The order in which those of a channel are asked to send. `settled`: so long ago as `SETTLES` says."""
_CHOICE = (
    select(Account).where(Account.channel == bindparam("channel"), Account.enabled).order_by(text(BEST_FIRST)).limit(1)
)
_REPORTED = text(
    """
    WITH old AS (SELECT name, fault FROM account WHERE name = :name AND version = :version FOR UPDATE)
    UPDATE account SET fault = :fault, updated_at = now(),
        -- When it was down last is kept: it is not trusted again at once.
        down_until = CASE WHEN :down > 0 THEN now() + make_interval(secs => :down)
            WHEN down_until IS NOT NULL THEN least(down_until, now()) END
    FROM old WHERE account.name = old.name
    RETURNING old.fault AS former, account.updated_at
    """
)
log = structlog.get_logger()


class CannotSetUp(Exception):
    """What is stored of an account does not make one; `reason` goes to its row."""

    reason = BAD_SETUP


class Chosen(NamedTuple):
    """Of an account what it takes to accept a message for it."""

    name: str
    channel: str
    provider: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class Fixed:
    """An account that the environment describes."""

    name: str
    channel: Channel


async def make_fixed(db: AsyncSession, fixed: Iterable[Fixed], now: datetime) -> None:
    """Rows for the accounts of the environment that have none yet. Those that are there are left to `settle_fixed`."""
    await db.execute(insert(Account).on_conflict_do_nothing(index_elements=["name"]), _fixed_rows(fixed, now))


async def settle_fixed(db: AsyncSession, fixed: Iterable[Fixed], now: datetime) -> None:
    """Rows for the accounts of the environment, by who sends over them: they are taken to be well again. Limits that
    were set over the API stay; what is described no more is switched off."""
    rows = _fixed_rows(fixed, now)
    statement = insert(Account)
    changed = {name: statement.excluded[name] for name in ("channel", "provider", "source", "updated_at")}
    await db.execute(statement.on_conflict_do_update(index_elements=["name"], set_={**changed, "fault": None}), rows)
    names = [row["name"] for row in rows]
    await db.execute(
        update(Account).where(Account.source == SETTINGS, Account.name.not_in(names)).values(enabled=False)
    )


def _fixed_rows(fixed: Iterable[Fixed], now: datetime) -> list[dict[str, Any]]:
    """In one order: processes that begin at the same time wait for each other, and never in a circle."""
    return [
        {
            "name": each.name,
            "channel": each.channel.capability.channel,
            "provider": each.channel.capability.provider,
            "source": SETTINGS,
            "created_at": now,
            "updated_at": now,
        }
        for each in sorted(fixed, key=lambda each: each.name)
    ]


async def named(db: AsyncSession, names: Iterable[str]) -> Sequence[Account]:
    """Those that are switched on and that their provider does not refuse."""
    wanted = list(names)
    query = select(Account).where(Account.name.in_(wanted), Account.enabled, Account.fault.is_(None))
    return (await db.scalars(query)).all() if wanted else []


async def polled(db: AsyncSession) -> Sequence[Account]:
    """Those of providers that are asked what happened. What is refused sending may still hear."""
    query = select(Account).where(Account.provider.in_(POLLED), Account.enabled, Account.source == API)
    return (await db.scalars(query)).all()


async def by_name(db: AsyncSession, name: str) -> Account | None:
    return await db.get(Account, name)


async def first(db: AsyncSession, channel: str) -> Account | None:
    """Who sends over a channel while all are well."""
    query = select(Account).where(Account.channel == channel, Account.enabled).order_by(Account.rank, Account.name)
    found: Account | None = await db.scalar(query.limit(1))
    return found


async def choose(db: AsyncSession, channel: str, now: datetime) -> Account | None:
    """Who sends over a channel now: the first by rank that is well, and has been for a while, or the first that is
    there at all."""
    found: Account | None = await db.scalar(_CHOICE, {"channel": channel, "now": now, "settled": now - SETTLES})
    return found


def state_of(account: Account, now: datetime) -> str:
    """`ok`, `off`, `refused` or `down`."""
    if not account.enabled:
        return "off"
    if account.fault is not None:
        return "refused"
    return "down" if account.down_until is not None and account.down_until > now else "ok"


def expires_at(account: Account) -> datetime | None:
    """When credentials end that only somebody can renew, where the account's config says so."""
    given = account.config.get("token_expires_at")
    return datetime.fromisoformat(given) if isinstance(given, str) else None


def open_channel(account: Account, cipher: FieldCipher, keep: Keep, *, private_networks: bool) -> Channel:
    """Raises CannotSetUp."""
    provider = PROVIDERS.get(account.provider)
    if provider is None:
        raise CannotSetUp
    try:
        return provider.open(replace(setup_of(account, provider, cipher), keep=keep, private_networks=private_networks))
    except (ValueError, CannotDecrypt) as error:
        raise CannotSetUp from error


def setup_of(account: Account, provider: Provider, cipher: FieldCipher) -> Setup:
    """Raises ValueError and CannotDecrypt."""
    secrets = provider.secrets.model_validate(unsealed(account, cipher))
    return Setup(account.name, provider.config.model_validate(account.config), secrets)


def unsealed(account: Account, cipher: FieldCipher) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        cipher.decrypt(account.secrets, _context(account.name)) if account.secrets else "{}"
    )
    return found


def sealed(name: str, secrets: BaseModel, cipher: FieldCipher) -> str:
    return _sealed(name, revealed(secrets), cipher)


def revealed(secrets: BaseModel) -> dict[str, Any]:
    """As JSON that `model_validate` takes back."""
    return {name: _plain(value) for name, value in secrets if value is not None}


async def keep_secrets(db: AsyncSession, account: Account, secrets: BaseModel, cipher: FieldCipher) -> None:
    """Stores what a provider has exchanged since the account was read, and nothing else of it: who sends and who reads
    exchange different ones. Not for an account that somebody has changed meanwhile; the version stays."""
    before = unsealed(account, cipher)
    changed = {name: value for name, value in revealed(secrets).items() if before.get(name) != value}
    row = await db.get(Account, account.name, with_for_update=True)
    if row is not None and row.version == account.version:
        row.secrets = _sealed(row.name, {**unsealed(row, cipher), **changed}, cipher)
        row.updated_at = func.now()


async def report(db: AsyncSession, account: Account, *, down_seconds: float, fault: str | None) -> None:
    """What its owner has learned, unless the account was changed meanwhile. While it is down or refused, who can stands
    in for what waits."""
    values = {"name": account.name, "version": account.version, "down": down_seconds, "fault": fault}
    row = (await db.execute(_REPORTED, values)).first()
    if row is not None and row.former != fault:
        await tell(db, account, fault, row.updated_at)


async def refuse(db: AsyncSession, name: str, fault: str, now: datetime) -> None:
    """What its provider has told of an account of its own accord. The worker that sends for it stops."""
    account = await db.get(Account, name, with_for_update=True)
    if account is not None and account.fault != fault:
        account.fault = fault
        account.updated_at = now
        await db.flush()
        await tell(db, account, fault, now)


async def warn(database: Database, clock: Clock) -> None:
    """One turn of the worker: names, in the log, the accounts whose credentials somebody has to renew soon."""
    async with database.transaction() as db:
        found = (
            await db.scalars(select(Account).where(Account.enabled, Account.config.has_key("token_expires_at")))
        ).all()
    for account in found:
        ends = expires_at(account)
        if ends is not None and ends - clock.now() < _SOON:
            log.warning("account_token_ends", account=account.name, at=ends.isoformat())


async def tell(db: AsyncSession, account: Account, fault: str | None, now: datetime) -> None:
    """Says to whoever listens that an account is refused, or is well again."""
    log.warning("account_refused" if fault else "account_back", account=account.name, code=fault)
    event = AccountChanged(account=account.name, channel=account.channel, refused=fault is not None, fault=fault)
    await outbox.add(db, event, now)
    await happenings.tell(db, "account.changed", event.model_dump())


def able(account: Account) -> Capability | None:
    """What an account takes and promises, as it is set up. None: nobody knows its provider any more."""
    kind = PROVIDERS.get(account.provider)
    if kind is None or kind.able is None or account.source == SETTINGS:
        return kind.capability if kind else None
    try:
        return kind.able(kind.config.model_validate(account.config))
    except ValueError:
        return kind.capability


def limit_of(account: Account, capability: Capability) -> tuple[int, int] | None:
    """How many messages in how many sliding hours; the smaller of the owner's and the provider's. A limit of people is
    one of `recipient_quotas`."""
    quota = capability.quota if capability.quota and capability.quota.unit == "message" else None
    if account.daily_limit is None:
        return (quota.limit, quota.hours) if quota else None
    if quota is not None and quota.hours == 24:
        return min(account.daily_limit, quota.limit), 24
    return account.daily_limit, 24


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return revealed(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return value


def _sealed(name: str, secrets: Mapping[str, Any], cipher: FieldCipher) -> str:
    return cipher.encrypt(json.dumps(secrets), _context(name))


def _context(name: str) -> str:
    return f"account:{name}"
