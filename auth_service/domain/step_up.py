"""Proving once more who one is, within a session, before something that cannot be undone."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import factors
from auth_service.errors import Impersonated, ReauthRequired
from auth_service.models import Identifier, Password, Session

RECENT = timedelta(minutes=5)


async def require_recent(db: AsyncSession, user_id: UUID, session_id: UUID, *, issued_ms: int, now: datetime) -> None:
    """Raises ReauthRequired when the last proof in this session is older than five minutes, or was weaker than the
    account's factors; for an access token that was issued before that proof (at `issued_ms`), for a copy of it in other
    hands has proved nothing; and Impersonated for staff who act as the user."""
    columns = select(Session.authenticated_at, Session.aal, Session.actor_id)
    session = (await db.execute(columns.where(Session.id == session_id, Session.user_id == user_id))).one_or_none()
    if session is not None and session.actor_id is not None:
        raise Impersonated
    second = await factors.methods(db, user_id)
    if (
        session is None
        or now - session.authenticated_at > RECENT
        or issued_ms < int(session.authenticated_at.timestamp() * 1000)
        or (second and session.aal < 2)
    ):
        raise ReauthRequired(second or await _first_factors(db, user_id))


async def methods(db: AsyncSession, user_id: UUID) -> list[str]:
    """What proves it: a second factor, if there is one, for a stolen password must not remove it. Empty for an account
    that must sign in anew."""
    return await factors.methods(db, user_id) or await _first_factors(db, user_id)


async def _first_factors(db: AsyncSession, user_id: UUID) -> list[str]:
    if await db.scalar(select(Password.user_id).where(Password.user_id == user_id)) is not None:
        return ["password"]
    verified = select(Identifier.user_id).where(
        Identifier.user_id == user_id, Identifier.kind == "email", Identifier.verified_at.is_not(None)
    )
    return ["code"] if await db.scalar(verified) is not None else []
