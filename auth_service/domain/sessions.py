"""Sessions: begun by a sign-in, ended by their owner, by time, or when there are too many."""

import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from auth_service.domain import audit, messages, revocations, user_agents
from auth_service.domain.audit import Entry
from auth_service.domain.clients import NOBODY, Client
from auth_service.domain.kit import Kit
from auth_service.domain.tokens import FAMILIES, IDLE, Holder, Pair, Presented
from auth_service.errors import InvalidRefreshToken
from auth_service.models import Session, User
from libs.errors import NotFound, TokenRevoked, WrongTokenType
from libs.ids import uuid7

_SALT_BYTES = 16

# With what the worker tells everybody until they know.
_END = text(
    """
    WITH ended AS (
        UPDATE sessions SET revoked_at = :now, revoked_reason = :reason
        WHERE id = :session AND revoked_at IS NULL AND (CAST(:user AS uuid) IS NULL OR user_id = :user)
        RETURNING id, user_id
    ), told AS (
        INSERT INTO revocations (kind, subject, epoch_ms, created_at) SELECT 'session', id, :epoch_ms, :now FROM ended
    )
    SELECT user_id FROM ended
    """
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a session begins. `amr` are the methods that proved who it is (RFC 8176), `aal` how strongly."""

    amr: Sequence[str]
    aal: int = 1
    family: str = "canonical"
    cookie: bool = False
    actor_id: UUID | None = None
    device_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    reason: str
    client: Client = NOBODY


def opened(user_id: UUID, opening: Opening, *, client: Client, now: datetime) -> Session:
    """A session as it begins."""
    return Session(
        id=uuid7(),
        user_id=user_id,
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
        device_id=opening.device_id,
        actor_id=opening.actor_id,
        ip=client.ip,
        country=client.country,
        user_agent=client.user_agent,
        created_at=now,
        last_seen_at=now,
        idle_expires_at=now + IDLE,
        expires_at=now + FAMILIES[opening.family].absolute,
    )


def started(session: Session) -> Entry:
    """What the audit log is told of it."""
    return Entry(
        action="session.started",
        actor_id=session.actor_id or session.user_id,
        subject_id=session.user_id,
        session_id=session.id,
        data={"amr": session.amr, "family": session.family},
    )


async def start(db: AsyncSession, kit: Kit, user: Holder, opening: Opening, *, client: Client) -> Pair:
    """For a user who is locked: sign-ins take turns, so that each sees the sessions of the others."""
    now = kit.clock.now()
    session = opened(user.id, opening, client=client, now=now)
    db.add(session)
    await db.flush()
    await _end_longest_idle(db, kit, user.id, now=now)
    await audit.record(db, started(session), client, now=now)
    log.info("session_started", user_id=str(user.id), session_id=str(session.id))
    return kit.mint.pair(user, session, counter=0)


async def _end_longest_idle(db: AsyncSession, kit: Kit, user_id: UUID, *, now: datetime) -> None:
    """Leaves as many sessions as a user may have. The worker announces the ends: this transaction is not over yet."""
    running = select(Session).where(Session.user_id == user_id, Session.revoked_at.is_(None))
    # Staff who act as the user take nobody's place.
    running = running.where(Session.idle_expires_at > now, Session.expires_at > now, Session.actor_id.is_(None))
    newest = running.order_by(Session.last_seen_at.desc(), Session.id.desc())
    crowd = (await db.scalars(newest.offset(kit.sessions_per_user))).all()
    for session in crowd:
        await end_one(db, session.id, Ending("session_limit"), now=now)
        user = await db.get_one(User, user_id, options=[selectinload(User.identifiers)])
        shown = user_agents.described(session.user_agent)
        await messages.mail(db, kit, user, "session_limit", variables={"device": shown.sentence})


async def end(kit: Kit, session_id: UUID, user_id: UUID, ending: Ending) -> None:
    """Raises NotFound unless it is a running session of this user."""
    async with kit.database.transaction() as db:
        if not await end_one(db, session_id, ending, user_id=user_id, now=kit.clock.now()):
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
    return [session_id for session_id in found if await end_one(db, session_id, ending, user_id=user_id, now=now)]


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
        ended = [sid for sid in sorted(ending) if await end_one(db, sid, why, user_id=user_id, now=now)]
    await announce(kit, ended)


async def sign_out_with(kit: Kit, session_id: UUID, user_id: UUID, *, refresh_token: str, client: Client) -> None:
    """Ends this session and that of the refresh token. Raises InvalidRefreshToken for one that is not this user's, and
    TokenRevoked when its session has ended before."""
    presented = kit.mint.refresh.read(refresh_token)
    async with kit.database.transaction() as db:
        session = await genuine(db, kit, presented)
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
        session = await genuine(db, kit, presented)
        ended = session is not None and await end_one(db, session.id, Ending("sign_out", client), now=kit.clock.now())
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


async def end_one(
    db: AsyncSession, session_id: UUID, why: Ending, *, now: datetime, user_id: UUID | None = None
) -> bool:
    """Whether the session was running until now."""
    values = {"session": session_id, "user": user_id, "now": now, "epoch_ms": revocations.ms(now), "reason": why.reason}
    owner = await db.scalar(_END, values)
    if owner is None:
        return False
    entry = Entry(action="session.ended", reason=why.reason, actor_id=user_id, subject_id=owner, session_id=session_id)
    await audit.record(db, entry, why.client, now=now)
    log.info("session_ended", session_id=str(session_id), reason=why.reason)
    return True


async def hold(db: AsyncSession, user_id: UUID, session_id: UUID, *, others: bool = False) -> None:
    """For what must not be done by a session that was signed out: whoever ends it now waits for this transaction. Needs
    the lock of the user. Raises TokenRevoked when it has ended.

    With `others` all sessions of the user, for whoever is about to end them: in the order in which all do.
    """
    running = select(Session.id).where(Session.user_id == user_id, Session.revoked_at.is_(None))
    if not others:
        running = running.where(Session.id == session_id)
    held = await db.scalars(running.order_by(Session.id).with_for_update(key_share=True))
    if session_id not in held.all():
        raise TokenRevoked


async def genuine(db: AsyncSession, kit: Kit, presented: Presented) -> Session | None:
    session: Session | None = await db.get(Session, presented.session_id)
    return session if session is not None and kit.mint.refresh.accepts(presented, session.salt) else None
