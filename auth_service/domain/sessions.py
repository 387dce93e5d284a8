"""Sessions: begun by a sign-in, continued by refreshing, ended by their owner, by time or by a thief's mistake."""

import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

import structlog
from sqlalchemy import Row, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from auth_service.domain import audit, messages, revocations
from auth_service.domain.audit import Entry
from auth_service.domain.clients import NOBODY, Client
from auth_service.domain.kit import Kit
from auth_service.domain.tokens import FAMILIES, IDLE, STAYING, Holder, Pair, Presented
from auth_service.errors import InvalidRefreshToken, RefreshReused, SessionExpired
from auth_service.models import Session, User
from libs.errors import NotFound, RateLimited, TokenRevoked, WrongTokenType
from libs.ids import uuid7

_SALT_BYTES = 16
GRACE = timedelta(seconds=30)
REFRESHES_A_MINUTE = 120
_MINUTE = timedelta(minutes=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a session begins. `amr` are the methods that proved who it is (RFC 8176), `aal` how strongly."""

    amr: Sequence[str]
    aal: int = 1
    family: str = "canonical"
    cookie: bool = False
    actor_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    reason: str
    client: Client = NOBODY


async def start(db: AsyncSession, kit: Kit, user: Holder, opening: Opening, *, client: Client) -> Pair:
    now = kit.clock.now()
    session = Session(
        id=uuid7(),
        user_id=user.id,
        family=opening.family,
        salt=secrets.token_bytes(_SALT_BYTES),
        counter=0,
        rotated_at=now,
        window_started_at=now,
        window_count=0,
        amr=list(opening.amr),
        aal=opening.aal,
        authenticated_at=now,
        cookie=opening.cookie,
        actor_id=opening.actor_id,
        ip=client.ip,
        country=client.country,
        user_agent=client.user_agent,
        created_at=now,
        last_seen_at=now,
        idle_expires_at=now + IDLE,
        expires_at=now + FAMILIES[opening.family].absolute,
    )
    db.add(session)
    await db.flush()
    entry = Entry(
        action="session.started",
        actor_id=opening.actor_id or user.id,
        subject_id=user.id,
        session_id=session.id,
        data={"amr": list(opening.amr), "family": opening.family},
    )
    await audit.record(db, entry, client, now=now)
    log.info("session_started", user_id=str(user.id), session_id=str(session.id))
    return kit.mint.pair(user, session, counter=0)


async def refresh(kit: Kit, token: str, client: Client) -> Pair:
    """The next pair. Within 30 s of a rotation the token before it gets the same successor, however often it comes.

    An older token, or the last one later than that, is in two hands: the session ends.
    """
    presented = kit.mint.refresh.read(token)
    async with kit.database.transaction() as db:
        pair = await _rotate(db, kit, presented, client=client) or await _repeat(db, kit, presented)
        if pair is None:
            await _end_reused(db, kit, presented.session_id, client)
    if pair is None:
        # After the commit, for an error inside the transaction would undo the ending.
        log.warning("refresh_token_reused", session_id=str(presented.session_id))
        await revocations.announce_session(kit.redis, presented.session_id)
        raise RefreshReused
    return pair


async def end(kit: Kit, session_id: UUID, user_id: UUID, ending: Ending) -> None:
    """Raises NotFound unless it is a running session of this user."""
    async with kit.database.transaction() as db:
        if not await _end(db, session_id, ending, user_id=user_id, now=kit.clock.now()):
            raise NotFound
    await revocations.announce_session(kit.redis, session_id)


async def end_others(
    db: AsyncSession,
    user_id: UUID,
    *,
    keep: UUID | None,
    reason: str,
    now: datetime,
    client: Client = NOBODY,
) -> list[UUID]:
    """Ends all running sessions of the user but `keep`. Those returned are to be announced after the commit."""
    others = select(Session.id).where(Session.user_id == user_id, Session.revoked_at.is_(None), Session.id != keep)
    if keep is None:
        others = select(Session.id).where(Session.user_id == user_id, Session.revoked_at.is_(None))
    # In one order, so that two who end the same sessions never wait for each other.
    found = (await db.scalars(others.order_by(Session.id))).all()
    ending = Ending(reason, client)
    return [session_id for session_id in found if await _end(db, session_id, ending, user_id=user_id, now=now)]


async def end_all(
    db: AsyncSession, user_id: UUID, *, reason: str, now: datetime, client: Client = NOBODY
) -> list[UUID]:
    return await end_others(db, user_id, keep=None, reason=reason, now=now, client=client)


async def announce(kit: Kit, ended: Iterable[UUID]) -> None:
    """After the commit: the gateway refuses the next request of these sessions."""
    for session_id in ended:
        await revocations.announce_session(kit.redis, session_id)


async def sign_out_everywhere(kit: Kit, user_id: UUID, *, keep: UUID | None, client: Client) -> int:
    """Ends the user's sessions, all or all but one, and says how many they were."""
    async with kit.database.transaction() as db:
        now = kit.clock.now()
        ended = await end_others(db, user_id, keep=keep, reason="sign_out", now=now, client=client)
    await announce(kit, ended)
    return len(ended)


async def sign_out(
    kit: Kit, session_id: UUID, user_id: UUID, *, refresh_token: str | None, client: Client = NOBODY
) -> None:
    """Ends this session, and the one that the refresh token belongs to when that is another one of the same user."""
    ending = {session_id}
    if refresh_token is not None:
        try:
            ending.add(kit.mint.refresh.read(refresh_token).session_id)
        except (InvalidRefreshToken, WrongTokenType):
            log.info("foreign_refresh_token_at_sign_out")
    now = kit.clock.now()
    async with kit.database.transaction() as db:
        why = Ending("sign_out", client)
        ended = [sid for sid in sorted(ending) if await _end(db, sid, why, user_id=user_id, now=now)]
    await announce(kit, ended)


async def sign_out_with(kit: Kit, session_id: UUID, user_id: UUID, *, refresh_token: str, client: Client) -> None:
    """Ends this session and that of the refresh token. Raises InvalidRefreshToken for one that is not this user's, and
    TokenRevoked when its session has ended before."""
    presented = kit.mint.refresh.read(refresh_token)
    async with kit.database.transaction() as db:
        session = await _genuine(db, kit, presented)
        if session is None or session.user_id != user_id:
            raise InvalidRefreshToken
        if session.revoked_at is not None:
            raise TokenRevoked
    await sign_out(kit, session_id, user_id, refresh_token=refresh_token, client=client)


async def end_by_refresh_token(kit: Kit, refresh_token: str, client: Client) -> None:
    """For a client whose refresh token is its only credential. A token that is none ends nothing."""
    try:
        presented = kit.mint.refresh.read(refresh_token)
    except (InvalidRefreshToken, WrongTokenType):
        return
    async with kit.database.transaction() as db:
        session = await _genuine(db, kit, presented)
        ended = session is not None and await _end(db, session.id, Ending("sign_out", client), now=kit.clock.now())
    if ended:
        await revocations.announce_session(kit.redis, presented.session_id)


async def running(db: AsyncSession, user_id: UUID, *, before: UUID | None, limit: int, now: datetime) -> list[Session]:
    """The newest first; one more than `limit` when there are more."""
    query = select(Session).where(Session.user_id == user_id, Session.revoked_at.is_(None))
    query = query.where(Session.idle_expires_at > now, Session.expires_at > now)
    if before is not None:
        query = query.where(Session.id < before)
    return list((await db.scalars(query.order_by(Session.id.desc()).limit(limit + 1))).all())


def coarse(ip: str | None) -> str | None:
    """The address as shown: its network, which is enough to recognise one's own sign-in."""
    if ip is None:
        return None
    address = ipaddress.ip_address(ip)
    prefix = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False).network_address)


_HOLDER_COLUMNS = """
    u.id AS user_id, u.number, u.first_name, u.last_name, u.roles, u.created_at AS user_created_at,
    (SELECT value FROM identifiers WHERE user_id = u.id AND kind = 'username') AS username,
    (SELECT value FROM identifiers WHERE user_id = u.id AND kind = 'email') AS email,
    (SELECT verified_at IS NOT NULL FROM identifiers WHERE user_id = u.id AND kind = 'email') AS email_verified
"""
_SESSION_COLUMNS = "s.id, s.family, s.salt, s.counter, s.amr, s.aal, s.actor_id"
# `window_*` count refreshes in spans of a minute that begin with the first refresh after the last span.
_COUNTED = """
    window_count = CASE WHEN s.window_started_at > :window_start THEN s.window_count + 1 ELSE 1 END,
    window_started_at = CASE WHEN s.window_started_at > :window_start THEN s.window_started_at ELSE :now END
"""
_WITHIN_LIMIT = "(s.window_started_at <= :window_start OR s.window_count < :most)"
_USABLE = "s.revoked_at IS NULL AND s.idle_expires_at > :now AND s.expires_at > :now AND u.status = 'active'"

_ROTATE = text(f"""
    UPDATE sessions AS s SET {_COUNTED}, counter = s.counter + CAST(s.family <> ALL (:staying) AS int),
        rotated_at = :now, last_seen_at = :now,
        idle_expires_at = least(s.expires_at, :now + CAST(:idle AS interval)),
        ip = :ip, country = :country, user_agent = :user_agent
    FROM users AS u
    WHERE s.id = :session AND s.counter = :counter AND u.id = s.user_id AND {_USABLE} AND {_WITHIN_LIMIT}
    RETURNING {_SESSION_COLUMNS}, {_HOLDER_COLUMNS}
""")  # noqa: S608
_COUNT_REPEAT = text(f"""
    UPDATE sessions AS s SET {_COUNTED} FROM users AS u
    WHERE s.id = :session AND u.id = s.user_id AND {_USABLE} AND {_WITHIN_LIMIT}
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


async def _repeat(db: AsyncSession, kit: Kit, presented: Presented) -> Pair | None:
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
    counting = {**_window(now), "session": session.id}
    # Not behind at all: it could have rotated, had something not forbidden that.
    row = (await db.execute(_COUNT_REPEAT, counting)).one_or_none() if behind == 1 else None
    if row is None:
        await _refuse(db, session, now)
    return kit.mint.pair(_holder(row), row, counter=presented.counter + 1)


async def _refuse(db: AsyncSession, session: Session, now: datetime) -> NoReturn:
    """Says why a genuine token got nothing: what may have changed since, or the limit."""
    await db.refresh(session)
    _require_running(session, now)
    if session.window_count >= REFRESHES_A_MINUTE:
        left = session.window_started_at + _MINUTE - now
        raise RateLimited(max(1, int(left.total_seconds()) + 1))
    raise InvalidRefreshToken


async def _genuine(db: AsyncSession, kit: Kit, presented: Presented) -> Session | None:
    session: Session | None = await db.get(Session, presented.session_id)
    return session if session is not None and kit.mint.refresh.accepts(presented, session.salt) else None


def _require_genuine(kit: Kit, presented: Presented, salt: bytes) -> None:
    if not kit.mint.refresh.accepts(presented, salt):
        raise InvalidRefreshToken


def _require_running(session: Session, now: datetime) -> None:
    if session.revoked_at is not None:
        raise TokenRevoked
    if now >= min(session.idle_expires_at, session.expires_at):
        raise SessionExpired


async def _end(db: AsyncSession, session_id: UUID, why: Ending, *, now: datetime, user_id: UUID | None = None) -> bool:
    """Whether the session was running until now."""
    ending = update(Session).where(Session.id == session_id, Session.revoked_at.is_(None))
    if user_id is not None:
        ending = ending.where(Session.user_id == user_id)
    owner = await db.scalar(ending.values(revoked_at=now, revoked_reason=why.reason).returning(Session.user_id))
    if owner is None:
        return False
    await revocations.record_session(db, session_id, now=now)
    entry = Entry(action="session.ended", reason=why.reason, actor_id=user_id, subject_id=owner, session_id=session_id)
    await audit.record(db, entry, why.client, now=now)
    log.info("session_ended", session_id=str(session_id), reason=why.reason)
    return True


async def _end_reused(db: AsyncSession, kit: Kit, session_id: UUID, client: Client) -> None:
    now = kit.clock.now()
    if not await _end(db, session_id, Ending("reuse", client), now=now):
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
        first_name=row.first_name,
        last_name=row.last_name,
        roles=row.roles,
        created_at=row.user_created_at,
    )
