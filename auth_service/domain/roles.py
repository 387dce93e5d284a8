"""What staff may do. Denied is what is not in the table below; `docs/roles.md` shows the same table to people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, revocations, sessions, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.errors import LastAdministrator, NotAllowed
from auth_service.models import ROLES, Session, User
from libs.errors import Forbidden, NotFound

_SUPPORT = frozenset({"users.read", "users.unlock", "users.reset_password", "users.end_sessions"})
_MODERATOR = frozenset({"users.read", "users.suspend", "users.end_sessions"})
_ADMIN = frozenset(
    {
        "audit.read",
        "roles.change",
        "sessions.end_everyones",
        "tokens.introspect",
        "users.impersonate",
        "users.import",
        "users.restrict",
    }
)
PERMISSIONS: dict[str, frozenset[str]] = {
    "user": frozenset(),
    "support": _SUPPORT,
    "moderator": _MODERATOR,
    "admin": _SUPPORT | _MODERATOR | _ADMIN,
}
STAFF = frozenset({"support", "moderator", "admin"})
_ADMINISTRATORS = text("SELECT pg_advisory_xact_lock(5071882)")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Staff:
    """Somebody of staff who acts: in which session, from where."""

    id: UUID
    session_id: UUID
    roles: Sequence[str]
    client: Client

    def entry(self, action: str, subject: UUID | None, **data: object) -> Entry:
        """What the audit log is told when this has been done."""
        reason = data.pop("reason", None)
        return Entry(
            action=action,
            reason=str(reason) if reason is not None else None,
            actor_id=self.id,
            subject_id=subject,
            session_id=self.session_id,
            data=data,
        )


def allows(roles: Iterable[str], permission: str) -> bool:
    return any(permission in PERMISSIONS.get(role, ()) for role in roles)


def is_staff(roles: Iterable[str]) -> bool:
    return not STAFF.isdisjoint(roles)


async def subject(db: AsyncSession, user_id: UUID, staff: Staff) -> User:
    """The locked account that staff acts on. Colleagues are the business of administrators alone."""
    user = await users.find(db, user_id, lock=True)
    if user is None or user.status == "deleted":
        raise NotFound
    if is_staff(user.roles) and "admin" not in staff.roles:
        raise Forbidden("Only an administrator can do this to a member of staff.")
    return user


async def change(kit: Kit, user_id: UUID, wanted: Sequence[str], *, staff: Staff) -> User:
    """Holds from the next request on: tokens with the old roles are refused. Raises LastAdministrator."""
    given = _ordered(wanted)
    async with kit.database.transaction() as db:
        await lock_administrators(db)
        user = await subject(db, user_id, staff)
        before = list(user.roles)
        if "admin" not in given:
            await require_another(db, user)
        user.roles = given
        now = kit.clock.now()
        if before != given:
            await users.save(db, user, now=now)
            await revocations.record_user(db, user_id, now=now)
            ended = await end_acting(db, user_id, now=now)
            await audit.record(
                db, staff.entry("roles.changed", user_id, before=before, after=given), staff.client, now=now
            )
    if before != given:
        await revocations.announce_user(kit.redis, user_id, now)
        await sessions.announce(kit, ended)
        log.info("roles_changed", user_id=str(user_id), roles=given)
    return user


async def end_acting(db: AsyncSession, staff_id: UUID, *, now: datetime) -> list[UUID]:
    """Ends the sessions in which somebody acts as others. Those returned are to be announced after the commit."""
    acting = update(Session).where(Session.actor_id == staff_id, Session.revoked_at.is_(None))
    ending = acting.values(revoked_at=now, revoked_reason="staff").returning(Session.id)
    ended = list((await db.scalars(ending)).all())
    for session_id in ended:
        await revocations.record_session(db, session_id, now=now)
    return ended


async def lock_administrators(db: AsyncSession) -> None:
    """Before the account is locked: of two who take away each other's role the second finds that it is the last."""
    await db.execute(_ADMINISTRATORS)


async def require_another(db: AsyncSession, user: User) -> None:
    """Before an administrator stops being one, under `lock_administrators`. Raises LastAdministrator: somebody must be
    left to manage the rest."""
    if "admin" not in user.roles:
        return
    others = select(func.count()).where(User.status == "active", User.roles.contains(["admin"]), User.id != user.id)
    if not await db.scalar(others.where(User.deletion_at.is_(None))):
        raise LastAdministrator


def _ordered(wanted: Sequence[str]) -> list[str]:
    """Everybody is a user; the order is that of the table."""
    if unknown := set(wanted) - set(ROLES):
        raise NotAllowed("roles", f"There is no role {sorted(unknown)[0]}.")
    return [role for role in ROLES if role in {"user", *wanted}]
