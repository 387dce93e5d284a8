"""People as others see them and as they see themselves."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from auth_service.domain import identifiers
from auth_service.domain.tokens import Holder
from auth_service.models import User
from libs import outbox
from libs.contracts.accounts import Profile, UserUpdated
from libs.errors import InvalidToken, NotFound, PreconditionFailed


async def find(db: AsyncSession, user_id: UUID, *, lock: bool = False) -> User | None:
    """With `lock` the row is held until the transaction ends, which also orders the events about this user. Sessions
    can begin meanwhile: the lock leaves the key alone."""
    query = select(User).where(User.id == user_id).options(selectinload(User.identifiers))
    # What the session has in memory may be older than what a lock had to wait for.
    query = query.execution_options(populate_existing=True)
    if lock:
        query = query.with_for_update(of=User, key_share=True)
    found: User | None = await db.scalar(query)
    return found


async def myself(db: AsyncSession, user_id: UUID, *, lock: bool = False) -> User:
    """Raises InvalidToken when the account behind a token is gone or suspended."""
    user = await find(db, user_id, lock=lock)
    if user is None or user.status != "active":
        raise InvalidToken
    return user


async def visible(db: AsyncSession, user_id: UUID) -> User:
    user = await find(db, user_id)
    if user is None or user.status != "active":
        raise NotFound
    return user


async def profiles(db: AsyncSession, user_ids: Sequence[UUID]) -> list[Profile]:
    """Of those that exist; a registration that nobody has confirmed does not."""
    query = select(User).where(User.id.in_(user_ids), User.status.in_(("active", "suspended")))
    users = (await db.scalars(query.options(selectinload(User.identifiers)))).all()
    return [profile(user) for user in users]


async def change(
    db: AsyncSession, user_id: UUID, changes: Mapping[str, Any], *, if_match: str | None, now: datetime
) -> User:
    """Raises PreconditionFailed when `if_match` (an entity tag, a list of them, or `*`) names another version."""
    user = await myself(db, user_id, lock=True)
    if if_match is not None and not _matches(if_match, etag(user)):
        raise PreconditionFailed
    for field, value in changes.items():
        if field == "username":
            await identifiers.rename(db, user_id, identifiers.username(value), now=now)
        else:
            setattr(user, field, value)
    if changes:
        await save(db, user, now=now)
    return user


async def save(db: AsyncSession, user: User, *, now: datetime) -> None:
    """Makes a change of a locked user a new version, and tells the other services."""
    user.version += 1
    user.updated_at = now
    await db.flush()
    await db.refresh(user, ["identifiers"])
    await outbox.add(db, UserUpdated(profile=profile(user)), now)


def etag(user: User) -> str:
    return f'"{user.version}"'


def profile(user: User) -> Profile:
    return Profile(
        user_id=user.id,
        number=user.number,
        username=user.username,
        first_name=user.first_name,
        last_name=user.last_name,
        email=user.email,
        email_verified=user.email_verified,
        phone_number=user.phone_number,
        phone_verified=user.phone_verified,
        avatar_url=user.avatar_url,
        language=user.language,
        timezone=user.timezone,
        roles=user.roles,
        version=user.version,
    )


def holder(user: User) -> Holder:
    return Holder(
        id=user.id,
        number=user.number,
        username=user.username,
        email=user.email,
        email_verified=user.email_verified,
        first_name=user.first_name,
        last_name=user.last_name,
        roles=user.roles,
        created_at=user.created_at,
    )


def _matches(if_match: str, tag: str) -> bool:
    return if_match.strip() == "*" or tag in (part.strip() for part in if_match.split(","))
