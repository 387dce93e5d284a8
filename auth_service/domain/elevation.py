"""A session whose owner has just proved once more who they are."""

import secrets
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import users
from auth_service.domain.kit import Kit
from auth_service.domain.tokens import Pair
from auth_service.errors import Impersonated
from auth_service.models import Session
from libs.errors import TokenRevoked

_SALT_BYTES = 16


async def elevate(
    db: AsyncSession, kit: Kit, user_id: UUID, session_id: UUID, *, amr: Sequence[str], aal: int = 1
) -> Pair:
    """New tokens for the same session. Whoever held the old ones gains nothing: the old refresh token is no longer
    genuine, and the old access token does not count as the new proof (`step_up.require_recent`)."""
    user = await users.myself(db, user_id, lock=True)
    now = kit.clock.now()
    session = await db.get(Session, session_id, with_for_update=True, populate_existing=True)
    if session is None or session.user_id != user_id or session.revoked_at is not None:
        raise TokenRevoked
    if session.actor_id is not None:
        raise Impersonated
    session.salt = secrets.token_bytes(_SALT_BYTES)
    session.counter += 1
    session.rotated_at = session.authenticated_at = now
    session.aal = max(session.aal, aal)
    session.amr = list(dict.fromkeys([*session.amr, *amr]))
    await db.flush()
    return kit.mint.pair(users.holder(user), session, counter=session.counter)
