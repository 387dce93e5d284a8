"""Finding people: lists with filters, search, and who is here now. What somebody may not see finds nothing."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import identifiers, names, people, visibility
from auth_service.domain.people import Person
from auth_service.domain.visibility import Viewer
from auth_service.models import Identifier, Names, Presence, User

ONLINE_FOR = timedelta(minutes=5)
MOST_ONLINE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What somebody must be like; None: anyhow."""

    is_active: bool | None = None
    is_verified: bool | None = None
    language: str | None = None
    timezone: str | None = None
    created_since: datetime | None = None
    created_until: datetime | None = None
    created_on: date | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None


async def listed(
    db: AsyncSession, viewer: Viewer, filters: Filters, *, limit: int, start: UUID | None, backward: bool = False
) -> list[Person]:
    """The newest first, or backward from `start`; one more than `limit` when there are more."""
    found = _matching(people.query(viewer), viewer, filters)
    if start is not None:
        found = found.where(User.id > start if backward else User.id < start)
    order = User.id.asc() if backward else User.id.desc()
    rows = await db.execute(found.order_by(order).limit(limit + 1))
    return [people.shown(row) for row in rows]


async def count(db: AsyncSession, viewer: Viewer, filters: Filters) -> int:
    everybody = select(func.count()).select_from(User).where(visibility.exists_for(viewer))
    return await db.scalar(_matching(everybody, viewer, filters)) or 0


async def search(db: AsyncSession, viewer: Viewer, query: str, *, limit: int) -> list[Person]:
    """By the whole of an e-mail address that the caller sees, by the beginning of a username, by any part of a name,
    in this order."""
    first = [_address(viewer, "email", query, whole=True)] if "@" in query else []
    found: dict[UUID, None] = {}
    for condition in (*first, names.begins(query), names.contain(viewer, query)):
        if len(found) < limit:
            ids = select(User.id).join(Names, Names.user_id == User.id).where(visibility.exists_for(viewer))
            ids = ids.where(condition, visibility.unblocked(viewer)).limit(limit)
            found |= dict.fromkeys((await db.scalars(ids)).all())
    return await people.many(db, viewer, list(found)[:limit])


async def online(db: AsyncSession, viewer: Viewer, *, now: datetime) -> list[Person]:
    """Who is here or was within five minutes, as far as they show it; the last to come first."""
    lately = and_(Presence.last_seen_at > now - ONLINE_FOR, visibility.sees(viewer, "last_seen"))
    found = people.query(viewer).where(or_(Presence.online, lately), visibility.sees(viewer, "online"))
    found = found.where(visibility.unblocked(viewer)).order_by(Presence.last_seen_at.desc()).limit(MOST_ONLINE)
    return [people.shown(row) for row in await db.execute(found)]


def _matching(query: Select[*tuple[Any, ...]], viewer: Viewer, filters: Filters) -> Select[*tuple[Any, ...]]:
    conditions = [*_plain(filters), visibility.unblocked(viewer)]
    for field in ("language", "timezone"):
        wanted = getattr(filters, field)
        if wanted is not None:
            conditions.append(and_(getattr(User, field) == wanted, visibility.sees(viewer, "profile")))
    if filters.email is not None:
        conditions.append(_address(viewer, "email", filters.email))
    if filters.phone is not None:
        conditions.append(_address(viewer, "phone", _with_plus(filters.phone)))
    if filters.name is not None:
        query = query.join(Names, Names.user_id == User.id)
        conditions.append(names.contain(viewer, filters.name))
    return query.where(*conditions)


def _plain(filters: Filters) -> list[ColumnElement[bool]]:
    """Of what everybody sees."""
    conditions = []
    if filters.is_active is not None:
        active = and_(User.status == "active", User.deletion_at.is_(None))
        conditions.append(active if filters.is_active else ~active)
    if filters.is_verified is not None:
        proved = _identifier(Identifier.verified_at.is_not(None), Identifier.kind != "username")
        conditions.append(proved if filters.is_verified else ~proved)
    since, until = filters.created_since, filters.created_until
    if filters.created_on is not None:
        midnight = datetime.combine(filters.created_on, time(), UTC)
        conditions += [User.created_at >= midnight, User.created_at < midnight + timedelta(days=1)]
    if since is not None:
        conditions.append(User.created_at >= since)
    if until is not None:
        conditions.append(User.created_at <= until)
    return conditions


def _address(
    viewer: Viewer, kind: Literal["email", "phone"], given: str, *, whole: bool = False
) -> ColumnElement[bool]:
    """The whole of it, if the viewer sees it; for staff also a part."""
    name = identifiers.known_as(given, kind)
    if viewer.is_staff and not whole:
        same: ColumnElement[bool] = Identifier.value_norm.contains(given.strip().lower(), autoescape=True)
    elif name is None:
        return false()
    else:
        same = Identifier.value_norm == name.norm
    owners = select(Identifier.user_id).where(Identifier.kind == kind, same)
    return and_(User.id.in_(owners), visibility.sees(viewer, kind))


def _with_plus(number: str) -> str:
    """In an address a plus that was not escaped is a space."""
    digits = number.strip()
    return f"+{digits}" if number.startswith(" ") and digits.isdigit() else digits


def _identifier(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(Identifier.user_id == User.id, *conditions)
