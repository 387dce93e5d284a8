"""Step-up: within a session, showing again who one is. The session goes on with new tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import (
    attempts,
    audit,
    elevation,
    mailed_codes,
    passkeys,
    proof,
    step_up,
    users,
)
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.passkeys import Asking
from auth_service.domain.proof import Shown
from auth_service.domain.tokens import Pair
from auth_service.errors import InvalidCode, InvalidCredentials, NoEmail, ReauthRequired
from auth_service.models import Password


@dataclass(frozen=True, slots=True)
class Again:
    """Who shows it again, and in which session."""

    user_id: UUID
    session_id: UUID
    client: Client


async def ask_passkey(db: AsyncSession, kit: Kit, user_id: UUID) -> Asking:
    return await passkeys.ask(db, kit, passkeys.REAUTH, user_id=user_id)


async def send_code(db: AsyncSession, kit: Kit, user_id: UUID) -> UUID:
    """For accounts that have neither a password nor a second factor: six digits to the confirmed e-mail address.
    Raises ReauthRequired when the account has something better, and NoEmail."""
    user = await users.myself(db, user_id)
    methods = await step_up.methods(db, user_id)
    if not methods:
        raise NoEmail
    if "code" not in methods:
        raise ReauthRequired(methods)
    return await mailed_codes.send(db, kit, user, mailed_codes.REAUTH)


async def with_password(kit: Kit, again: Again, password: str) -> Pair:
    """Raises InvalidCredentials, and RateLimited after five wrong ones."""
    await _require(kit, again.user_id, "password")
    await attempts.take(kit, attempts.REAUTH, again.user_id, client=again.client)
    async with kit.database.transaction() as db:
        stored = await db.scalar(select(Password.hash).where(Password.user_id == again.user_id))
    verdict = await kit.hasher.verify(stored, password)
    if not verdict.matches:
        await _record(kit, again, "password")
        raise InvalidCredentials
    return await _renew(kit, again, "password", ["pwd"], stored=stored)


async def with_code(kit: Kit, again: Again, ceremony_id: UUID, code: str) -> Pair:
    """Raises InvalidCode. A wrong code counts, and the right one may still be tried."""
    await _require(kit, again.user_id, "code")
    await attempts.take(kit, attempts.REAUTH, again.user_id, client=again.client)
    try:
        await mailed_codes.redeem(kit, mailed_codes.REAUTH, ceremony_id, code, user_id=again.user_id)
    except InvalidCode:
        await _record(kit, again, "code")
        raise
    return await _renew(kit, again, "code", ["otp"])


async def with_factor(kit: Kit, again: Again, shown: Shown) -> Pair:
    await _require(kit, again.user_id, shown.method)

    async def then(db: AsyncSession, amr: Sequence[str]) -> Pair:
        pair = await elevation.elevate(db, kit, again.user_id, again.session_id, amr=amr, aal=2)
        await audit.record(db, _entry(again, shown.method), again.client, now=kit.clock.now())
        return pair

    return await proof.prove(kit, again.user_id, shown, client=again.client, then=then)


async def _require(kit: Kit, user_id: UUID, method: str) -> None:
    """The password alone is no proof where a second factor is set up."""
    async with kit.database.transaction() as db:
        methods = await step_up.methods(db, user_id)
    if method not in methods:
        raise ReauthRequired(methods)


async def _renew(kit: Kit, again: Again, method: str, amr: Sequence[str], *, stored: str | None = None) -> Pair:
    async with kit.database.transaction() as db:
        if stored is not None:
            await users.take_turn(db, again.user_id)
            current = await db.scalar(select(Password.hash).where(Password.user_id == again.user_id))
            if current != stored:
                raise InvalidCredentials
        pair = await elevation.elevate(db, kit, again.user_id, again.session_id, amr=amr)
        await attempts.give_back(db, attempts.REAUTH, again.user_id)
        await audit.record(db, _entry(again, method), again.client, now=kit.clock.now())
    return pair


async def _record(kit: Kit, again: Again, method: str) -> None:
    await audit.record_alone(kit.database, _entry(again, method, refused=True), again.client, now=kit.clock.now())


def _entry(again: Again, method: str, *, refused: bool = False) -> Entry:
    return Entry(
        action="session.confirmed",
        result="refused" if refused else "ok",
        reason=method,
        actor_id=again.user_id,
        subject_id=again.user_id,
        session_id=again.session_id,
    )
