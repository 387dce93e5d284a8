"""Browsers and phones that users have registered: where messages for a user go over `webpush` and `push`.

An address belongs to whoever registered it last. Before a message leaves, it is looked up once more, so that a browser
that changed hands shows nothing that was meant for its former user.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, bindparam, case, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.db import one_of
from libs.errors import FieldError, Invalid, NotFound
from libs.ids import uuid7
from notify_service.domain import accounts, effects
from notify_service.domain.channels import CannotRender, Effect, Setup
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.errors import NoPushKey
from notify_service.models import Account, Device

BROWSERS, PHONES = "webpush", "push"
CHANNELS = frozenset({BROWSERS, PHONES})
MOST = 20
"""Of one user; one more takes the place of the one that was registered longest ago."""
GONE = "no_device"
"""Why a message is not sent whose device is not its user's any more."""
_SHOWN = 6
# Two requests of one user at a time could each find room for one more.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:user, 2470913))")
_HELD = select(Device.user_id, Device.address).where(
    Device.channel == bindparam("channel"), one_of(Device.user_id, "users")
)

Held = frozenset[tuple[UUID, str]]
"""Users and addresses."""


class Given(NamedTuple):
    """`address`: in its one form. `account`: whose messages it takes; None: the first of the channel."""

    channel: str
    address: str
    account: str | None
    name: str | None


def visible_to(user_id: UUID) -> Select[Device]:
    return select(Device).where(Device.user_id == user_id)


async def everything(db: AsyncSession, user_id: UUID) -> Sequence[Device]:
    """All of a user's, the one that was registered last first."""
    return (await db.scalars(visible_to(user_id).order_by(Device.seen_at.desc(), Device.id.desc()))).all()


async def key(db: AsyncSession) -> tuple[str, str]:
    """The account that browsers subscribe to, and its public key. Raises NoPushKey."""
    account = await accounts.first(db, BROWSERS)
    if account is None:
        raise NoPushKey
    return account.name, account.config["public_key"]


async def register(
    db: AsyncSession, user_id: UUID, given: Given, now: datetime, *, private_networks: bool
) -> tuple[Device, bool]:
    """The device, and whether it is new to this user. What its provider had told of the address is forgotten.
    `private_networks`: whether addresses may lead inside. Raises Invalid."""
    account = await _account(db, given, private_networks=private_networks)
    await db.execute(_LOCK, {"user": str(user_id)})
    values = {
        "id": uuid7(),
        "user_id": user_id,
        **given._asdict(),
        "account": account,
        "created_at": now,
        "seen_at": now,
    }
    statement = insert(Device).values(values)
    new = statement.excluded
    is_theirs = Device.user_id == new.user_id
    changed: dict[str, Any] = {name: new[name] for name in ("user_id", "account", "name", "seen_at")}
    changed |= {name: case((is_theirs, getattr(Device, name)), else_=new[name]) for name in ("id", "created_at")}
    statement = statement.on_conflict_do_update(index_elements=["channel", "address"], set_=changed)
    device: Device = (await db.scalars(statement.returning(Device))).one()
    latest = visible_to(user_id).with_only_columns(Device.id).order_by(Device.seen_at.desc(), Device.id.desc())
    await db.execute(delete(Device).where(Device.user_id == user_id, Device.id.not_in(latest.limit(MOST))))
    await effects.lift(db, account, [given.address], Effect.SUPPRESS)
    return device, device.id == values["id"]


async def remove(db: AsyncSession, user_id: UUID, device_id: UUID) -> None:
    """Raises NotFound."""
    query = delete(Device).where(Device.user_id == user_id, Device.id == device_id).returning(Device.id)
    if await db.scalar(query) is None:
        raise NotFound


async def among(
    db: AsyncSession, channel: str, users: Iterable[UUID], account: str | None = None
) -> Mapping[UUID, Sequence[Device]]:
    """Where messages for these users go, the device that was registered last first. `account`: only over this one."""
    wanted: Sequence[UUID] = list(set(users))
    if not wanted:
        return {}
    query = (
        select(Device)
        .join(Account, Account.name == Device.account)
        .where(Account.enabled, Device.channel == channel, Device.user_id.in_(wanted))
        .order_by(Device.seen_at.desc(), Device.id.desc())
    )
    if account is not None:
        query = query.where(Device.account == account)
    found: dict[UUID, list[Device]] = {}
    for device in await db.scalars(query):
        found.setdefault(device.user_id, []).append(device)
    return found


async def held(db: AsyncSession, channel: str, users: Iterable[UUID]) -> Held:
    """What is theirs at this moment, for `is_gone`."""
    wanted: Sequence[UUID] = list(set(users)) if channel in CHANNELS else []
    if not wanted:
        return frozenset()
    rows = await db.execute(_HELD, {"channel": channel, "users": wanted})
    return frozenset((user_id, address) for user_id, address in rows)


def is_gone(found: Held, channel: str, user_id: UUID | None, address: str) -> bool:
    """Whether a message for a user would show on a device that is not theirs."""
    return channel in CHANNELS and user_id is not None and (user_id, address) not in found


def shown(channel: str, user_id: UUID | None, address: str) -> str:
    """An address for people to look at: of a user's device its end, by which its owner knows it."""
    if channel not in CHANNELS or user_id is None:
        return address
    named = json.loads(address)["endpoint"] if address.startswith("{") else address
    return f"…{named[-_SHOWN:]}" if named else ""


async def _account(db: AsyncSession, given: Given, *, private_networks: bool) -> str:
    """Who sends there. Raises Invalid."""
    found = await (accounts.first(db, given.channel) if given.account is None else accounts.by_name(db, given.account))
    if found is None or found.channel != given.channel or not found.enabled:
        what = "channel" if given.account is None else "account"
        raise Invalid(errors=[FieldError(what, "No account is set up for this.")])
    provider = PROVIDERS[found.provider]
    if provider.admits is not None:
        config = provider.config.model_validate(found.config)
        try:
            provider.admits(Setup(found.name, config, None, private_networks=private_networks), given.address)
        except CannotRender:
            raise Invalid(
                errors=[FieldError("address", "Nothing is sent there: it is no known push service.")]
            ) from None
    return found.name
