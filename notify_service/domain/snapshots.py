"""The members of an audience, as a campaign's deliveries would have them and as it takes them.

What is looked at beforehand and what is taken come of one query, so that a check tells the truth.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from libs.ids import uuid7
from notify_service.domain import devices, preferences
from notify_service.domain.happenings import told_of
from notify_service.domain.orders import NO_ADDRESS
from notify_service.domain.turns import BULK
from notify_service.domain.wording import Wording

MISSING = "missing_variables"
# So many rows a statement: each must end within the time that all statements have.
_CHUNK = 20_000
# So many are looked at one by one before others have their turn.
_FEW = 1000
_ALL = 2_147_483_647


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a campaign does with its audience. `names`: the variables that its content needs."""

    audience_id: UUID
    channel: str
    account: str | None
    """Over which users' devices are reached; None: any of the channel."""
    category: str
    names: Sequence[str]
    defaults: dict[str, Any]
    wording: Wording

    @property
    def required(self) -> list[str]:
        return [name for name in self.names if name not in self.defaults]

    @property
    def values(self) -> dict[str, Any]:
        return {
            "audience": self.audience_id,
            "channel": self.channel,
            "only": self.account,
            "on_devices": self.channel in devices.CHANNELS,
            "category": self.category,
            "critical": self.category in preferences.CRITICAL,
            "names": list(self.names),
            "defaults": self.defaults,
        }


@dataclass(frozen=True, slots=True)
class Into:
    """Where a snapshot goes."""

    batch_id: UUID
    owner: str
    account: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Census:
    """How many there are, and why some of them get nothing; each counts once, under the first that holds."""

    total: int
    suppressed: int
    no_address: int
    switched_off: int
    lacking: int

    @property
    def valid(self) -> int:
        return self.total - self.suppressed - self.no_address - self.switched_off - self.lacking


def _statement(after: str, which: str = "position > :after ORDER BY position LIMIT :most") -> TextClause:
    """`after` a CTE `member`. Of all variables only those that are needed are kept; an empty one is a missing one.
    Users are reached on the device that was registered last: a campaign counts people."""
    return text(
        f"""
        WITH member AS MATERIALIZED (
            SELECT m.position, reached.address, device.account, m.user_id, filled.variables, filled.lacking,
                reached.address = '' AS unreachable,
                NOT :critical AND EXISTS (
                    SELECT FROM suppression AS s WHERE s.channel = :channel AND s.address = reached.address
                        AND s.category IN ('*', :category) AND (s.until IS NULL OR s.until > now())) AS suppressed
            FROM audience_member AS m LEFT JOIN LATERAL (
                SELECT d.address, d.account FROM device AS d JOIN account AS a ON a.name = d.account AND a.enabled
                WHERE :on_devices AND d.user_id = m.user_id AND d.channel = :channel
                    AND (CAST(:only AS text) IS NULL OR d.account = :only)
                ORDER BY d.seen_at DESC, d.id DESC LIMIT 1
            ) AS device ON true CROSS JOIN LATERAL (
                SELECT CASE WHEN :on_devices AND m.user_id IS NOT NULL THEN coalesce(device.address, '')
                    ELSE m.address END AS address
            ) AS reached CROSS JOIN LATERAL (
                SELECT coalesce(jsonb_object_agg(name, value) FILTER (WHERE value IS NOT NULL), '{{}}') AS variables,
                    coalesce(bool_or(value IS NULL), false) AS lacking
                FROM (
                    SELECT name, coalesce(nullif(m.variables ->> name, ''), :defaults ->> name) AS value
                    FROM unnest(CAST(:names AS text[])) AS name) AS each
            ) AS filled
            WHERE m.audience_id = :audience AND {which}
        )
        {after}
        """  # noqa: S608  -- constants
    ).bindparams(bindparam("defaults", type_=JSONB))


_OFF = """
    NOT :critical AND EXISTS (
        SELECT FROM preference AS p WHERE p.user_id = member.user_id AND p.channel = :channel
            AND p.category IN ('*', :category) AND NOT p.enabled)
"""
_CENSUS = _statement(
    f"""
    SELECT count(*) AS total, count(*) FILTER (WHERE suppressed) AS suppressed,
        count(*) FILTER (WHERE unreachable AND NOT suppressed) AS no_address,
        count(*) FILTER (WHERE off AND NOT unreachable AND NOT suppressed) AS switched_off,
        count(*) FILTER (WHERE lacking AND NOT off AND NOT unreachable AND NOT suppressed) AS lacking
    FROM (SELECT suppressed, unreachable, lacking, {_OFF} AS off FROM member) AS looked_at
    """  # noqa: S608  -- constants
)
_ADDRESSES = _statement(
    f"""
    SELECT address FROM member WHERE NOT suppressed AND NOT unreachable AND NOT lacking AND NOT ({_OFF})
    """  # noqa: S608  -- constants
)
_MEMBERS = _statement(
    f"""
    SELECT position, address, variables,
        NOT suppressed AND NOT unreachable AND NOT lacking AND NOT ({_OFF}) AS gets_it
    FROM member ORDER BY position
    """  # noqa: S608  -- constants
)
# With the columns that a claimed row has: they go the way that claimed rows go.
_ROWS = _statement(
    """
    SELECT position, lacking, unreachable, suppressed, gen_random_uuid() AS id, 0 AS fence, 2 AS lane, '' AS queue,
        user_id, CAST(:channel AS text) AS channel, address, CAST(:category AS text) AS category,
        CAST(NULL AS text) AS template, CAST(NULL AS uuid) AS batch_id, 0 AS step, variables,
        CAST(NULL AS text) AS secret, language, timezone
    FROM member LEFT JOIN profile USING (user_id) ORDER BY position
    """,
    "position = ANY(:positions)",
)
# Ids like those of `libs.ids`: a time that grows with the position, so that who is first in the audience leaves first,
# and what nobody can guess. A fresh random number for each row would be a call into the kernel for each.
_TAKE = _statement(
    f"""
    , taken AS (
        INSERT INTO delivery (id, owner, queue, batch_id, user_id, channel, account, address, category, lane, variables,
            at_least_once, expires_at, state, reason, next_at, created_at, updated_at)
        SELECT
            CAST(substr(at, 1, 12) || '7' || substr(at, 13) || '8'
                || substr(encode(sha256(:salt || int4send(position)), 'hex'), 1, 15) AS uuid),
            :owner, :queue, CAST(:batch AS uuid), user_id, CAST(:channel AS text),
            coalesce(account, :account), address,
            CAST(:category AS text), CAST(:lane AS smallint), variables, false, CAST(:expires_at AS timestamptz),
            CASE WHEN suppressed OR unreachable THEN 'suppressed' WHEN lacking THEN 'failed' ELSE 'queued' END,
            CASE WHEN suppressed THEN 'suppressed' WHEN unreachable THEN :no_address WHEN lacking THEN :lacking END,
            CAST(:now AS timestamptz), CAST(:now AS timestamptz), CAST(:now AS timestamptz)
        FROM (SELECT *, lpad(to_hex(CAST(:stamp AS bigint) + position), 15, '0') AS at FROM member) AS stamped
        ORDER BY position
        RETURNING id, state, reason, error_code, template
    ),
    told AS ({told_of("taken")})
    SELECT count(*) AS total, count(*) FILTER (WHERE state = 'queued') AS queued,
        count(*) FILTER (WHERE state = 'suppressed') AS suppressed, count(*) FILTER (WHERE state = 'failed') AS failed,
        (SELECT max(position) FROM member) AS last
    FROM taken
    """  # noqa: S608  -- constants
)
_NAMES = text(
    """
    SELECT name, count(*) AS members FROM audience_member AS m, unnest(CAST(:required AS text[])) AS name
    WHERE m.audience_id = :audience AND coalesce(m.variables ->> name, '') = '' GROUP BY name
    """
)
_SPREAD = text(
    """
    SELECT position FROM audience_member WHERE audience_id = :audience
    ORDER BY hashtextextended(CAST(position AS text), 0) LIMIT :most
    """
)


async def missing(db: AsyncSession, plan: Plan) -> dict[str, int]:
    """The variables without a default that members lack, each with how many do."""
    if not plan.required:
        return {}
    rows = await db.execute(_NAMES, {"audience": plan.audience_id, "required": plan.required})
    return {row.name: row.members for row in rows}


async def census(db: AsyncSession, plan: Plan) -> Census:
    row = (await db.execute(_CENSUS, {**plan.values, "after": -1, "most": _ALL})).one()
    return Census(row.total, row.suppressed, row.no_address, row.switched_off, row.lacking)


async def addresses(db: AsyncSession, plan: Plan) -> Sequence[str]:
    """Of all who would get something."""
    return (await db.scalars(_ADDRESSES, {**plan.values, "after": -1, "most": _ALL})).all()


async def rows(db: AsyncSession, plan: Plan, positions: Sequence[int]) -> Sequence[Row[Any]]:
    """Members as the sender would get them, but for their values, which are not in words yet; with `position`,
    `lacking`, `unreachable`, `suppressed`, and the `language` and `timezone` of users."""
    return (await db.execute(_ROWS, {**plan.values, "positions": list(positions)})).all()


async def members(db: AsyncSession, plan: Plan) -> AsyncIterator[Sequence[Row[Any]]]:
    """All of them, some at a time: `position`, `address`, `variables` and whether somebody `gets_it`."""
    last = -1
    while True:
        found = (await db.execute(_MEMBERS, {**plan.values, "after": last, "most": _FEW})).all()
        yield found
        if len(found) < _FEW:
            return
        last = found[-1].position


async def spread(db: AsyncSession, audience_id: UUID, most: int) -> Sequence[int]:
    """Positions from all over the audience, the same every time."""
    return (await db.scalars(_SPREAD, {"audience": audience_id, "most": most})).all()


async def take(db: AsyncSession, plan: Plan, into: Into, now: datetime) -> dict[str, int]:
    """Makes a delivery of each member. Returns how many are in which state."""
    counts = {"queued": 0, "suppressed": 0, "failed": 0}
    # Milliseconds and a counter, as at the beginning of an id.
    stamp = uuid7().int >> 64
    first = stamp >> 16 << 12 | stamp & 0xFFF
    salt = secrets.token_bytes(16)
    last = -1
    while True:
        values = {
            **plan.values,
            "after": last,
            "most": _CHUNK,
            "owner": into.owner,
            "queue": f"{into.owner}/{into.batch_id}",
            "batch": into.batch_id,
            "account": into.account,
            "lane": BULK,
            "expires_at": into.expires_at,
            "lacking": MISSING,
            "no_address": NO_ADDRESS,
            "now": now,
            "stamp": first,
            "salt": salt,
        }
        row = (await db.execute(_TAKE, values)).one()
        counts = {state: count + getattr(row, state) for state, count in counts.items()}
        if row.total < _CHUNK:
            return {state: count for state, count in counts.items() if count}
        last = row.last
