"""Refreshing: the next pair for the last refresh token; a token that is in two hands ends its session."""

from datetime import datetime, timedelta
from typing import NoReturn
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from auth_service.domain import audit, floods, messages, revocations, rotator, sessions
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.rotator import MINUTE, REFRESHES_A_MINUTE
from auth_service.domain.sessions import Ending
from auth_service.domain.tokens import Pair, Presented
from auth_service.errors import CountryBlocked, InvalidRefreshToken, RefreshReused, SessionExpired
from auth_service.models import Session, User
from libs.errors import RateLimited, ServiceError, TokenRevoked

GRACE = timedelta(seconds=30)

log = structlog.get_logger()


async def refresh(kit: Kit, token: str, client: Client) -> Pair:
    """The next pair. Within 30 s of a rotation the token before it gets the same successor, however often it comes.

    An older token, or the last one later than that, is in two hands: the session ends. Raises CountryBlocked, and the
    session waits for its owner to be back.
    """
    presented = kit.mint.refresh.read(token)
    refreshed = await kit.rotator.rotate(presented, client)
    if refreshed is not None:
        return kit.mint.pair(refreshed.holder, refreshed, counter=refreshed.counter, issued=refreshed.issued)
    try:
        async with kit.database.transaction() as db:
            pair = await _alone(db, kit, presented, client=client)
            if pair is None:
                await _end_reused(db, kit, presented.session_id, client)
    except (CountryBlocked, RateLimited) as refusal:
        await _record(kit, presented.session_id, refusal, client)
        raise
    if pair is None:
        # After the commit, for an error inside the transaction would undo the ending.
        log.warning("refresh_token_reused", session_id=str(presented.session_id))
        await revocations.announce_session(kit.redis, presented.session_id)
        raise RefreshReused
    return pair


async def _alone(db: AsyncSession, kit: Kit, presented: Presented, *, client: Client) -> Pair | None:
    """A token by itself: one that others were in the way of, or one of before. None when that comes too late."""
    now = kit.clock.now()
    refreshed = await rotator.rotate(db, presented, client, now=now)
    if refreshed is None:
        return await _repeat(db, kit, presented, client=client, now=now)
    # Raising undoes what a forged token did.
    _require_genuine(kit, presented, refreshed.salt)
    return kit.mint.pair(refreshed.holder, refreshed, counter=refreshed.counter)


async def _repeat(db: AsyncSession, kit: Kit, presented: Presented, *, client: Client, now: datetime) -> Pair | None:
    """The successor that this token has already been given; None when it comes too late for that."""
    session = await db.get(Session, presented.session_id)
    if session is None:
        raise InvalidRefreshToken
    _require_genuine(kit, presented, session.salt)
    _require_running(session, now)
    if presented.counter > session.counter:
        # Ours, yet of a future that this database does not know: it was restored from a backup.
        raise InvalidRefreshToken
    behind = session.counter - presented.counter
    if behind > 1 or (behind == 1 and now - session.rotated_at > GRACE):
        return None
    # Not behind at all: it could have rotated, had something not forbidden that.
    refreshed = await rotator.count(db, session, client, now=now) if behind == 1 else None
    if refreshed is None:
        await _refuse(db, session, now, client)
    return kit.mint.pair(refreshed.holder, refreshed, counter=presented.counter + 1)


async def _refuse(db: AsyncSession, session: Session, now: datetime, client: Client) -> NoReturn:
    """Says why a genuine token got nothing: what may have changed since, or the limit."""
    await db.refresh(session)
    _require_running(session, now)
    if session.window_count >= REFRESHES_A_MINUTE:
        left = session.window_started_at + MINUTE - now
        raise RateLimited(max(1, int(left.total_seconds()) + 1))
    countries = await db.scalar(select(User.allowed_countries).where(User.id == session.user_id))
    if countries is not None and client.country and client.country not in countries:
        raise CountryBlocked(client.country)
    raise InvalidRefreshToken


async def _record(kit: Kit, session_id: UUID, refusal: ServiceError, client: Client) -> None:
    async with kit.database.transaction() as db:
        user_id = await db.scalar(select(Session.user_id).where(Session.id == session_id))
        entry = Entry(
            action="session.refused", result="refused", reason=refusal.code, subject_id=user_id, session_id=session_id
        )
        await floods.record(db, entry, client, of=f"{session_id}:{client.country}", now=kit.clock.now())


def _require_genuine(kit: Kit, presented: Presented, salt: bytes) -> None:
    if not kit.mint.refresh.accepts(presented, salt):
        raise InvalidRefreshToken


def _require_running(session: Session, now: datetime) -> None:
    if session.revoked_at is not None:
        raise TokenRevoked
    if now >= min(session.idle_expires_at, session.expires_at):
        raise SessionExpired


async def _end_reused(db: AsyncSession, kit: Kit, session_id: UUID, client: Client) -> None:
    now = kit.clock.now()
    if not await sessions.end_one(db, session_id, Ending("reuse", client), now=now):
        return
    query = select(User).join(Session, Session.user_id == User.id).where(Session.id == session_id)
    user = (await db.scalars(query.options(selectinload(User.identifiers)))).one()
    entry = Entry(
        action="session.reused", result="refused", reason="refresh_reused", subject_id=user.id, session_id=session_id
    )
    await audit.record(db, entry, client, now=now)
    await messages.mail(db, kit, user, "refresh_reused")
