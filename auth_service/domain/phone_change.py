"""Giving an account another phone number, and taking that back.

A link brings the old number back for a week. It goes by mail, for whoever has taken the phone reads its messages; to
the old number only where no address was proved.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import (
    additions,
    audit,
    claims,
    identifiers,
    links,
    messages,
    phone_codes,
    phone_limits,
    phones,
    revocations,
    sessions,
    users,
)
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.links import Link
from auth_service.domain.phone_codes import Attempt
from auth_service.domain.phone_limits import Text
from auth_service.errors import LinkSpent, PhoneTaken
from auth_service.models import Identifier, Password, User


async def confirm(
    db: AsyncSession, kit: Kit, attempt: Attempt, user_id: UUID, *, session_id: UUID, client: Client
) -> User:
    """Raises WrongCode, PhoneTaken when somebody else has proved the number (whoever only claims it loses it), and
    TokenRevoked when the session has ended meanwhile."""
    phone = identifiers.phone(await phone_codes.redeem(kit, phone_codes.CHANGE_PHONE, attempt, client=client))
    now = kit.clock.now()
    claimants = await claims.hold(db, user_id, phone)
    user = await users.myself(db, user_id, lock=True)
    await sessions.hold(db, user_id, session_id)
    await claims.release(db, kit, phone, claimants, client=client)
    await phone_codes.end_pending(db, user.id, now=now)
    old = user.identifier("phone")
    if old is not None and old.value_norm == phone.norm:
        await identifiers.verify(db, user.id, phone.norm, now=now)
        await messages.mail(db, kit, user, "phone_changed")
    else:
        await phones.drop(db, user.id)
        await identifiers.claim(db, user.id, phone, now=now, verified=True)
        await _tell(db, kit, user, phone, old=old, client=client)
    await _save(db, kit, user, "phone.changed", client=client)
    return user


async def undo(kit: Kit, token: str, client: Client) -> None:
    """Brings the old number back and shuts everybody out, as whoever follows the link has not changed it: sessions end,
    and the password is void. Raises InvalidCode, LinkSpent, and PhoneTaken when somebody else has proved the old
    number."""
    now = kit.clock.now()
    async with kit.database.transaction() as db:
        link = await links.look(db, links.UNDO_PHONE, token, now=now)
        claimants = await claims.hold(db, link.user_id, *_proved(link))
        await links.consume(db, links.UNDO_PHONE, token, now=now)
        user = await users.find(db, link.user_id, lock=True)
        if user is None or user.status == "deleted":
            raise LinkSpent
        await _restore(db, kit, user, link, claimants=claimants, client=client)
        await _void_password(db, kit, user, link)
        await additions.remove(db, user.id, changed_at=link.created_at, now=now)
        ended = await sessions.end_all(db, user.id, reason="phone_undo", now=now, client=client)
        await revocations.record_user(db, user.id, now=now)
        await _save(db, kit, user, "phone.restored", client=client)
    await sessions.announce(kit, ended)
    await revocations.announce_user(kit.redis, user.id, now)


async def former(db: AsyncSession, user_id: UUID, *, since: datetime) -> list[Name]:
    """The number that `take_back` would bring back, if it was proved."""
    link = await links.earliest(db, user_id, links.UNDO_PHONE, since=since)
    return _proved(link) if link else []


async def take_back(
    db: AsyncSession, kit: Kit, user: User, *, claimants: Collection[UUID], since: datetime, client: Client
) -> None:
    """Undoes what became of the number of a locked user since then, when that was not their doing. `claimants` are
    those who `hold` found."""
    await phone_codes.end_pending(db, user.id, now=kit.clock.now())
    link = await links.earliest(db, user.id, links.UNDO_PHONE, since=since)
    if link is None:
        return
    try:
        await _restore(db, kit, user, link, claimants=claimants, client=client)
    except PhoneTaken:
        entry = Entry(action="phone.lost", subject_id=user.id, reason="proved_by_another")
        await audit.record(db, entry, client, now=kit.clock.now())


def _proved(link: Link) -> list[Name]:
    return [identifiers.phone(link.data["phone"])] if link.data["phone"] and link.data["verified"] else []


async def _restore(
    db: AsyncSession, kit: Kit, user: User, link: Link, *, claimants: Collection[UUID], client: Client
) -> None:
    now = kit.clock.now()
    # Whoever changes a number twice has caused the second link. Links for numbers before this one stay good.
    await links.kill(db, user.id, links.UNDO_PHONE, now=now, since=link.created_at)
    await phone_codes.end_pending(db, user.id, now=now)
    await phones.drop(db, user.id)
    if link.data["phone"] is None:
        return
    for proved in _proved(link):
        await claims.release(db, kit, proved, claimants, client=client)
    phone = identifiers.phone(link.data["phone"])
    await identifiers.claim(db, user.id, phone, now=now, verified=link.data["verified"])


async def _tell(db: AsyncSession, kit: Kit, user: User, phone: Name, *, old: Identifier | None, client: Client) -> None:
    """A link only goes where the account was proved to be reached before."""
    email, now = user.identifier("email"), kit.clock.now()
    data: Mapping[str, Any] = {
        "phone": old.value if old else None,
        "verified": old is not None and old.verified_at is not None,
        "email": email.value_norm if email and email.verified_at else None,
    }
    if data["email"]:
        token = await links.issue(db, links.UNDO_PHONE, user.id, target=phone.norm, now=now, data=data)
        await messages.mail(db, kit, user, "phone_change_undo", secret=token)
        return
    await messages.mail(db, kit, user, "phone_changed")
    if old is None or not data["verified"]:
        return
    telling = Text("phone_undo", old.value, user.id)
    if await phone_limits.may_tell(db, kit.texting, telling, client=client, now=now):
        token = await links.issue(db, links.UNDO_PHONE, user.id, target=phone.norm, now=now, data=data)
        await messages.text(db, kit, "phone_undo", to=old.value, language=user.language, secret=token, user_id=user.id)


async def _void_password(db: AsyncSession, kit: Kit, user: User, link: Link) -> None:
    """With a link to choose another one, if the address is still the one that the account had."""
    now = kit.clock.now()
    await links.kill(db, user.id, links.RESET_PASSWORD, now=now)
    void = delete(Password).where(Password.user_id == user.id).returning(Password.user_id)
    had = await db.scalar(void)
    email = user.identifier("email")
    if had is None or email is None or email.value_norm != link.data.get("email"):
        return
    token = await links.issue(db, links.RESET_PASSWORD, user.id, target=email.value_norm, now=now)
    await messages.mail(db, kit, user, "reset_password", secret=token)


async def _save(db: AsyncSession, kit: Kit, user: User, action: str, *, client: Client) -> None:
    now = kit.clock.now()
    await users.save(db, user, now=now)
    await audit.record(db, Entry(action=action, actor_id=user.id, subject_id=user.id), client, now=now)
