"""Sending accounts: what they are set up with, which of a channel's sends, and how they fare."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import BaseModel, SecretStr
from sqlalchemy import case, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.crypto import CannotDecrypt, FieldCipher
from notify_service.domain.channels import Capability, Channel, Keep, Provider, Setup
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.models import Account

SETTINGS, API = "settings", "api"
BAD_SETUP = "bad_setup"
_MOVED = 1000


class CannotSetUp(Exception):
    """What is stored of an account does not make one; `reason` goes to its row."""

    reason = BAD_SETUP


@dataclass(frozen=True, slots=True)
class Fixed:
    """An account that the environment describes."""

    name: str
    channel: Channel


async def settle_fixed(db: AsyncSession, fixed: Iterable[Fixed], now: datetime) -> None:
    """Rows for the accounts of the environment. Limits that were set over the API stay; what is described no more is
    switched off."""
    rows = [
        {
            "name": each.name,
            "channel": each.channel.capability.channel,
            "provider": each.channel.capability.provider,
            "source": SETTINGS,
            "created_at": now,
            "updated_at": now,
        }
        for each in fixed
    ]
    statement = insert(Account)
    changed = {name: statement.excluded[name] for name in ("channel", "provider", "source", "updated_at")}
    await db.execute(statement.on_conflict_do_update(index_elements=["name"], set_={**changed, "fault": None}), rows)
    names = [row["name"] for row in rows]
    await db.execute(
        update(Account).where(Account.source == SETTINGS, Account.name.not_in(names)).values(enabled=False)
    )


async def named(db: AsyncSession, names: Iterable[str]) -> Sequence[Account]:
    """Those that are switched on and that their provider does not refuse."""
    wanted = list(names)
    query = select(Account).where(Account.name.in_(wanted), Account.enabled, Account.fault.is_(None))
    return (await db.scalars(query)).all() if wanted else []


async def by_name(db: AsyncSession, name: str) -> Account | None:
    return await db.get(Account, name)


async def choose(db: AsyncSession, channel: str, now: datetime) -> Account | None:
    """Who sends over a channel now: the first by rank that is well, or the first that is there at all."""
    ill = case((Account.fault.is_not(None), 2), (Account.down_until > now, 1), else_=0)
    query = select(Account).where(Account.channel == channel, Account.enabled)
    found: Account | None = await db.scalar(query.order_by(ill, Account.rank, Account.name).limit(1))
    return found


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
    return cipher.encrypt(json.dumps(revealed(secrets)), _context(name))


def revealed(secrets: BaseModel) -> dict[str, Any]:
    """As JSON that `model_validate` takes back."""
    return {name: _plain(value) for name, value in secrets if value is not None}


async def keep_secrets(db: AsyncSession, name: str, secrets: str) -> None:
    """Stores what the provider has exchanged. The version stays: nobody has changed the account."""
    await db.execute(update(Account).where(Account.name == name).values(secrets=secrets, updated_at=func.now()))


async def report(db: AsyncSession, account: Account, *, down_seconds: float, fault: str | None) -> None:
    """What its owner has learned, unless the account was changed meanwhile. While it is down or refused, who can stands
    in for what waits."""
    values = {"name": account.name, "version": account.version, "down": down_seconds, "fault": fault}
    await db.execute(
        text(
            """
            UPDATE account SET fault = :fault, updated_at = now(),
                down_until = CASE WHEN :down > 0 THEN now() + make_interval(secs => :down) END
            WHERE name = :name AND version = :version
            """
        ),
        values,
    )


async def stand_in(db: AsyncSession, name: str, now: datetime) -> str | None:
    """Gives what waits for an account to another of its channel that is well. Returns who that is, if anybody."""
    channel = select(Account.channel).where(Account.name == name).scalar_subquery()
    query = (
        select(Account.name)
        .where(
            Account.channel == channel,
            Account.name != name,
            Account.enabled,
            Account.fault.is_(None),
            or_(Account.down_until.is_(None), Account.down_until <= now),
        )
        .order_by(Account.rank, Account.name)
        .limit(1)
    )
    other = await db.scalar(query)
    if other is not None:
        await db.execute(
            text(
                """
                UPDATE delivery SET account = :other, updated_at = now() WHERE id IN (
                    SELECT id FROM delivery WHERE account = :name AND state IN ('queued', 'retry')
                    ORDER BY lane, queue, next_at LIMIT :most FOR UPDATE SKIP LOCKED)
                """
            ),
            {"name": name, "other": other, "most": _MOVED},
        )
    return other


def limit_of(account: Account, capability: Capability) -> tuple[int, int] | None:
    """How many messages in how many sliding hours; the smaller of the owner's and the provider's.

    A limit of people, who may get any number of messages, is kept by the provider: it knows whom it counts.
    """
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


def _context(name: str) -> str:
    return f"account:{name}"
