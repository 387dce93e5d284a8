"""An address that somebody typed and never proved, and then its owner comes and proves it otherwise.

Anybody can register with an address that is not theirs and wait for its owner. So an account that nothing else proves
becomes the owner's alone: what opened it before opens it no more. An account that its holder has proved in another way
is theirs, and only loses the address.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, identifiers, messages, revocations, sessions, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.models import (
    ApiToken,
    Device,
    ExternalIdentity,
    Identifier,
    OneTimeToken,
    Passkey,
    Password,
    RecoveryCode,
    Totp,
    User,
)
from libs import outbox
from libs.contracts.accounts import UserRegistered

_KEYS = (Password, Totp, RecoveryCode, Passkey, ApiToken, OneTimeToken, Device)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What every service must hear of after the commit."""

    user_id: UUID
    sessions: Sequence[UUID]
    at: datetime


async def reclaim(db: AsyncSession, kit: Kit, user: User, email: Name, *, client: Client) -> Reclaimed | None:
    """None when the locked account keeps its holder, and the address is free; otherwise it is the owner's now, and what
    comes back must be announced."""
    if user.phone_verified or await is_known(db, user):
        await _release(db, kit, user, email, client=client)
        return None
    phone = delete(Identifier).where(Identifier.user_id == user.id, Identifier.kind == "phone")
    await db.execute(phone.execution_options(synchronize_session=False))
    reclaimed = await shut_out(db, kit, user, reason="reclaimed", client=client)
    await identifiers.verify(db, user.id, email.norm, now=reclaimed.at)
    await _tell(db, kit, user)
    entry = Entry(action="account.reclaimed", actor_id=user.id, subject_id=user.id, reason="address_proved")
    await audit.record(db, entry, client, now=reclaimed.at)
    log.info("account_reclaimed", user_id=str(user.id))
    return reclaimed


async def shut_out(db: AsyncSession, kit: Kit, user: User, *, reason: str, client: Client) -> Reclaimed:
    """What opened a locked account opens it no more, and nothing that its former holder chose keeps its owner out. The
    caller saves it."""
    now = kit.clock.now()
    for table in _KEYS:
        theirs = delete(table).where(table.user_id == user.id)
        await db.execute(theirs.execution_options(synchronize_session=False))
    ended = await sessions.end_all(db, user.id, reason=reason, now=now, client=client)
    # Other services remember the tokens of programs for a while; these they ask about anew.
    await revocations.record_user(db, user.id, now=now)
    user.allowed_countries = None
    user.must_change_password = False
    return Reclaimed(user.id, ended, now)


async def is_known(db: AsyncSession, user: User) -> bool:
    """Whether something else than an address or a number proves whose account it is."""
    linked = await db.scalar(select(ExternalIdentity.id).where(ExternalIdentity.user_id == user.id).limit(1))
    # Staff were made so by somebody who knew them.
    return linked is not None or user.roles != ["user"]


async def announce(kit: Kit, reclaimed: Reclaimed) -> None:
    await sessions.announce(kit, reclaimed.sessions)
    await revocations.announce_user(kit.redis, reclaimed.user_id, reclaimed.at)


async def _tell(db: AsyncSession, kit: Kit, user: User) -> None:
    if user.status != "pending":
        await users.save(db, user, now=kit.clock.now())
        await messages.mail(db, kit, user, "account_reclaimed")
        return
    user.status = "active"
    user.updated_at = kit.clock.now()
    await db.flush()
    await db.refresh(user, ["identifiers"])
    await outbox.add(db, UserRegistered(profile=users.profile(user)), kit.clock.now())


async def _release(db: AsyncSession, kit: Kit, user: User, email: Name, *, client: Client) -> None:
    losing = delete(Identifier).where(Identifier.user_id == user.id, Identifier.value_norm == email.norm)
    await db.execute(losing.execution_options(synchronize_session=False))
    entry = Entry(action="email.lost", subject_id=user.id, reason="proved_by_another")
    await audit.record(db, entry, client, now=kit.clock.now())
    await users.save(db, user, now=kit.clock.now())
