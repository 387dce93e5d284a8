"""The copy of auth's profiles: who chat may name, and how."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.contracts.accounts import Profile, UserRegistered, UserUpdated
from libs.contracts.events import Event

Ask = Callable[[Sequence[UUID]], Awaitable[list[Profile]]]
"""Asks auth for profiles; those that do not exist are missing in the answer. Raises Unavailable."""


async def known(db: AsyncSession, user_ids: Collection[UUID], ask: Ask) -> set[UUID]:
    """Those of the users that exist. Who is not in the copy yet, as just after registering, is asked for once."""
    kept = await _kept(db, user_ids)
    here = {user_id for user_id, erased in kept.items() if not erased}
    missing = [user_id for user_id in user_ids if user_id not in kept]
    if missing:
        profiles = await ask(missing)
        for profile in profiles:
            await store(db, profile)
        here |= {profile.user_id for profile in profiles}
    return here


async def store(db: AsyncSession, profile: Profile) -> None:
    """A newer version replaces an older one, never the reverse: events and answers may cross."""
    names = f"{profile.first_name} {profile.last_name}".strip()
    await db.execute(
        text(
            "INSERT INTO profile (user_id, number, username, display_name, avatar_url, version)"
            " VALUES (:user_id, :number, :username, :display_name, :avatar_url, :version)"
            " ON CONFLICT (user_id) DO UPDATE SET number = excluded.number, username = excluded.username,"
            " display_name = excluded.display_name, avatar_url = excluded.avatar_url, version = excluded.version"
            " WHERE profile.version < excluded.version"
        ),
        {
            "user_id": profile.user_id,
            "number": profile.number,
            "username": profile.username,
            "display_name": names or profile.username,
            "avatar_url": profile.avatar_url,
            "version": profile.version,
        },
    )


async def on_registered(db: AsyncSession, data: UserRegistered, _event: Event) -> None:
    await store(db, data.profile)


async def on_updated(db: AsyncSession, data: UserUpdated, _event: Event) -> None:
    await store(db, data.profile)


async def _kept(db: AsyncSession, user_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Whether they are erased."""
    query = text("SELECT user_id, erased FROM profile WHERE user_id = ANY (:ids)")
    return {row.user_id: row.erased for row in await db.execute(query, {"ids": list(user_ids)})}
