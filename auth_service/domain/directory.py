"""People as staff sees them: searched by what identifies them, and everything of one but secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from auth_service.domain import factors, identifiers, sessions, users
from auth_service.domain.identifiers import FIELDS, Kind
from auth_service.models import ExternalIdentity, Identifier, Password, Session, User
from libs.errors import NotFound

_SESSIONS_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an account must have; None: anything."""

    q: str | None = None
    username: str | None = None
    email: str | None = None
    phone_number: str | None = None
    status: str | None = None
    role: str | None = None
    verified: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Dossier:
    user: User
    sessions: Sequence[Session]
    identities: Sequence[str]
    factors: Sequence[str]
    has_password: bool


async def search(db: AsyncSession, wanted: Wanted, *, before: UUID | None, limit: int) -> Sequence[User]:
    """The newest first; one more than `limit` when there are more."""
    query = _named(select(User).options(selectinload(User.identifiers)), wanted)
    if wanted.q is not None:
        query = query.where(_mentions(wanted.q))
    if wanted.status is not None:
        query = query.where(User.status == wanted.status)
    if wanted.role is not None:
        query = query.where(User.roles.contains([wanted.role]))
    if wanted.verified is not None:
        proven = _identifiers(Identifier.verified_at.is_not(None), Identifier.kind != "username")
        query = query.where(proven if wanted.verified else ~proven)
    if wanted.since is not None:
        query = query.where(User.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(User.created_at <= wanted.until)
    if before is not None:
        query = query.where(User.id < before)
    return (await db.scalars(query.order_by(User.id.desc()).limit(limit + 1))).all()


async def read(db: AsyncSession, user_id: UUID, *, now: datetime) -> Dossier:
    user = await users.find(db, user_id)
    if user is None:
        raise NotFound
    providers = select(ExternalIdentity.provider).where(ExternalIdentity.user_id == user_id)
    password = select(Password.user_id).where(Password.user_id == user_id)
    return Dossier(
        user=user,
        sessions=await sessions.running(db, user_id, before=None, limit=_SESSIONS_SHOWN, now=now),
        identities=(await db.scalars(providers.order_by(ExternalIdentity.provider))).all(),
        factors=await factors.methods(db, user_id),
        has_password=await db.scalar(password) is not None,
    )


def _named(query: Select[User], wanted: Wanted) -> Select[User]:
    kind: Kind
    for kind, field in FIELDS.items():
        given = getattr(wanted, field)
        if given is not None:
            name = identifiers.known_as(given, kind)
            # What cannot be anybody's name is nobody's.
            norm = name.norm if name else ""
            query = query.where(_identifiers(Identifier.kind == kind, Identifier.value_norm == norm))
    return query


def _mentions(q: str) -> ColumnElement[bool]:
    """A part of a name, an address or a number, taken literally."""
    part = q.strip().lower()
    full_name = func.lower(User.first_name + " " + User.last_name)
    return or_(
        full_name.contains(part, autoescape=True),
        _identifiers(Identifier.value_norm.contains(part, autoescape=True)),
    )


def _identifiers(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(Identifier.user_id).where(Identifier.user_id == User.id, *conditions).exists()
