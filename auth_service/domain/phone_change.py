"""Giving an account another phone number, and taking that back."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, identifiers, links, messages, phone_codes, phones, sessions, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.phone_codes import Attempt
from auth_service.errors import LinkSpent
from auth_service.models import Identifier, User


async def confirm(db: AsyncSession, kit: Kit, attempt: Attempt, user_id: UUID, *, client: Client) -> User:
    """Raises WrongCode, and PhoneTaken when somebody else has proved the number: whoever only claims it loses it."""
    phone = identifiers.phone(await phone_codes.redeem(kit, phone_codes.CHANGE_PHONE, attempt, client=client))
    user = await users.myself(db, user_id, lock=True)
    await phones.release_unproved(db, kit, phone, client=client, keep=user.id)
    old = user.identifier("phone")
    if old is not None and old.value_norm == phone.norm:
        await identifiers.verify(db, user.id, phone.norm, now=kit.clock.now())
        old = None
    else:
        await _replace(db, kit, user, phone, verified=True)
    await _tell(db, kit, user, phone, old=old)
    await _save(db, kit, user, "phone.changed", client=client)
    return user


async def undo(kit: Kit, token: str, client: Client) -> None:
    """Brings the old number back and signs everybody out: whoever follows the link has not changed it. Raises
    InvalidCode, LinkSpent, and PhoneTaken when the old number is somebody else's by now."""
    now = kit.clock.now()
    async with kit.database.transaction() as db:
        link = await links.consume(db, links.UNDO_PHONE, token, now=now)
        user = await users.find(db, link.user_id, lock=True)
        if user is None or user.status == "deleted":
            raise LinkSpent
        # Whoever changes a number twice has caused the second link. Links for numbers before this one stay good.
        await links.kill(db, user.id, links.UNDO_PHONE, now=now, since=link.created_at)
        await _replace(db, kit, user, identifiers.phone(link.data["phone"]), verified=link.data["verified"])
        ended = await sessions.end_all(db, user.id, reason="phone_undo", now=now, client=client)
        await _save(db, kit, user, "phone.restored", client=client)
    await sessions.announce(kit, ended)


async def _replace(db: AsyncSession, kit: Kit, user: User, phone: Name, *, verified: bool) -> None:
    await phones.drop(db, user.id)
    await identifiers.claim(db, user.id, phone, now=kit.clock.now(), verified=verified)


async def _tell(db: AsyncSession, kit: Kit, user: User, phone: Name, *, old: Identifier | None) -> None:
    """By mail, for who has taken the phone reads its messages. A link only goes to an address that was proved."""
    if old is None or not user.email_verified:
        await messages.mail(db, kit, user, "phone_changed")
        return
    now, data = kit.clock.now(), {"phone": old.value, "verified": old.verified_at is not None}
    token = await links.issue(db, links.UNDO_PHONE, user.id, target=phone.norm, now=now, data=data)
    await messages.mail(db, kit, user, "phone_change_undo", secret=token)


async def _save(db: AsyncSession, kit: Kit, user: User, action: str, *, client: Client) -> None:
    now = kit.clock.now()
    await users.save(db, user, now=now)
    await audit.record(db, Entry(action=action, actor_id=user.id, subject_id=user.id), client, now=now)
