"""Staff who see what a user sees: for a quarter of an hour, for a reason, and not able to prove or change who it is."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, roles, sessions, users
from auth_service.domain.kit import Kit
from auth_service.domain.roles import Staff
from auth_service.domain.sessions import Opening
from auth_service.domain.tokens import IMPERSONATED, Pair
from libs.errors import Conflict, Forbidden


async def begin(db: AsyncSession, kit: Kit, user_id: UUID, reason: str, *, staff: Staff) -> Pair:
    """The access token is all that may be handed out: such a session is not continued."""
    user = await roles.subject(db, user_id, staff)
    if roles.is_staff(user.roles):
        raise Forbidden("Nobody acts as a member of staff.")
    if user.status != "active":
        raise Conflict("This account is not active.")
    opening = Opening(amr=["staff"], family=IMPERSONATED, actor_id=staff.id)
    pair = await sessions.start(db, kit, users.holder(user), opening, client=staff.client)
    entry = staff.entry("impersonation.started", user_id, reason=reason)
    await audit.record(db, entry, staff.client, now=kit.clock.now())
    return pair
