"""People as others see them and as they see themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from auth_service.domain import audit, avatars, identifiers, names, visibility
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.tokens import Holder
from auth_service.domain.visibility import Viewer
from auth_service.errors import NotAllowed
from auth_service.models import User
from libs import outbox
from libs.contracts.accounts import Profile, UserUpdated
from libs.errors import Forbidden, InvalidToken, NotFound, PreconditionFailed

_MERGED = frozenset({"privacy", "preferences"})


@dataclass(frozen=True, slots=True)
class Editor:
    """Who changes an account: its owner or staff, in which session, from where."""

    id: UUID
    session_id: UUID
    client: Client

    def entry(self, action: str, subject_id: UUID, fields: Sequence[str]) -> Entry:
        data = {"fields": list(fields)}
        return Entry(action=action, actor_id=self.id, subject_id=subject_id, session_id=self.session_id, data=data)


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


async def take_turn(db: AsyncSession, user_id: UUID) -> None:
    """Whatever else locks the account comes wholly before what is read from now on, or wholly after."""
    await db.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


async def myself(db: AsyncSession, user_id: UUID, *, lock: bool = False) -> User:
    """Raises InvalidToken when the account behind a token is gone, about to leave or suspended."""
    user = await find(db, user_id, lock=lock)
    if user is None or user.status != "active" or user.deletion_at is not None:
        raise InvalidToken
    return user


def held_roles(user: User) -> list[str]:
    """Who still has a password that somebody else chose can do with it what everybody can."""
    return ["user"] if user.must_change_password else list(user.roles)


async def addressed(db: AsyncSession, caller: Viewer, user_id: UUID, *, lock: bool = False) -> User:
    """The account that the caller may change: their own or, for staff, one that ranks below them. Raises Forbidden."""
    if user_id == caller.user_id:
        return await myself(db, user_id, lock=lock)
    if not caller.is_staff:
        raise Forbidden
    user = await find(db, user_id, lock=lock)
    if user is None or user.status not in ("active", "suspended"):
        raise NotFound
    if not caller.is_admin and Viewer.of(user_id, user.roles).is_staff:
        raise Forbidden
    return user


async def profiles(db: AsyncSession, user_ids: Sequence[UUID]) -> list[Profile]:
    """Of those that exist; a registration that nobody has confirmed does not."""
    return await _profiles(db, User.id.in_(user_ids))


async def profiles_by_number(db: AsyncSession, numbers: Sequence[int]) -> list[Profile]:
    """The same, for clients that know people by number."""
    return await _profiles(db, User.number.in_(numbers))


async def _profiles(db: AsyncSession, named: ColumnElement[bool]) -> list[Profile]:
    query = select(User).where(named, User.status.in_(("active", "suspended")))
    users = (await db.scalars(query.options(selectinload(User.identifiers)))).all()
    return [profile(user) for user in users]


def require_current(user: User, if_match: str | None) -> None:
    """Raises PreconditionFailed when `if_match` (an entity tag, a list of them, or `*`) names another version."""
    if if_match is not None and not _matches(if_match, etag(user)):
        raise PreconditionFailed


async def change(db: AsyncSession, kit: Kit, user: User, changes: Mapping[str, Any], *, by: Editor) -> None:
    """Of a locked user. Of `privacy` and `preferences` only what is named changes.

    The audit log gets the names of what changed: it keeps them longer than their owner may keep the account.
    """
    now = kit.clock.now()
    _require_possible(kit, changes, now)
    merged = {field: {**getattr(user, field), **changes[field]} for field in _MERGED & changes.keys()}
    fields = sorted(_changed(user, changes))
    news = {field: value for field, value in {**changes, **merged}.items() if getattr(user, field) != value}
    for field, value in news.items():
        if field == "username":
            await identifiers.rename(db, user.id, identifiers.username(value), now=now)
        else:
            setattr(user, field, value)
    if news:
        await save(db, user, now=now)
        await audit.record(db, by.entry("profile.changed", user.id, fields), by.client, now=now)


def _changed(user: User, changes: Mapping[str, Any]) -> Iterator[str]:
    for field, value in changes.items():
        current = getattr(user, field)
        if field in _MERGED:
            yield from (f"{field}.{name}" for name, chosen in value.items() if current.get(name) != chosen)
        elif current != value:
            yield field


def _require_possible(kit: Kit, changes: Mapping[str, Any], now: datetime) -> None:
    born = changes.get("date_of_birth")
    # Wherever on earth it already is tomorrow.
    if born is not None and born > now.date() + timedelta(days=1):
        raise NotAllowed("date_of_birth", "Use a date in the past.")
    avatar = changes.get("avatar_url")
    if avatar is not None and not avatars.allowed(avatar, kit.avatar_hosts):
        raise NotAllowed("avatar_url", "Pictures must lie at https and at a host that is allowed here.")


async def save(db: AsyncSession, user: User, *, now: datetime) -> None:
    """Makes a change of a locked user a new version, and tells the other services."""
    user.version += 1
    user.updated_at = now
    await db.flush()
    await db.refresh(user, ["identifiers"])
    await names.keep(db, user)
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
        privacy=asdict(visibility.privacy(user.privacy)),
        direct_messages=user.direct_messages,
    )


def holder(user: User) -> Holder:
    return Holder(
        id=user.id,
        number=user.number,
        username=user.username,
        email=user.email,
        email_verified=user.email_verified,
        is_verified=user.is_verified,
        first_name=user.first_name,
        last_name=user.last_name,
        # Who still has a password that somebody else chose can do with it what everybody can.
        roles=held_roles(user),
        created_at=user.created_at,
    )


def _matches(if_match: str, tag: str) -> bool:
    return if_match.strip() == "*" or tag in (part.strip() for part in if_match.split(","))
