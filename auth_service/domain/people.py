"""People as one of them sees another."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from auth_service.domain import factors, visibility
from auth_service.domain.visibility import FIELDS, Privacy, Viewer
from auth_service.models import Presence, User
from libs.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What is hidden from the viewer is None."""

    id: UUID
    number: int
    username: str
    email: str | None
    phone_number: str | None
    first_name: str | None
    last_name: str | None
    display_name: str
    avatar_url: str | None
    bio: str | None
    is_verified: bool
    is_online: bool | None
    last_seen_at: datetime | None
    language: str | None
    timezone: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Own(Person):
    """A whole account, for its owner and for staff."""

    phone_verified: bool
    email_verified: bool
    date_of_birth: date | None
    roles: list[str]
    preferences: dict[str, Any]
    privacy: Privacy
    direct_messages: str
    mfa_enabled: bool
    version: int


def query(viewer: Viewer) -> Select[*tuple[Any, ...]]:
    """People who exist for the viewer, each with what the viewer sees; rows are for `shown`."""
    seen = [visibility.sees(viewer, field).label(f"sees_{field}") for field in FIELDS]
    columns = select(User, Presence.online, Presence.last_seen_at, *seen)
    joined = columns.outerjoin(Presence, Presence.user_id == User.id).options(selectinload(User.identifiers))
    return joined.where(visibility.exists_for(viewer)).execution_options(populate_existing=True)


async def read(db: AsyncSession, viewer: Viewer, user_id: UUID) -> Person:
    rows = await _where(db, viewer, User.id == user_id)
    if not rows:
        raise NotFound
    return rows[0]


async def many(db: AsyncSession, viewer: Viewer, user_ids: Sequence[UUID]) -> list[Person]:
    """In the order of the ids."""
    found = {person.id: person for person in await _where(db, viewer, User.id.in_(user_ids))}
    return [found[user_id] for user_id in user_ids if user_id in found]


async def own(db: AsyncSession, user: User) -> Own:
    presence = await db.get(Presence, user.id, populate_existing=True)
    online, last_seen_at = (presence.online, presence.last_seen_at) if presence else (False, None)
    return Own(
        **asdict(_person(user, set(FIELDS), online=online, last_seen_at=last_seen_at)),
        phone_verified=user.phone_verified,
        email_verified=user.email_verified,
        date_of_birth=user.date_of_birth,
        roles=user.roles,
        preferences=user.preferences,
        privacy=visibility.privacy(user.privacy),
        direct_messages=user.direct_messages,
        mfa_enabled=bool(await factors.methods(db, user.id)),
        version=user.version,
    )


def shown(row: Row[Any]) -> Person:
    """A row of `query`."""
    seen = {field for field in FIELDS if getattr(row, f"sees_{field}")}
    return _person(row.User, seen, online=bool(row.online), last_seen_at=row.last_seen_at)


async def _where(db: AsyncSession, viewer: Viewer, condition: ColumnElement[bool]) -> list[Person]:
    return [shown(row) for row in (await db.execute(query(viewer).where(condition))).all()]


def _person(user: User, seen: Collection[str], *, online: bool, last_seen_at: datetime | None) -> Person:
    whole = "profile" in seen
    return Person(
        id=user.id,
        number=user.number,
        username=user.username,
        email=user.email if "email" in seen else None,
        phone_number=user.phone_number if "phone" in seen else None,
        first_name=user.first_name if whole else None,
        last_name=user.last_name if whole else None,
        display_name=user.display_name if whole else user.username,
        avatar_url=user.avatar_url if whole else None,
        bio=user.bio if whole else None,
        is_verified=user.is_verified,
        is_online=online if "online" in seen else None,
        last_seen_at=last_seen_at if "last_seen" in seen else None,
        language=user.language if whole else None,
        timezone=user.timezone if whole else None,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )
