"""What is begun here and ended soon by the same person: each ceremony ends once, whether or not it ends well."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.models import Ceremony
from libs.db import Database
from libs.ids import uuid7

LIFETIME = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Begun:
    """`data` is what the end is compared with."""

    user_id: UUID | None
    data: Mapping[str, Any]


async def begin(
    db: AsyncSession, purpose: str, *, user_id: UUID | None = None, data: Mapping[str, Any], now: datetime
) -> UUID:
    ceremony_id = uuid7()
    row = {
        "id": ceremony_id,
        "purpose": purpose,
        "user_id": user_id,
        "data": dict(data),
        "created_at": now,
        "expires_at": now + LIFETIME,
    }
    await db.execute(insert(Ceremony).values(row))
    return ceremony_id


async def take(
    database: Database, ceremony_id: UUID, purpose: str, *, now: datetime, user_id: UUID | None = None
) -> Begun | None:
    """In a transaction of its own: an answer that is refused afterwards has used the ceremony up all the same.

    None when there is none that is unused, of this purpose and of this user."""
    use = update(Ceremony).where(Ceremony.id == ceremony_id, Ceremony.purpose == purpose)
    use = use.where(
        Ceremony.used_at.is_(None), Ceremony.expires_at > now, Ceremony.user_id.is_not_distinct_from(user_id)
    )
    async with database.transaction() as db:
        row = (await db.execute(use.values(used_at=now).returning(Ceremony.user_id, Ceremony.data))).one_or_none()
    return Begun(row.user_id, row.data) if row else None


async def look(db: AsyncSession, ceremony_id: UUID, purpose: str, *, user_id: UUID, now: datetime) -> Begun | None:
    """For what may be tried more than once."""
    unused = Ceremony.used_at.is_(None), Ceremony.expires_at > now
    query = select(Ceremony.user_id, Ceremony.data).where(Ceremony.id == ceremony_id, Ceremony.purpose == purpose)
    row = (await db.execute(query.where(Ceremony.user_id == user_id, *unused))).one_or_none()
    return Begun(row.user_id, row.data) if row else None


async def spend(db: AsyncSession, ceremony_id: UUID, purpose: str, *, user_id: UUID, now: datetime) -> bool:
    """For a token that knows its own id and works once: whether this is its first use."""
    row = {
        "id": ceremony_id,
        "purpose": purpose,
        "user_id": user_id,
        "data": {},
        "created_at": now,
        # As long as the token could be shown again.
        "expires_at": now + 2 * LIFETIME,
        "used_at": now,
    }
    first = insert(Ceremony).values(row).on_conflict_do_nothing().returning(Ceremony.id)
    return await db.scalar(first) is not None
