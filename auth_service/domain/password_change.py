"""Choosing another password within a session: by who knows the current one, or has just proved who they are."""

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, factors, floods, new_password, quotas, revocations, sessions, step_up, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.new_password import Owner
from auth_service.domain.tokens import Pair
from auth_service.errors import Impersonated, InvalidCredentials, NotAllowed
from auth_service.models import Session, User
from libs.errors import Conflict, InvalidToken, RateLimited

_HOUR = timedelta(hours=1)
_GUESSES_AN_HOUR = 10
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, in which session, with an access token that was issued when."""

    user_id: UUID
    session_id: UUID
    issued_ms: int
    client: Client


@dataclass(frozen=True, slots=True)
class Change:
    new: str = field(repr=False)
    current: str | None = field(default=None, repr=False)
    keep_sessions: bool = False


async def change(kit: Kit, me: Asking, wanted: Change) -> Pair:
    """A fresh pair for this session: its tokens from before are refused like all others. Raises ReauthRequired without
    the current password, and where there is a second factor, unless the caller has proved who they are within five
    minutes."""
    try:
        owner = await _owner(kit, me, by_password=wanted.current is not None)
    except RateLimited as refusal:
        await floods.record_alone(kit, _entry(me, refused=refusal.code), me.client, of=str(me.user_id))
        raise
    await _require_current(kit, me, owner, wanted)
    new_hash = await new_password.suitable_hash(kit, wanted.new, owner)
    async with kit.database.transaction() as db:
        user = await users.myself(db, me.user_id, lock=True)
        if await new_password.current_hash(db, user.id) != owner.hash:
            raise Conflict("The password was changed meanwhile.")
        await sessions.hold(db, user.id, me.session_id, others=not wanted.keep_sessions)
        now = kit.clock.now()
        await new_password.replace(db, kit, user, new_hash, now=now)
        ended = []
        if not wanted.keep_sessions:
            ended = await sessions.end_others(
                db, user.id, keep=me.session_id, reason="password_changed", now=now, client=me.client
            )
        pair = await _renew(db, kit, user, me.session_id)
        await audit.record(db, _entry(me), me.client, now=now)
    await sessions.announce(kit, ended)
    await revocations.announce_user(kit.redis, me.user_id, now)
    return pair


async def _owner(kit: Kit, me: Asking, *, by_password: bool) -> Owner:
    now = kit.clock.now()
    async with kit.database.transaction() as db:
        if not by_password or await factors.methods(db, me.user_id):
            await step_up.require_recent(db, me.user_id, me.session_id, issued_ms=me.issued_ms, now=now)
        elif await db.scalar(select(Session.actor_id).where(Session.id == me.session_id)) is not None:
            raise Impersonated
        if by_password:
            # Who has stolen a session must not find out the password with it.
            key = f"password_change:{me.user_id}"
            await quotas.take(db, key, most=_GUESSES_AN_HOUR, window=_HOUR, now=now)
        return await new_password.owner(db, me.user_id)


async def _require_current(kit: Kit, me: Asking, owner: Owner, wanted: Change) -> None:
    if wanted.current is None:
        return
    if not (await kit.hasher.verify(owner.hash, wanted.current)).matches:
        refused = _entry(me, refused=InvalidCredentials.code)
        await audit.record_alone(kit.database, refused, me.client, now=kit.clock.now())
        raise NotAllowed("current_password", "This is not the current password.")
    if wanted.current == wanted.new:
        raise NotAllowed("new_password", "Choose another password than the current one.")


async def _renew(db: AsyncSession, kit: Kit, user: User, session_id: UUID) -> Pair:
    """The session goes on with tokens that nobody who knew the old ones can have."""
    session = await db.get(Session, session_id, with_for_update=True)
    if session is None or session.revoked_at is not None:
        raise InvalidToken
    session.salt = secrets.token_bytes(_SALT_BYTES)
    await db.flush()
    return kit.mint.pair(users.holder(user), session, counter=session.counter)


def _entry(me: Asking, *, refused: str | None = None) -> Entry:
    return Entry(
        action="password.changed",
        result="refused" if refused else "ok",
        reason=refused,
        actor_id=me.user_id,
        subject_id=me.user_id,
        session_id=me.session_id,
    )
