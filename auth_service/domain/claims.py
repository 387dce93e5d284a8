"""Addresses and numbers that somebody has typed and never proved: whoever proves one gets it."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.models import Identifier, User


async def hold(db: AsyncSession, user_id: UUID, *names: Name) -> set[UUID]:
    """Locks the user, and the others who merely claim one of these names; returns those others.

    All in the order of their ids, so that people who prove each other's names never wait for each other in a ring. To
    be called before one of them is locked otherwise.
    """
    unproved = Identifier.value_norm.in_([name.norm for name in names]), Identifier.verified_at.is_(None)
    claimants = select(Identifier.user_id).where(*unproved)
    held = select(User.id).where(or_(User.id == user_id, User.id.in_(claimants))).order_by(User.id)
    return set(await db.scalars(held.with_for_update(key_share=True))) - {user_id}


async def release(db: AsyncSession, kit: Kit, name: Name, holders: Collection[UUID], *, client: Client) -> None:
    """Takes the name from whoever of these locked accounts merely claims it, for somebody has proved it."""
    unproved = Identifier.value_norm == name.norm, Identifier.verified_at.is_(None)
    losing = delete(Identifier).where(*unproved, Identifier.user_id.in_(holders)).returning(Identifier.user_id)
    loser_id = await db.scalar(losing.execution_options(synchronize_session=False))
    user = await users.find(db, loser_id, lock=True) if loser_id else None
    if user is None:
        return
    now = kit.clock.now()
    entry = Entry(action=f"{name.kind}.lost", subject_id=user.id, reason="proved_by_another")
    await audit.record(db, entry, client, now=now)
    # Of a registration that nobody confirmed no service knows.
    if user.status != "pending":
        await users.save(db, user, now=now)
