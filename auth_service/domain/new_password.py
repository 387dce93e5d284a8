"""What every new password brings with it, however it was asked for.

Tokens from before are refused everywhere, and links that would set yet another password, or give the account to another
mailbox, are dead: whoever knew the old password gains nothing from what they have begun.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import api_tokens, factors, links, messages, passwords, revocations, throttles, users
from auth_service.domain.kit import Kit
from auth_service.errors import NotAllowed
from auth_service.models import Password, User
from libs.errors import InvalidToken


@dataclass(frozen=True, slots=True)
class Owner:
    """What a password is measured by, and the hash of the one that there is."""

    own_names: Sequence[str]
    second_factor: bool
    hash: str | None


async def owner(db: AsyncSession, user_id: UUID) -> Owner:
    user = await users.find(db, user_id)
    if user is None:
        raise InvalidToken
    names = [user.username, user.email, user.phone_number, user.first_name, user.last_name]
    second = await factors.methods(db, user.id)
    return Owner([name for name in names if name], bool(second), await current_hash(db, user.id))


async def current_hash(db: AsyncSession, user_id: UUID) -> str | None:
    found: str | None = await db.scalar(select(Password.hash).where(Password.user_id == user_id))
    return found


async def suitable_hash(kit: Kit, new: str, of: Owner) -> str:
    """Raises NotAllowed. Takes a while: to be called outside a transaction."""
    try:
        await kit.passwords.require(new, of.own_names, second_factor=of.second_factor)
    except NotAllowed as error:
        raise NotAllowed("new_password", error.errors[0].message) from None
    return await kit.hasher.hash(new)


async def replace(db: AsyncSession, kit: Kit, user: User, new_hash: str, *, now: datetime) -> None:
    """Of a locked user. The epoch is to be announced after the commit."""
    await passwords.keep(db, user.id, new_hash, now=now)
    user.must_change_password = False
    await db.flush()
    await links.kill(db, user.id, links.RESET_PASSWORD, links.CHANGE_EMAIL, now=now)
    await throttles.forget(db, [throttles.account(throttles.subject(user.id))])
    await revocations.record_user(db, user.id, now=now)
    left = await api_tokens.count(db, user.id, now=now)
    await messages.mail(db, kit, user, "password_changed", variables={"api_tokens": str(left)})
