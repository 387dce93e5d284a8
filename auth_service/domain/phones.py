"""Whose a phone number is. A number that was only claimed belongs to whoever proves it."""

from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import claims, reclaiming, users
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.reclaiming import Reclaimed
from auth_service.models import Identifier


async def owner_by_proof(
    db: AsyncSession, kit: Kit, phone: Name, *, client: Client
) -> tuple[UUID | None, Reclaimed | None]:
    """Whose account a code for this phone opens: None for nobody's, and what became of it if it was only claimed."""
    holder = select(Identifier.user_id).where(Identifier.value_norm == phone.norm)
    user_id = await db.scalar(holder)
    user = await users.find(db, user_id, lock=True) if user_id else None
    found = user.identifier("phone") if user else None
    if user is None or found is None or found.value_norm != phone.norm:
        return None, None
    if found.verified_at is not None or user.status not in ("active", "pending"):
        return user.id, None
    if user.status == "pending":
        # Its address may still be confirmed by whoever registered it.
        await claims.release(db, kit, phone, {user.id}, client=client)
        return None, None
    reclaimed = await reclaiming.reclaim(db, kit, user, phone, client=client)
    return (user.id if reclaimed else None), reclaimed


async def drop(db: AsyncSession, user_id: UUID) -> None:
    await db.execute(delete(Identifier).where(Identifier.user_id == user_id, Identifier.kind == "phone"))
