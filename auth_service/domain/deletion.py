"""Leaving: the account is out of sight at once and erased after a while. Signing in before then brings it back."""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from auth_service.domain import audit, messages, revocations, roles, sessions, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import NOBODY, Client
from auth_service.domain.kit import Kit
from auth_service.domain.visibility import Viewer
from auth_service.errors import InvalidCredentials
from auth_service.models import ApiToken, Base, User
from libs import outbox
from libs.clock import Clock
from libs.contracts.accounts import UserDeleted
from libs.db import Database

log = structlog.get_logger()


async def request(kit: Kit, user_id: UUID, *, by: Viewer, client: Client) -> None:
    """Signed out everywhere with the next request, programs too. Asking twice changes nothing. Raises Forbidden, and
    LastAdministrator."""
    now = kit.clock.now()
    async with kit.database.transaction() as db:
        await roles.lock_administrators(db)
        user = await users.addressed(db, by, user_id, lock=True)
        if user.deletion_at is not None:
            return
        await roles.require_another(db, user)
        user.deletion_at = now + kit.deletion_grace
        await users.save(db, user, now=now)
        ended = await sessions.end_all(db, user_id, reason="deletion", now=now, client=client)
        ended += await roles.end_acting(db, user_id, now=now)
        tokens = update(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
        await db.execute(tokens.values(revoked_at=now))
        await revocations.record_user(db, user_id, now=now)
        date = user.deletion_at.date().isoformat()
        await messages.notice(db, user, "account_deletion", variables={"date": date}, now=now)
        entry = Entry(action="account.deletion_requested", actor_id=by.user_id, subject_id=user_id)
        await audit.record(db, entry, client, now=now)
    await sessions.announce(kit, ended)
    await revocations.announce_user(kit.redis, user_id, now)


async def take_back(db: AsyncSession, user_id: UUID, *, client: Client, now: datetime) -> User:
    """The owner has signed in. Raises InvalidCredentials when the account was erased meanwhile."""
    user = await users.find(db, user_id, lock=True)
    if user is None or user.status != "active":
        raise InvalidCredentials
    user.deletion_at = None
    await users.save(db, user, now=now)
    entry = Entry(action="account.deletion_taken_back", actor_id=user_id, subject_id=user_id)
    await audit.record(db, entry, client, now=now)
    return user


async def purge(database: Database, clock: Clock) -> None:
    """One turn of the worker: erases whose time has come, each in a transaction of its own."""
    while await _purge_one(database, clock):
        pass


async def _purge_one(database: Database, clock: Clock) -> bool:
    now = clock.now()
    due = select(User).where(User.deletion_at <= now, User.status != "deleted").order_by(User.deletion_at).limit(1)
    async with database.transaction() as db:
        locked = due.options(selectinload(User.identifiers)).with_for_update(of=User, skip_locked=True)
        user = await db.scalar(locked)
        if user is not None:
            await _erase(db, user, now=now)
    return user is not None


async def _erase(db: AsyncSession, user: User, *, now: datetime) -> None:
    """What stays is an id and a number, so that neither is ever given to somebody else."""
    await messages.notice(db, user, "account_deleted", now=now)
    for table in reversed(Base.metadata.sorted_tables):
        owners = [column for column in table.columns if any(key.column is _ID for key in column.foreign_keys)]
        if owners:
            await db.execute(delete(table).where(or_(*(column == user.id for column in owners))))
    await db.execute(_BLANK.where(User.id == user.id).values(updated_at=now))
    await revocations.record_user(db, user.id, now=now)
    await outbox.add(db, UserDeleted(user_id=user.id), now)
    await audit.record(db, Entry(action="account.deleted", subject_id=user.id), NOBODY, now=now)
    log.info("account_deleted", user_id=str(user.id))


_ID = User.__table__.c.id
_BLANK = (
    update(User)
    .values(
        status="deleted",
        roles=["user"],
        first_name="",
        last_name="",
        bio="",
        avatar_url=None,
        date_of_birth=None,
        language="en",
        timezone="UTC",
        privacy={},
        preferences={},
        direct_messages="everyone",
        allowed_countries=None,
        suspended_reason=None,
        deletion_at=None,
        version=User.version + 1,
    )
    .execution_options(synchronize_session=False)
)
