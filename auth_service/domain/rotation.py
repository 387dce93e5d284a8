"""Refreshing: the next pair for the last refresh token; a token that is in two hands ends its session."""

from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

import structlog
from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from auth_service.domain import audit, messages, revocations, sessions
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.sessions import Ending
from auth_service.domain.tokens import IDLE, STAYING, Holder, Pair, Presented
from auth_service.errors import CountryBlocked, InvalidRefreshToken, RefreshReused, SessionExpired
from auth_service.models import Session, User
from libs.errors import RateLimited, TokenRevoked

GRACE = timedelta(seconds=30)
REFRESHES_A_MINUTE = 120
_MINUTE = timedelta(minutes=1)

log = structlog.get_logger()


async def refresh(kit: Kit, token: str, client: Client) -> Pair:
    """The next pair. Within 30 s of a rotation the token before it gets the same successor, however often it comes.

    An older token, or the last one later than that, is in two hands: the session ends. Raises CountryBlocked, and the
    session waits for its owner to be back.
    """
    presented = kit.mint.refresh.read(token)
    try:
        async with kit.database.transaction() as db:
            pair = await _rotate(db, kit, presented, client=client) or await _repeat(db, kit, presented, client=client)
            if pair is None:
                await _end_reused(db, kit, presented.session_id, client)
    except CountryBlocked as refusal:
        await _record(kit, presented.session_id, refusal, client)
        raise
    if pair is None:
        # After the commit, for an error inside the transaction would undo the ending.
        log.warning("refresh_token_reused", session_id=str(presented.session_id))
        await revocations.announce_session(kit.redis, presented.session_id)
        raise RefreshReused
    return pair


# Who still has a password that somebody else chose can do with it what everybody can.
_HOLDER_COLUMNS = """
    u.id AS user_id, u.number, u.first_name, u.last_name, u.created_at AS user_created_at,
    CASE WHEN u.must_change_password THEN ARRAY['user'] ELSE u.roles END AS roles,
    (SELECT value FROM identifiers WHERE user_id = u.id AND kind = 'username') AS username,
    (SELECT value FROM identifiers WHERE user_id = u.id AND kind = 'email') AS email,
    (SELECT verified_at IS NOT NULL FROM identifiers WHERE user_id = u.id AND kind = 'email') AS email_verified,
    EXISTS (SELECT FROM identifiers WHERE user_id = u.id AND verified_at IS NOT NULL) AS is_verified
"""
_SESSION_COLUMNS = "s.id, s.family, s.salt, s.counter, s.amr, s.aal, s.actor_id, s.cookie"
# `window_*` count refreshes in spans of a minute that begin with the first refresh after the last span.
_COUNTED = """
    window_count = CASE WHEN s.window_started_at > :window_start THEN s.window_count + 1 ELSE 1 END,
    window_started_at = CASE WHEN s.window_started_at > :window_start THEN s.window_started_at ELSE :now END
"""
_WITHIN_LIMIT = "(s.window_started_at <= :window_start OR s.window_count < :most)"
_USABLE = "s.revoked_at IS NULL AND s.idle_expires_at > :now AND s.expires_at > :now AND u.status = 'active'"
# As at the sign-in: an account may be bound to countries, and a place that no database knows is let in.
_FROM_HERE = "(u.allowed_countries IS NULL OR coalesce(CAST(:country AS text) = ANY (u.allowed_countries), true))"

_ROTATE = text(f"""
    UPDATE sessions AS s SET {_COUNTED}, counter = s.counter + CAST(s.family <> ALL (:staying) AS int),
        rotated_at = :now, last_seen_at = :now,
        idle_expires_at = least(s.expires_at, :now + CAST(:idle AS interval)),
        ip = :ip, country = :country, user_agent = :user_agent
    FROM users AS u
    WHERE s.id = :session AND s.counter = :counter AND u.id = s.user_id AND {_USABLE} AND {_WITHIN_LIMIT}
        AND {_FROM_HERE}
    RETURNING {_SESSION_COLUMNS}, {_HOLDER_COLUMNS}
""")  # noqa: S608
_COUNT_REPEAT = text(f"""
    UPDATE sessions AS s SET {_COUNTED} FROM users AS u
    WHERE s.id = :session AND s.salt = :salt AND u.id = s.user_id
        AND {_USABLE} AND {_WITHIN_LIMIT} AND {_FROM_HERE}
    RETURNING {_SESSION_COLUMNS}, {_HOLDER_COLUMNS}
""")  # noqa: S608


async def _rotate(db: AsyncSession, kit: Kit, presented: Presented, *, client: Client) -> Pair | None:
    """The ordinary case in one statement, so that of any number of simultaneous refreshes exactly one rotates.

    The salt that the MAC is checked with comes back from the same statement; a forged token therefore gets this far,
    and raising undoes what it did.
    """
    values = {
        **_window(kit.clock.now()),
        "session": presented.session_id,
        "counter": presented.counter,
        "idle": IDLE,
        "staying": STAYING,
        "ip": client.ip,
        "country": client.country,
        "user_agent": client.user_agent,
    }
    row = (await db.execute(_ROTATE, values)).one_or_none()
    if row is None:
        return None
    _require_genuine(kit, presented, row.salt)
    return kit.mint.pair(_holder(row), row, counter=row.counter)


async def _repeat(db: AsyncSession, kit: Kit, presented: Presented, *, client: Client) -> Pair | None:
    """The successor that this token has already been given; None when it comes too late for that."""
    session = await db.get(Session, presented.session_id)
    if session is None:
        raise InvalidRefreshToken
    _require_genuine(kit, presented, session.salt)
    now = kit.clock.now()
    _require_running(session, now)
    if presented.counter > session.counter:
        # Ours, yet of a future that this database does not know: it was restored from a backup.
        raise InvalidRefreshToken
    behind = session.counter - presented.counter
    if behind > 1 or (behind == 1 and now - session.rotated_at > GRACE):
        return None
    # With the salt that the token was checked with: its owner may have confirmed who they are since, which voids it.
    counting = {**_window(now), "session": session.id, "salt": session.salt, "country": client.country}
    # Not behind at all: it could have rotated, had something not forbidden that.
    row = (await db.execute(_COUNT_REPEAT, counting)).one_or_none() if behind == 1 else None
    if row is None:
        await _refuse(db, session, now, client)
    return kit.mint.pair(_holder(row), row, counter=presented.counter + 1)


async def _refuse(db: AsyncSession, session: Session, now: datetime, client: Client) -> NoReturn:
    """Says why a genuine token got nothing: what may have changed since, or the limit."""
    await db.refresh(session)
    _require_running(session, now)
    if session.window_count >= REFRESHES_A_MINUTE:
        left = session.window_started_at + _MINUTE - now
        raise RateLimited(max(1, int(left.total_seconds()) + 1))
    countries = await db.scalar(select(User.allowed_countries).where(User.id == session.user_id))
    if countries is not None and client.country and client.country not in countries:
        raise CountryBlocked(client.country)
    raise InvalidRefreshToken


async def _record(kit: Kit, session_id: UUID, refusal: CountryBlocked, client: Client) -> None:
    async with kit.database.transaction() as db:
        user_id = await db.scalar(select(Session.user_id).where(Session.id == session_id))
        entry = Entry(
            action="session.refused", result="refused", reason=refusal.code, subject_id=user_id, session_id=session_id
        )
        await audit.record(db, entry, client, now=kit.clock.now())


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


def _window(now: datetime) -> dict[str, object]:
    return {"now": now, "window_start": now - _MINUTE, "most": REFRESHES_A_MINUTE}


def _holder(row: Row[Any]) -> Holder:
    return Holder(
        id=row.user_id,
        number=row.number,
        username=row.username,
        email=row.email,
        email_verified=bool(row.email_verified),
        is_verified=row.is_verified,
        first_name=row.first_name,
        last_name=row.last_name,
        roles=row.roles,
        created_at=row.user_created_at,
    )
