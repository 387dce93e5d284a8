"""The statement of a refresh, for one token and for many.

Refreshes that come while the statement runs wait for its end, and are all in the next one, which commits itself: at any
load a process asks the database for one thing at a time, and a refresh costs a share of that. What the statement leaves
out goes its own way (`domain.rotation`): tokens of before, sessions at their limit, and rows that somebody else holds,
for nobody waits here for a lock of others.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import holders
from auth_service.domain.clients import Client
from auth_service.domain.tokens import IDLE, STAYING, Holder, Presented, RefreshKeys
from auth_service.errors import InvalidRefreshToken
from auth_service.models import Session
from libs.clock import Clock
from libs.errors import Unavailable
from libs.lanes import Lanes

REFRESHES_A_MINUTE = 120
MINUTE = timedelta(minutes=1)
_MOST = 64
_STAYING = ", ".join(f"'{family}'" for family in STAYING)

log = structlog.get_logger()

# `window_*` count refreshes in spans of a minute that begin with the first refresh after the last span.
_SPAN = f"s.window_started_at > given.now - interval '{MINUTE.total_seconds()} seconds'"
_COUNTED = f"""
    window_count = CASE WHEN {_SPAN} THEN s.window_count + 1 ELSE 1 END,
    window_started_at = CASE WHEN {_SPAN} THEN s.window_started_at ELSE given.now END
"""
_USABLE = f"""
    u.id = s.user_id AND u.status = 'active'
    AND s.revoked_at IS NULL AND s.idle_expires_at > given.now AND s.expires_at > given.now
    AND (NOT {_SPAN} OR s.window_count < {REFRESHES_A_MINUTE})
"""
# As at the sign-in: an account may be bound to countries, and a place that no database knows is let in.
_FROM_HERE = "(u.allowed_countries IS NULL OR coalesce(given.country = ANY (u.allowed_countries), true))"
_TOLD = f"s.id, s.family, s.salt, s.counter, s.amr, s.aal, s.actor_id, s.cookie, {holders.COLUMNS}"
# Whoever changes what the holder may do locks the account for it. Sharing that lock, a refresh comes wholly before the
# change, with a token of an earlier time that the change outdates, or after it, with what holds now.
_HOLDER = """
    holder AS (SELECT * FROM users WHERE id = (SELECT user_id FROM sessions WHERE id = :id) FOR SHARE)
"""
_ROTATE = f"""
    UPDATE sessions AS s SET {_COUNTED}, counter = s.counter + CAST(s.family NOT IN ({_STAYING}) AS int),
        rotated_at = given.now, last_seen_at = given.now,
        idle_expires_at = least(s.expires_at, given.now + interval '{IDLE.total_seconds()} seconds'),
        ip = given.ip, country = given.country, user_agent = given.user_agent
    FROM given, holder AS u
    WHERE s.id = given.id AND s.counter = given.counter AND {_USABLE} AND {_FROM_HERE}
    RETURNING {_TOLD}
"""  # noqa: S608
_ONE = text(f"""
    WITH given AS (
        SELECT CAST(:id AS uuid) AS id, CAST(:counter AS bigint) AS counter, CAST(:ip AS text) AS ip,
            CAST(:country AS text) AS country, CAST(:user_agent AS text) AS user_agent, CAST(:now AS timestamptz) AS now
    ), {_HOLDER} {_ROTATE}
""")
_MANY = f"""
    WITH given AS MATERIALIZED (
        SELECT each.*, $7::timestamptz AS now
        FROM unnest($1::uuid[], $2::bytea[], $3::bigint[], $4::text[], $5::text[], $6::text[])
            AS each (id, salt, counter, ip, country, user_agent)
        JOIN sessions AS held USING (id, salt, counter)
        FOR NO KEY UPDATE OF held SKIP LOCKED
    ), holder AS MATERIALIZED (
        SELECT * FROM users WHERE id IN (SELECT user_id FROM sessions WHERE id = ANY($1::uuid[])) FOR SHARE SKIP LOCKED
    ) {_ROTATE}
"""  # noqa: S608
_COUNT = text(f"""
    WITH given AS (SELECT CAST(:country AS text) AS country, CAST(:now AS timestamptz) AS now), {_HOLDER}
    UPDATE sessions AS s SET {_COUNTED} FROM given, holder AS u
    WHERE s.id = :id AND s.salt = :salt AND {_USABLE} AND {_FROM_HERE}
    RETURNING {_TOLD}
""")  # noqa: S608
_SALTS = "SELECT id, salt FROM sessions WHERE id = ANY($1::uuid[])"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What the next pair is made of."""

    id: UUID
    family: str
    salt: bytes
    counter: int
    amr: list[str]
    aal: int
    actor_id: UUID | None
    cookie: bool
    holder: Holder
    issued: datetime
    """Before the statement began."""

    @classmethod
    def of(cls, row: Mapping[Any, Any], issued: datetime) -> Self:
        session = ("id", "family", "salt", "counter", "amr", "aal", "actor_id", "cookie")
        return cls(**{name: row[name] for name in session}, holder=holders.read(row), issued=issued)


async def rotate(db: AsyncSession, presented: Presented, client: Client, *, now: datetime) -> Refreshed | None:
    """Moves the counter of one session, waiting for whoever holds it. The MAC is for the caller to check."""
    values = {"id": presented.session_id, "counter": presented.counter, "now": now}
    told = {"ip": client.ip, "country": client.country, "user_agent": client.user_agent}
    row = (await db.execute(_ONE, {**values, **told})).mappings().one_or_none()
    return Refreshed.of(row, now) if row is not None else None


async def count(db: AsyncSession, session: Session, client: Client, *, now: datetime) -> Refreshed | None:
    """Counts a refresh that moves nothing."""
    # With the salt that the token was checked with: its owner may have confirmed who they are since, which voids it.
    values = {"id": session.id, "salt": session.salt, "country": client.country, "now": now}
    row = (await db.execute(_COUNT, values)).mappings().one_or_none()
    return Refreshed.of(row, now) if row is not None else None


@dataclass(frozen=True, slots=True)
class _Waiting:
    presented: Presented
    client: Client
    outcome: asyncio.Future[Refreshed | InvalidRefreshToken | None]


class Rotator:
    """The refreshes of this process, together."""

    def __init__(self, lanes: Lanes, keys: RefreshKeys, clock: Clock) -> None:
        self._lanes = lanes
        self._keys = keys
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._running: asyncio.Task[None] | None = None

    async def rotate(self, presented: Presented, client: Client) -> Refreshed | None:
        """The session with its counter moved; None when that needs a closer look. Raises InvalidRefreshToken."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(presented, client, loop.create_future())
        self._waiting.append(waiting)
        if self._running is None:
            # It begins in the next turn of the loop: what arrives in this one comes along.
            self._running = loop.create_task(self._run())
        outcome = await waiting.outcome
        if isinstance(outcome, InvalidRefreshToken):
            raise outcome
        return outcome

    async def close(self) -> None:
        if self._running is not None:
            await self._running

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._settle(batch)
        finally:
            self._running = None

    async def _settle(self, batch: Sequence[_Waiting]) -> None:
        try:
            salts = await self._salts(batch)
            genuine = self._genuine(batch, salts)
            rows = await self._rotate(genuine, salts) if genuine else {}
            for session_id, each in genuine.items():
                _answer(each, rows.get(session_id))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, Unavailable) as error:
            log.warning("refreshes_not_together", reason=type(error).__name__, count=len(batch))
        finally:
            # Each that has no answer yet asks for itself, and is told why when it cannot be had.
            for each in batch:
                _answer(each, None)

    async def _salts(self, batch: Sequence[_Waiting]) -> dict[UUID, bytes]:
        """First, so that a forged token moves nothing."""
        rows = await self._lanes.fetch(_SALTS, [each.presented.session_id for each in batch])
        return {row["id"]: row["salt"] for row in rows}

    def _genuine(self, batch: Sequence[_Waiting], salts: Mapping[UUID, bytes]) -> dict[UUID, _Waiting]:
        """One of each session; whatever is forged has its answer here."""
        genuine: dict[UUID, _Waiting] = {}
        for each in batch:
            salt = salts.get(each.presented.session_id)
            if salt is not None and self._keys.accepts(each.presented, salt):
                genuine.setdefault(each.presented.session_id, each)
            else:
                _answer(each, InvalidRefreshToken())
        return genuine

    async def _rotate(self, genuine: Mapping[UUID, _Waiting], salts: Mapping[UUID, bytes]) -> dict[UUID, Refreshed]:
        batch = genuine.values()
        columns = (
            list(genuine),
            # Those that the tokens were checked with: an owner who confirms who they are gets another one.
            [salts[session_id] for session_id in genuine],
            [each.presented.counter for each in batch],
            [each.client.ip for each in batch],
            [each.client.country for each in batch],
            [each.client.user_agent for each in batch],
        )
        now = self._clock.now()
        rows = await self._lanes.fetch(_MANY, *columns, now)
        return {row["id"]: Refreshed.of(row, now) for row in rows}


def _answer(waiting: _Waiting, outcome: Refreshed | InvalidRefreshToken | None) -> None:
    if not waiting.outcome.done():
        waiting.outcome.set_result(outcome)
