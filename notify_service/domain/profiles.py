"""What auth says about users, kept here so that no message waits for auth."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs.contracts import accounts
from libs.db import one_of
from notify_service.models import Profile

# Asks auth for profiles; answers with those that exist.
Ask = Callable[[Sequence[UUID]], Awaitable[Sequence[accounts.Profile]]]

_STORED = select(Profile).where(one_of(Profile.user_id, "users"))
KEPT = [column.name for column in Profile.__table__.columns]


async def keep(db: AsyncSession, profiles: Sequence[accounts.Profile]) -> None:
    """Stores what is newer than what is stored: events and answers of auth may come in any order."""
    if not profiles:
        return
    statement = insert(Profile)
    changed = {name: statement.excluded[name] for name in KEPT}
    newer = statement.excluded.version > Profile.version
    rows = [profile.model_dump(include=set(KEPT)) for profile in sorted(profiles, key=lambda p: p.user_id)]
    await db.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=changed, where=newer), rows)


async def find(db: AsyncSession, users: Iterable[UUID], ask: Ask) -> dict[UUID, Profile]:
    """Profiles by user. Auth is asked for those that are missing; nobody knows the rest."""
    wanted = set(users)
    if not wanted:
        return {}
    found = await stored(db, wanted)
    missing = wanted - found.keys()
    if missing:
        await keep(db, await ask(sorted(missing)))
        found |= await stored(db, missing)
    return found


def address_of(profile: Profile, kind: str) -> str | None:
    """The confirmed address of a kind (`email`, `phone`, `user`), if there is one."""
    if kind == "user":
        return str(profile.user_id)
    if kind == "email":
        return profile.email if profile.email_verified else None
    if kind == "phone":
        return profile.phone_number if profile.phone_verified else None
    return None


async def timezones(db: AsyncSession, users: Iterable[UUID]) -> dict[UUID, str]:
    """Of those of these users whom we know."""
    wanted: Sequence[UUID] = list(set(users))
    if not wanted:
        return {}
    query = select(Profile.user_id, Profile.timezone).where(Profile.user_id.in_(wanted))
    return {row.user_id: row.timezone for row in await db.execute(query)}


def shown_name(profile: Profile) -> str:
    return f"{profile.first_name} {profile.last_name}".strip() or profile.username


async def stored(db: AsyncSession, users: Collection[UUID]) -> dict[UUID, Profile]:
    """The same of those whom we know without asking."""
    rows = await db.scalars(_STORED, {"users": list(users)})
    return {profile.user_id: profile for profile in rows}
