"""Giving an account another e-mail address, and taking that back.

The new address is proved by a link before anything changes. The old one, if it was proved, gets a link that brings it
back for a week: whoever has taken an account over by its password cannot keep it by its address.
"""

from collections.abc import Collection
from datetime import timedelta
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
    passwords,
    phone_change,
    quotas,
    revocations,
    sessions,
    users,
    verification,
)
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.links import Link
from auth_service.errors import LinkSpent
from auth_service.models import Identifier, User
from libs.db import even_out

_MOST = 5
_WINDOW = timedelta(hours=1)
# Of a request, where nobody must see whether the address is anybody's.
_STATEMENTS = 16


async def request(db: AsyncSession, kit: Kit, user_id: UUID, new: Name, *, client: Client) -> None:
    """Sends a link to the new address; an earlier request is void. Tells nobody whether the address is taken: its owner
    gets a mail instead. At most five an hour, and as many to one address, whoever asks."""
    now = kit.clock.now()
    user = await users.myself(db, user_id, lock=True)
    await quotas.take(db, f"email_change:{user_id}", most=_MOST, window=_WINDOW, now=now)
    # A mistyped address must not be confirmed by its owner after the right one was named.
    await links.kill(db, user.id, links.CHANGE_EMAIL, now=now)
    await audit.record(db, _done("email.change_requested", user), client, now=now)
    current = user.identifier("email")
    if current is not None and current.value_norm == new.norm and current.verified_at is not None:
        return
    if await quotas.allows(db, f"email_change_to:{new.norm}", most=_MOST, window=_WINDOW, now=now):
        await _send(db, kit, user, new)
    await even_out(db, _STATEMENTS)


async def confirm(db: AsyncSession, kit: Kit, token: str, client: Client) -> None:
    """Raises InvalidCode, LinkSpent, and EmailTaken when somebody else has proved the address meanwhile."""
    now = kit.clock.now()
    link = await links.look(db, links.CHANGE_EMAIL, token, now=now)
    new = identifiers.email(link.data["email"])
    claimants = await claims.hold(db, link.user_id, new)
    await links.consume(db, links.CHANGE_EMAIL, token, now=now)
    user = await users.find(db, link.user_id, lock=True)
    current = user.identifier("email") if user else None
    if user is None or user.status != "active" or _norm(current) != link.data["from"]:
        raise LinkSpent
    await _give(db, kit, user, new, claimants=claimants, client=client)
    await links.kill(db, user.id, links.CHANGE_EMAIL, links.RESET_PASSWORD, links.VERIFY_EMAIL, now=now)
    if current is not None and current.value_norm != new.norm:
        await _tell_old(db, kit, user, old=current, new=new)
    await users.save(db, user, now=now)
    await audit.record(db, _done("email.changed", user), client, now=now)


async def undo(kit: Kit, token: str, client: Client) -> None:
    """Brings the old address back, proved, and shuts everybody out: sessions end, the password is void, and so is what
    was added to sign in with since the day before the change. The address gets a link to choose another password.
    Raises InvalidCode, LinkSpent, and EmailTaken when somebody else has proved it."""
    async with kit.database.transaction() as db:
        now = kit.clock.now()
        link = await links.look(db, links.UNDO_EMAIL, token, now=now)
        old = identifiers.email(link.data["email"])
        numbers = await phone_change.former(db, link.user_id, since=link.created_at)
        claimants = await claims.hold(db, link.user_id, old, *numbers)
        await links.consume(db, links.UNDO_EMAIL, token, now=now)
        user = await users.find(db, link.user_id, lock=True)
        if user is None or user.status == "deleted":
            raise LinkSpent
        await _give(db, kit, user, old, claimants=claimants, client=client)
        await _shut_out(db, kit, user, link)
        # Whoever had the account meanwhile may have given it a phone that signs in.
        await phone_change.take_back(db, kit, user, claimants=claimants, since=link.created_at, client=client)
        await users.save(db, user, now=now)
        ended = await sessions.end_all(db, user.id, reason="email_undo", now=now, client=client)
        await revocations.record_user(db, user.id, now=now)
        await audit.record(db, _done("email.restored", user), client, now=now)
    await sessions.announce(kit, ended)
    await revocations.announce_user(kit.redis, user.id, now)


async def _send(db: AsyncSession, kit: Kit, user: User, new: Name) -> None:
    owner_id = await identifiers.owner(db, new)
    owner = await users.find(db, owner_id) if owner_id and owner_id != user.id else None
    if owner is not None and owner.email_verified:
        await verification.send_account_exists(db, kit, owner)
        return
    data = {"email": new.value, "from": _norm(user.identifier("email"))}
    now = kit.clock.now()
    token = await links.issue(db, links.CHANGE_EMAIL, user.id, target=new.norm, now=now, data=data)
    await messages.mail(db, kit, user, "email_change_confirm", to=new.value, secret=token)


async def _give(
    db: AsyncSession, kit: Kit, user: User, address: Name, *, claimants: Collection[UUID], client: Client
) -> None:
    """Makes a proved address the user's. Whoever merely claims it loses it, as anybody can register with it."""
    await claims.release(db, kit, address, claimants, client=client)
    await _drop(db, user.id)
    await identifiers.claim(db, user.id, address, now=kit.clock.now(), verified=True)


async def _drop(db: AsyncSession, user_id: UUID) -> None:
    await db.execute(delete(Identifier).where(Identifier.user_id == user_id, Identifier.kind == "email"))


async def _tell_old(db: AsyncSession, kit: Kit, user: User, *, old: Identifier, new: Name) -> None:
    """An address that was never proved may be a stranger's: it gets neither a link nor the new address."""
    if old.verified_at is None:
        await messages.mail(db, kit, user, "email_changed", to=old.value)
        return
    now, data = kit.clock.now(), {"email": old.value}
    token = await links.issue(db, links.UNDO_EMAIL, user.id, target=old.value_norm, now=now, data=data)
    variables = {"new_email": new.value}
    await messages.mail(db, kit, user, "email_change_undo", to=old.value, secret=token, variables=variables)


async def _shut_out(db: AsyncSession, kit: Kit, user: User, link: Link) -> None:
    now = kit.clock.now()
    await links.kill(db, user.id, links.CHANGE_EMAIL, links.RESET_PASSWORD, links.VERIFY_EMAIL, now=now)
    # Whoever changes an address twice has the second link. Links for addresses before this one stay good.
    await links.kill(db, user.id, links.UNDO_EMAIL, now=now, since=link.created_at)
    await passwords.void(db, user.id)
    await additions.remove(db, user.id, changed_at=link.created_at, now=now)
    token = await links.issue(db, links.RESET_PASSWORD, user.id, target=link.target, now=now)
    await messages.mail(db, kit, user, "choose_password", to=link.data["email"], secret=token)


def _done(action: str, user: User) -> Entry:
    return Entry(action=action, actor_id=user.id, subject_id=user.id)


def _norm(identifier: Identifier | None) -> str | None:
    return identifier.value_norm if identifier else None
