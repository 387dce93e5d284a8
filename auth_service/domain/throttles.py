"""Failed sign-ins are slowed down: by account, by account and network, and by network.

After a few free tries each failure doubles the wait, from a second to five minutes; a hundred in a row close an account
to passwords from devices that it does not know. Counted in PostgreSQL, in one statement: of fifty failures at once none
is lost. A name that nobody has is counted like an account, so that being slowed tells nothing. Who shows the token of a
device that the account knows is not slowed by the failures of others; its own are few before it counts as a stranger.

Codes, authenticator apps and passkeys have counters of their own: guessing passwords uses up none of their tries.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain.clients import Client

MOST_IN_A_ROW = 100
DEVICE_TRIES = 10
SLOWEST_SECONDS = 300
_NEVER = 1 << 30
# Failures of one network are counted afresh in each quarter of an hour: many people may share it.
_BUCKET_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Counter:
    """One of the rows that a failure counts in."""

    key: str
    free: int
    memory: timedelta
    most: int = _NEVER


FREE_PER_ACCOUNT = 10
FREE_PER_PLACE = 5
FREE_PER_NETWORK = 50
LONGEST_MEMORY = timedelta(days=30)
_DAY = timedelta(days=1)


def subject(user_id: UUID | None, name_digest: str = "") -> str:
    """Who is being guessed at: an account, or a name that nobody has."""
    return str(user_id) if user_id else f"~{name_digest}"


def account(of: str) -> Counter:
    return Counter(f"password:{of}", FREE_PER_ACCOUNT, LONGEST_MEMORY, MOST_IN_A_ROW)


def place(of: str, client: Client) -> Counter:
    return Counter(f"password:{of}@{client.network}", FREE_PER_PLACE, _DAY)


def network(client: Client, now: datetime) -> Counter:
    bucket = int(now.timestamp()) // _BUCKET_SECONDS
    return Counter(f"password:@{client.network}/{bucket}", FREE_PER_NETWORK, _DAY)


def device(device_id: UUID) -> Counter:
    return Counter(f"device:{device_id}", _NEVER, LONGEST_MEMORY)


_FAIL = text(
    """
    WITH failed AS (
        SELECT key, free, memory, most FROM unnest(
            CAST(:keys AS text[]), CAST(:free AS int[]), CAST(:memory AS interval[]), CAST(:most AS int[])
        ) AS f (key, free, memory, most)
    )
    INSERT INTO throttles AS t (key, failures, last_at, until)
    -- In one order, so that two failures never wait for each other in a circle.
    SELECT key, 1, :now, :now FROM failed ORDER BY key
    ON CONFLICT (key) DO UPDATE SET
        failures = CASE WHEN t.last_at < :now - (SELECT memory FROM failed AS f WHERE f.key = t.key) THEN 1
            ELSE t.failures + 1 END,
        last_at = :now,
        until = :now + (
            SELECT CASE
                WHEN t.last_at < :now - f.memory THEN interval '0'
                WHEN t.failures + 1 >= f.most THEN f.memory
                WHEN t.failures + 1 < f.free THEN interval '0'
                ELSE least(CAST(:slowest AS float8), power(2, least(t.failures + 1 - f.free, 30))) * interval '1 second'
            END FROM failed AS f WHERE f.key = t.key
        )
    RETURNING t.key, t.failures
    """
)
_FORGET = text("DELETE FROM throttles WHERE key = ANY(:keys)")


async def fail(db: AsyncSession, counters: Sequence[Counter], *, now: datetime) -> dict[str, int]:
    """Counts one failure in each, and says how many there are now."""
    values: dict[str, Any] = {
        "keys": [c.key for c in counters],
        "free": [c.free for c in counters],
        "memory": [c.memory for c in counters],
        "most": [c.most for c in counters],
        "slowest": SLOWEST_SECONDS,
        "now": now,
    }
    return {row.key: row.failures for row in await db.execute(_FAIL, values)}


async def forget(db: AsyncSession, counters: Sequence[Counter]) -> None:
    await db.execute(_FORGET, {"keys": [counter.key for counter in counters]})


def seconds_until(moment: datetime | None, now: datetime) -> int:
    """How long to wait; 0: not at all."""
    return max(0, math.ceil((moment - now).total_seconds())) if moment else 0
