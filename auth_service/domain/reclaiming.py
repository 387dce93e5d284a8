"""An address or number that somebody typed and never proved, and then its owner comes and proves it.

Anybody can register with one that is not theirs and wait for its owner. So an account that nothing else proves becomes
the owner's alone: what opened it before opens it no more. An account that its holder has proved in another way is
theirs, and only loses the address or number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, claims, identifiers, messages, revocations, sessions, users
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


async def reclaim(db: AsyncSession, kit: Kit, user: User, proved: Name, *, client: Client) -> Reclaimed | None:
    """None when the locked account keeps its holder, and the name is free; otherwise it is the owner's now, and what
    comes back must be announced."""
    if await _is_proved_otherwise(db, user, proved):
        await claims.release(db, kit, proved, {user.id}, client=client)
        return None
    now = kit.clock.now()
    await _void_keys(db, user.id, proved)
    ended = await sessions.end_all(db, user.id, reason="reclaimed", now=now, client=client)
    # Other services remember the tokens of programs for a while; these they ask about anew.
    await revocations.record_user(db, user.id, now=now)
    await identifiers.verify(db, user.id, proved.norm, now=now)
    # Where its former holder would have let it be used from; its owner would be locked out.
    user.allowed_countries = None
    user.must_change_password = False
    await _tell(db, kit, user)
    entry = Entry(action="account.reclaimed", actor_id=user.id, subject_id=user.id, reason=f"{proved.kind}_proved")
    await audit.record(db, entry, client, now=now)
    log.info("account_reclaimed", user_id=str(user.id))
    return Reclaimed(user.id, ended, now)


async def _void_keys(db: AsyncSession, user_id: UUID, proved: Name) -> None:
    """What opened the account opens it no more, nor does another address or number that was typed with this one;
    sessions are for the caller to end."""
    for table in _KEYS:
        theirs = delete(table).where(table.user_id == user_id)
        await db.execute(theirs.execution_options(synchronize_session=False))
    others = Identifier.user_id == user_id, Identifier.kind.in_(("email", "phone")), Identifier.kind != proved.kind
    await db.execute(delete(Identifier).where(*others).execution_options(synchronize_session=False))


async def _is_proved_otherwise(db: AsyncSession, user: User, proved: Name) -> bool:
    """Whether something else than this address or number says whose account it is."""
    if any(each.verified_at is not None and each.value_norm != proved.norm for each in user.identifiers):
        return True
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
