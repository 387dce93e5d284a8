"""Whose a phone number is. A number that was only claimed belongs to whoever proves it."""

from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, identifiers, reclaiming, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.reclaiming import Reclaimed
from auth_service.models import Identifier, User


async def owner_by_proof(
    db: AsyncSession, kit: Kit, phone: Name, *, client: Client
) -> tuple[UUID | None, Reclaimed | None]:
    """Whose account a code for this phone opens, and what is to be announced after the commit.

    Anybody can register with a number that is not theirs, keep the password, and wait for its owner. So an account that
    nothing else proves becomes the owner's alone: what opened it before opens it no more. An account that its owner has
    proved otherwise only loses the number.
    """
    claim = select(Identifier.user_id, Identifier.verified_at).where(Identifier.value_norm == phone.norm)
    row = (await db.execute(claim)).one_or_none()
    if row is None:
        return None, None
    if row.verified_at is not None:
        return row.user_id, None
    user = await users.find(db, row.user_id, lock=True)
    if user is None or user.status == "pending" or user.email_verified or await reclaiming.is_known(db, user):
        await release_unproved(db, kit, phone, client=client)
        return None, None
    if user.status != "active":
        return user.id, None
    return user.id, await _hand_over(db, kit, user, phone, client=client)


async def release_unproved(
    db: AsyncSession, kit: Kit, phone: Name, *, client: Client, keep: UUID | None = None
) -> None:
    """Takes a number that was never proved away from whoever claims it, for somebody has proved it now."""
    claimed = Identifier.value_norm == phone.norm, Identifier.verified_at.is_(None)
    user_id = await db.scalar(select(Identifier.user_id).where(*claimed))
    user = await users.find(db, user_id, lock=True) if user_id and user_id != keep else None
    if user is None:
        return
    await drop(db, user.id)
    entry = Entry(action="phone.lost", subject_id=user.id, reason="proved_by_another")
    await audit.record(db, entry, client, now=kit.clock.now())
    if user.status != "pending":
        await users.save(db, user, now=kit.clock.now())


async def drop(db: AsyncSession, user_id: UUID) -> None:
    await db.execute(delete(Identifier).where(Identifier.user_id == user_id, Identifier.kind == "phone"))


async def _hand_over(db: AsyncSession, kit: Kit, user: User, phone: Name, *, client: Client) -> Reclaimed:
    unproved = Identifier.user_id == user.id, Identifier.kind == "email", Identifier.verified_at.is_(None)
    await db.execute(delete(Identifier).where(*unproved).execution_options(synchronize_session=False))
    reclaimed = await reclaiming.shut_out(db, kit, user, reason="phone_proved", client=client)
    await identifiers.verify(db, user.id, phone.norm, now=reclaimed.at)
    await users.save(db, user, now=reclaimed.at)
    entry = Entry(action="phone.verified", actor_id=user.id, subject_id=user.id)
    await audit.record(db, entry, client, now=reclaimed.at)
    return reclaimed
