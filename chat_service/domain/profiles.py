"""The copy of auth's profiles: who chat may name, and how."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import sightings
from libs.contracts.accounts import Profile, UserRegistered, UserReinstated, UserSuspended, UserUpdated
from libs.contracts.events import Event
from libs.db import Database

Ask = Callable[[Sequence[UUID]], Awaitable[list[Profile]]]
"""Asks auth for profiles; those that do not exist are missing in the answer. Raises Unavailable."""


_STORE = text(
    """
    INSERT INTO profile AS p (user_id, number, username, display_name, first_name, last_name, email, avatar_url,
        direct_messages, privacy, version)
    VALUES (:user_id, :number, :username, :display_name, :first_name, :last_name, :email, :avatar_url,
        :direct_messages, CAST(:privacy AS jsonb), :version)
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number, username = excluded.username,
        display_name = excluded.display_name, first_name = excluded.first_name, last_name = excluded.last_name,
        email = excluded.email, avatar_url = excluded.avatar_url, direct_messages = excluded.direct_messages,
        privacy = excluded.privacy, version = excluded.version
    WHERE p.version < excluded.version
    RETURNING old.privacy <> new.privacy AS privacy_changed
    """
)

_SUSPEND = text("UPDATE profile SET suspended = :suspended WHERE user_id = :user")
_OUTDATED = text("SELECT user_id FROM profile WHERE version = 0 LIMIT :batch")
_GIVE_UP = text("UPDATE profile SET version = 1 WHERE version = 0 AND user_id = ANY (:users)")
_BATCH = 100


async def known(db: AsyncSession, user_ids: Collection[UUID], ask: Ask) -> set[UUID]:
    """Those of the users that may be met: they exist, and are not suspended.

    Who is not in the copy yet, as just after registering, is asked for once.
    """
    kept = await _kept(db, user_ids)
    here = {user_id for user_id, gone in kept.items() if not gone}
    missing = [user_id for user_id in user_ids if user_id not in kept]
    if missing:
        profiles = await ask(missing)
        for profile in profiles:
            await store(db, profile)
        here |= {profile.user_id for profile in profiles}
    return here


async def exists(db: AsyncSession, user_id: UUID, ask: Ask) -> bool:
    """Suspended or not."""
    if await known(db, [user_id], ask):
        return True
    query = text("SELECT EXISTS (SELECT 1 FROM profile WHERE user_id = :user AND NOT erased)")
    return bool(await db.scalar(query, {"user": user_id}))


async def store(db: AsyncSession, profile: Profile) -> None:
    """A newer version replaces an older one, never the reverse: events and answers may cross."""
    names = f"{profile.first_name} {profile.last_name}".strip()
    privacy_changed = await db.scalar(
        _STORE,
        {
            "user_id": profile.user_id,
            "number": profile.number,
            "username": profile.username,
            "display_name": names or profile.username,
            "first_name": profile.first_name,
            "last_name": profile.last_name,
            "email": profile.email,
            "avatar_url": profile.avatar_url,
            "direct_messages": profile.direct_messages,
            "privacy": orjson.dumps(profile.privacy).decode(),
            "version": profile.version,
        },
    )
    if privacy_changed:
        await sightings.doubt(db, profile.user_id)


async def on_registered(db: AsyncSession, data: UserRegistered, _event: Event) -> None:
    await store(db, data.profile)


async def on_updated(db: AsyncSession, data: UserUpdated, _event: Event) -> None:
    await store(db, data.profile)


async def on_suspended(db: AsyncSession, data: UserSuspended, _event: Event) -> None:
    """Nobody begins anything with them; what they are in goes on without them."""
    await db.execute(_SUSPEND, {"user": data.user_id, "suspended": True})


async def on_reinstated(db: AsyncSession, data: UserReinstated, _event: Event) -> None:
    await db.execute(_SUSPEND, {"user": data.user_id, "suspended": False})


async def refresh(database: Database, ask: Ask) -> None:
    """One turn of the worker: asks for those of whom an older release kept too little, until there are none."""
    while True:
        async with database.transaction() as db:
            outdated = list(await db.scalars(_OUTDATED, {"batch": _BATCH}))
        found = await ask(outdated) if outdated else []
        async with database.transaction() as db:
            for profile in found:
                await store(db, profile)
            # Whom auth does not know stays as it is, and is not asked for again.
            await db.execute(_GIVE_UP, {"users": outdated})
        if len(outdated) < _BATCH:
            return


async def _kept(db: AsyncSession, user_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Whether they are erased or suspended."""
    query = text("SELECT user_id, erased OR suspended AS gone FROM profile WHERE user_id = ANY (:ids)")
    return {row.user_id: row.gone for row in await db.execute(query, {"ids": list(user_ids)})}
