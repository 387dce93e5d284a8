"""What staff does to accounts. Everything is audited with who did it and why; nobody ever sets somebody's password."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, links, messages, passwords, revocations, roles, sessions, users
from auth_service.domain.kit import Kit
from auth_service.domain.roles import Staff
from auth_service.errors import NoEmail
from auth_service.models import Throttle, User
from libs import outbox
from libs.contracts.accounts import UserReinstated, UserSuspended
from libs.errors import Conflict

_END_EVERYONES = text("UPDATE sessions SET revoked_at = :now, revoked_reason = 'staff' WHERE revoked_at IS NULL")

log = structlog.get_logger()


async def suspend(kit: Kit, user_id: UUID, reason: str, *, staff: Staff) -> User:
    """Nobody signs in to the account; whoever was is out with the next request."""
    if user_id == staff.id:
        raise Conflict("You cannot suspend yourself.")
    async with kit.database.transaction() as db:
        user = await _subject(db, user_id, staff)
        if user.status != "active":
            raise Conflict("This account is not active.")
        await roles.require_another(db, user)
        now = kit.clock.now()
        user.status, user.suspended_reason = "suspended", reason
        await users.save(db, user, now=now)
        await outbox.add(db, UserSuspended(user_id=user_id), now)
        ended = await _end_all(db, user_id, now=now)
        await revocations.record_user(db, user_id, now=now)
        await audit.record(db, staff.entry("user.suspended", user_id, reason=reason), staff.client, now=now)
    await sessions.announce(kit, ended)
    await revocations.announce_user(kit.redis, user_id, now)
    return user


async def reinstate(kit: Kit, user_id: UUID, reason: str, *, staff: Staff) -> User:
    async with kit.database.transaction() as db:
        user = await roles.subject(db, user_id, staff)
        if user.status != "suspended":
            raise Conflict("This account is not suspended.")
        now = kit.clock.now()
        user.status, user.suspended_reason = "active", None
        await users.save(db, user, now=now)
        await outbox.add(db, UserReinstated(user_id=user_id), now)
        await audit.record(db, staff.entry("user.reinstated", user_id, reason=reason), staff.client, now=now)
    return user


async def reset_password(kit: Kit, user_id: UUID, *, staff: Staff) -> None:
    """The password is void at once, sessions end, and the owner gets a link to choose another. Raises NoEmail."""
    async with kit.database.transaction() as db:
        user = await roles.subject(db, user_id, staff)
        email = user.identifier("email")
        if email is None:
            raise NoEmail
        now = kit.clock.now()
        await passwords.void(db, user_id)
        ended = await _end_all(db, user_id, now=now)
        token = await links.issue(db, links.RESET_PASSWORD, user_id, target=email.value_norm, now=now)
        await messages.mail(db, kit, user, "choose_password", secret=token)
        await audit.record(db, staff.entry("password.reset_forced", user_id), staff.client, now=now)
    await sessions.announce(kit, ended)


async def end_sessions(kit: Kit, user_id: UUID, *, staff: Staff) -> int:
    async with kit.database.transaction() as db:
        await roles.subject(db, user_id, staff)
        now = kit.clock.now()
        ended = await _end_all(db, user_id, now=now)
        entry = staff.entry("session.ended_by_staff", user_id, count=len(ended))
        await audit.record(db, entry, staff.client, now=now)
    await sessions.announce(kit, ended)
    return len(ended)


async def end_everyones(kit: Kit, reason: str, *, staff: Staff) -> int:
    """All sessions of all users, the caller's own too."""
    async with kit.database.transaction() as db:
        now = kit.clock.now()
        count: int = (await db.execute(_END_EVERYONES, {"now": now})).rowcount  # type: ignore[attr-defined]
        await revocations.record_everyone(db, now=now)
        entry = staff.entry("session.ended_for_everyone", None, count=count, reason=reason)
        await audit.record(db, entry, staff.client, now=now)
    await revocations.announce_everyone(kit.redis, now)
    log.warning("sessions_of_everyone_ended", count=count)
    return count


async def unlock(db: AsyncSession, user_id: UUID, *, staff: Staff, now: datetime) -> None:
    """Forgets the failures that slow down signing in to this account."""
    await roles.subject(db, user_id, staff)
    await db.execute(delete(Throttle).where(Throttle.key.contains(str(user_id), autoescape=True)))
    await audit.record(db, staff.entry("user.unlocked", user_id), staff.client, now=now)


async def restrict(
    db: AsyncSession, user_id: UUID, countries: Sequence[str] | None, *, staff: Staff, now: datetime
) -> User:
    """The countries that the account may be used from; None: all. Asked at the next sign-in and refresh."""
    user = await roles.subject(db, user_id, staff)
    user.allowed_countries = None if countries is None else sorted(set(countries))
    await users.save(db, user, now=now)
    entry = staff.entry("user.restricted", user_id, countries=user.allowed_countries)
    await audit.record(db, entry, staff.client, now=now)
    return user


async def _subject(db: AsyncSession, user_id: UUID, staff: Staff) -> User:
    """Administrators are counted before an account is locked, in the order of a change of roles."""
    await roles.lock_administrators(db)
    return await roles.subject(db, user_id, staff)


async def _end_all(db: AsyncSession, user_id: UUID, *, now: datetime) -> list[UUID]:
    """Also those in which the user, as staff, acts as somebody else."""
    acted = await roles.end_acting(db, user_id, now=now)
    return [*acted, *await sessions.end_all(db, user_id, reason="staff", now=now)]
