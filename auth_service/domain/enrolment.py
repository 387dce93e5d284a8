"""Setting up second factors and taking them away.

Every change makes the user's older access tokens out of date, is told to the owner, and is in the audit log.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import (
    audit,
    elevation,
    factors,
    messages,
    passkeys,
    proof,
    recovery_codes,
    revocations,
    sessions,
    totp,
    users,
)
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.passkeys import Answer
from auth_service.domain.recovery_codes import Prepared
from auth_service.domain.tokens import Pair
from auth_service.errors import NoSecondFactor
from auth_service.models import Passkey
from libs.errors import NotFound

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who changes their factors, where, and in which session, which goes on."""

    user_id: UUID
    session_id: UUID
    client: Client


@dataclass(frozen=True, slots=True)
class Added:
    """`codes` are the recovery codes that come with the first factor. The session has shown the new factor, so it
    counts from now on, with new tokens."""

    pair: Pair
    codes: list[str] = field(repr=False)


async def add_totp(kit: Kit, owner: Owner, code: str) -> Added:
    """Raises InvalidCode."""
    prepared = await _prepare(kit, owner.user_id)

    async def work(db: AsyncSession) -> Added:
        codes = await _first_codes(db, kit, owner.user_id, prepared)
        await totp.confirm(db, kit, owner.user_id, code)
        pair = await elevation.elevate(db, kit, owner.user_id, owner.session_id, amr=proof.OTP, aal=2)
        return Added(pair, codes)

    return await _change(kit, owner, "totp_added", work)


async def add_passkey(kit: Kit, owner: Owner, answer: Answer) -> tuple[Added, Passkey]:
    """Raises InvalidPasskey and TooManyPasskeys."""
    made = await passkeys.read_new(kit, owner.user_id, answer)
    prepared = await _prepare(kit, owner.user_id)

    async def work(db: AsyncSession) -> tuple[Added, Passkey]:
        codes = await _first_codes(db, kit, owner.user_id, prepared)
        passkey = await passkeys.keep(db, kit, owner.user_id, made, answer=answer)
        pair = await elevation.elevate(db, kit, owner.user_id, owner.session_id, amr=proof.PASSKEY, aal=2)
        return Added(pair, codes), passkey

    return await _change(kit, owner, "passkey_added", work)


async def remove_totp(kit: Kit, owner: Owner, *, keep_sessions: bool = False) -> None:
    """Raises NotFound. Other sessions end unless they are to be kept."""

    async def work(db: AsyncSession) -> None:
        if not await totp.remove(db, owner.user_id):
            raise NotFound
        await _forget_codes_without_factor(db, owner.user_id)

    await _change(kit, owner, "totp_removed", work, keep_sessions=keep_sessions)


async def remove_passkey(kit: Kit, owner: Owner, passkey_id: UUID, *, keep_sessions: bool = False) -> None:
    """Raises NotFound, and LastMethod when nothing else is left to sign in with."""

    async def work(db: AsyncSession) -> None:
        await passkeys.remove(db, owner.user_id, passkey_id)
        await factors.require_way_in(db, owner.user_id)
        await _forget_codes_without_factor(db, owner.user_id)

    await _change(kit, owner, "passkey_removed", work, keep_sessions=keep_sessions)


async def renew_codes(kit: Kit, owner: Owner, *, keep_sessions: bool = False) -> list[str]:
    """Raises NoSecondFactor: recovery codes stand in for one."""
    prepared = await recovery_codes.prepare(kit)

    async def work(db: AsyncSession) -> list[str]:
        if not await factors.methods(db, owner.user_id):
            raise NoSecondFactor
        return await recovery_codes.replace(db, owner.user_id, prepared, now=kit.clock.now())

    return await _change(kit, owner, "recovery_codes_renewed", work, keep_sessions=keep_sessions)


async def _prepare(kit: Kit, user_id: UUID) -> Prepared | None:
    """The codes of a first factor, hashed before anything is locked."""
    async with kit.database.transaction() as db:
        first = not await factors.methods(db, user_id)
    return await recovery_codes.prepare(kit) if first else None


async def _first_codes(db: AsyncSession, kit: Kit, user_id: UUID, prepared: Prepared | None) -> list[str]:
    if prepared is None or await factors.methods(db, user_id):
        return []
    return await recovery_codes.replace(db, user_id, prepared, now=kit.clock.now())


async def _forget_codes_without_factor(db: AsyncSession, user_id: UUID) -> None:
    if not await factors.methods(db, user_id):
        await recovery_codes.forget(db, user_id)


async def _change(
    kit: Kit, owner: Owner, what: str, work: Callable[[AsyncSession], Awaitable[Result]], *, keep_sessions: bool = True
) -> Result:
    """Changes of one user's factors come one after the other: their account is locked first."""
    async with kit.database.transaction() as db:
        user = await users.myself(db, owner.user_id, lock=True)
        await sessions.hold(db, owner.user_id, owner.session_id, others=not keep_sessions)
        now = kit.clock.now()
        result = await work(db)
        await revocations.record_user(db, user.id, now=now)
        ended = [] if keep_sessions else await _end_others(db, owner, now)
        await messages.mail(db, kit, user, "mfa_changed", variables={"what": what})
        entry = Entry(action=f"factor.{what}", actor_id=user.id, subject_id=user.id, session_id=owner.session_id)
        await audit.record(db, entry, owner.client, now=now)
    await revocations.announce_user(kit.redis, owner.user_id, now)
    await sessions.announce(kit, ended)
    return result


async def _end_others(db: AsyncSession, owner: Owner, now: datetime) -> list[UUID]:
    return await sessions.end_others(
        db, owner.user_id, keep=owner.session_id, reason="factor_changed", now=now, client=owner.client
    )
