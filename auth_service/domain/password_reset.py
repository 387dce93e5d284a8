"""A new password for who reads the mailbox of an account. Signs nobody in: a second factor is still wanted."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import (
    audit,
    devices,
    identifiers,
    links,
    messages,
    new_password,
    quotas,
    revocations,
    sessions,
    users,
)
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.devices import Remembered
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.links import Link
from auth_service.errors import LinkSpent
from auth_service.models import ApiToken, Device, Identifier, Password, User
from libs.db import even_out

_HOUR = timedelta(hours=1)
_LINKS_AN_HOUR = 5
_LINKS_AN_HOUR_AND_NETWORK = 20
_STATEMENTS = 10

# An address that nobody has confirmed opens an account that has nothing else to prove whose it is.
_RESETTABLE = text(
    """
    SELECT u.id FROM identifiers AS i JOIN users AS u ON u.id = i.user_id AND u.status = 'active'
    WHERE i.value_norm = :norm AND i.kind = 'email' AND (
        i.verified_at IS NOT NULL OR NOT (
            EXISTS (SELECT FROM identifiers WHERE user_id = u.id AND kind = 'phone' AND verified_at IS NOT NULL)
            OR EXISTS (SELECT FROM identities WHERE user_id = u.id)
            OR EXISTS (SELECT FROM totp WHERE user_id = u.id AND confirmed_at IS NOT NULL)
            OR EXISTS (SELECT FROM passkeys WHERE user_id = u.id)
        )
    )
    """
)
_NOBODY = UUID(int=0)


async def send_link(db: AsyncSession, kit: Kit, address: Name | None, client: Client) -> None:
    """The same work, seen from outside, whether or not the address is anybody's. Raises RateLimited by network."""
    now = kit.clock.now()
    await quotas.take(db, f"forgot:@{client.network}", most=_LINKS_AN_HOUR_AND_NETWORK, window=_HOUR, now=now)
    if address is None:
        return
    allowed = await quotas.allows(db, f"forgot:{address.norm}", most=_LINKS_AN_HOUR, window=_HOUR, now=now)
    user_id = await _resettable(db, address.norm) if allowed else None
    user = await users.find(db, user_id or _NOBODY)
    if user is not None:
        await send_to(db, kit, user, address.norm, client=client)
    await even_out(db, _STATEMENTS)
    # And as long as when a mail waits.
    db.info["events"] = True


async def send_to(db: AsyncSession, kit: Kit, user: User, address: str, *, client: Client) -> None:
    now = kit.clock.now()
    token = await links.issue(db, links.RESET_PASSWORD, user.id, target=address, now=now)
    await messages.mail(db, kit, user, "reset_password", secret=token)
    await audit.record(db, Entry(action="password.reset_requested", subject_id=user.id), client, now=now)


async def reset(kit: Kit, token: str, new: str, client: Client) -> Remembered:
    """Raises InvalidCode or LinkSpent. The device is known from now on, so that strangers who go on guessing do not
    keep the owner from signing in with the new password."""
    async with kit.database.transaction() as db:
        link = await links.look(db, links.RESET_PASSWORD, token, now=kit.clock.now())
        owner = await new_password.owner(db, link.user_id)
    new_hash = await new_password.suitable_hash(kit, new, owner)
    async with kit.database.transaction() as db:
        now = kit.clock.now()
        link = await links.consume(db, links.RESET_PASSWORD, token, now=now)
        user = await _reader(db, link)
        if not user.email_verified:
            await _take_over(db, user, link, now=now)
        await new_password.replace(db, kit, user, new_hash, now=now)
        ended = await sessions.end_all(db, user.id, reason="password_reset", now=now, client=client)
        await db.execute(delete(Device).where(Device.user_id == user.id))
        device = await devices.remember(db, user.id, client, now=now)
        entry = Entry(action="password.reset", actor_id=user.id, subject_id=user.id)
        await audit.record(db, entry, client, now=now)
    await sessions.announce(kit, ended)
    await revocations.announce_user(kit.redis, link.user_id, now)
    return device


async def _resettable(db: AsyncSession, norm: str) -> UUID | None:
    found: UUID | None = (await db.execute(_RESETTABLE, {"norm": norm})).scalar_one_or_none()
    return found


async def _reader(db: AsyncSession, link: Link) -> User:
    """The account of a link, if it still has the address that the link went to, which still opens it, and the password
    of that time."""
    user = await users.find(db, link.user_id, lock=True)
    if user is None or await _resettable(db, link.target) != user.id:
        raise LinkSpent
    changed_at = await db.scalar(select(Password.changed_at).where(Password.user_id == user.id))
    if changed_at is not None and changed_at > link.created_at:
        raise LinkSpent
    return user


async def _take_over(db: AsyncSession, user: User, link: Link, *, now: datetime) -> None:
    """The mailbox proves whose account it is, which nobody had proved before. Who registered somebody else's address
    keeps no way back, and has bound the account to no country."""
    await identifiers.verify(db, user.id, link.target, now=now)
    unproved = Identifier.user_id == user.id, Identifier.kind == "phone", Identifier.verified_at.is_(None)
    await db.execute(delete(Identifier).where(*unproved).execution_options(synchronize_session=False))
    await db.execute(delete(ApiToken).where(ApiToken.user_id == user.id))
    user.allowed_countries = None
    await users.save(db, user, now=now)
