"""How many people an account may write to first in a sliding day, where its provider counts people and not messages.

What counts is shared by all accounts of a pool. A message that counts has a row, written in the transaction that says
it is about to leave, with the pool locked: no crash forgets one, and however many workers send, together they are never
over. What the provider did not take loses its row again. A person counts as long as a row of theirs does; how many they
are is kept in the pool, so that no message has to count them all.
"""

import bisect
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain.channels import Capability
from notify_service.domain.quotas import Room, Standing
from notify_service.models import Account

REASON = "recipient_quota"
"""Of a message that waits until there is room."""
UNIT = "recipient"
# A message arrives there later than it left here: it may still count there when it does not here any more.
_MARGIN = timedelta(minutes=1)
# What waits is looked at again after so long: it may have expired, or there may be room sooner than was thought.
_LONGEST_SECONDS = 3600.0
_KEPT = timedelta(days=2)
_OPEN = text("INSERT INTO quota_pool (name) VALUES (:pool) ON CONFLICT (name) DO NOTHING")
_LOCK = text("SELECT FROM quota_pool WHERE name = :pool FOR UPDATE")
_ALL = text("SELECT name FROM quota_pool ORDER BY name")


def _without(which: str) -> TextClause:
    """Takes rows away, and those people who have none left."""
    return text(
        f"""
        WITH gone AS (DELETE FROM quota_recipient WHERE pool = :pool AND {which} RETURNING delivery_id, fence, person)
        UPDATE quota_pool SET used = used - (
            SELECT count(DISTINCT person) FROM gone WHERE NOT EXISTS (
                SELECT FROM quota_recipient AS r WHERE r.pool = :pool AND r.person = gone.person
                    AND (r.delivery_id, r.fence) NOT IN (SELECT delivery_id, fence FROM gone)))
        WHERE name = :pool RETURNING used
        """  # noqa: S608  -- constants
    )


_EXPIRE = _without("at <= now() - CAST(:length AS interval)")
_GIVE_BACK = _without(
    "(delivery_id, fence) IN (SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:fences AS int[])) AS refused)"
)
_KNOWN = text(
    """
    SELECT DISTINCT person FROM quota_recipient
    WHERE pool = :pool AND person = ANY(CAST(:people AS bytea[])) AND at > now() - CAST(:length AS interval)
    """
)
_NOTE = text(
    """
    WITH leaving AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:fences AS int[]), CAST(:people AS bytea[]))
            AS given(delivery_id, fence, person)
    ),
    noted AS (
        INSERT INTO quota_recipient (delivery_id, fence, pool, person, at)
        SELECT delivery_id, fence, :pool, person, clock_timestamp() FROM leaving
    )
    UPDATE quota_pool SET used = used + (
        SELECT count(DISTINCT person) FROM leaving WHERE NOT EXISTS (
            SELECT FROM quota_recipient AS r WHERE r.pool = :pool AND r.person = leaving.person))
    WHERE name = :pool
    """
)
_USED = text(
    """
    SELECT used - (
        SELECT count(DISTINCT old.person) FROM quota_recipient AS old
        WHERE old.pool = quota_pool.name AND old.at <= now() - CAST(:length AS interval) AND NOT EXISTS (
            SELECT FROM quota_recipient AS new WHERE new.pool = old.pool AND new.person = old.person
                AND new.at > now() - CAST(:length AS interval))) AS used
    FROM quota_pool WHERE name = :pool
    """
)
_LAST = text(
    """
    SELECT date_trunc('minute', last) AS minute, count(*) AS people FROM (
        SELECT max(at) AS last FROM quota_recipient WHERE pool = :pool AND at > now() - CAST(:length AS interval)
        GROUP BY person) AS counted
    GROUP BY minute ORDER BY minute
    """
)
_RELEASE = text(
    """
    UPDATE delivery SET next_at = now(), reason = NULL
    WHERE account = ANY(:accounts) AND state IN ('queued', 'retry') AND reason = :reason
    """
)

Key = tuple[UUID, int]
"""Id and fence of a claimed delivery."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Whose limit it is."""

    name: str
    limit: int
    hours: int

    @property
    def length(self) -> timedelta:
        """How long a message counts."""
        return timedelta(hours=self.hours) + _MARGIN


def pool_of(account: Account, capability: Capability) -> Pool | None:
    """None: nobody counts the people that it writes to."""
    quota = capability.quota
    if quota is None or quota.unit != UNIT:
        return None
    # A name that somebody has chosen can be that of an account too.
    name = f"{account.provider}/{quota.pool}" if quota.pool else f"{account.provider}//{account.name}"
    return Pool(name, quota.limit, quota.hours)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that counts, as long as nobody has been written to by it."""

    id: UUID
    lane: int
    address: str


class RecipientQuota:
    """An account's share of its pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # By lane: when those will have room that wait for it, as far as this sender has told them.
        self._told: dict[int, list[float]] = defaultdict(list)

    async def load(self, db: AsyncSession) -> None:
        """Before anything else."""
        await db.execute(_OPEN, {"pool": self._pool.name})

    async def late(self, db: AsyncSession, given: Sequence[Waiting], now: datetime) -> dict[UUID, float]:
        """Those for which there is no room, with the seconds after which to look again. Who comes first goes first;
        nothing is taken yet."""
        if not given:
            return {}
        fresh = await _strangers(db, self._pool, [each.address for each in given])
        over = set(fresh[max(0, self._pool.limit - await _used(db, self._pool)) :])
        if not over:
            return {}
        left = await room(db, self._pool)
        return {each.id: self._wait(left, each.lane, now) for each in given if each.address in over}

    async def admit(self, db: AsyncSession, wanted: Mapping[Key, str], refused: Collection[Key]) -> set[Key]:
        """Gives back what the provider did not take, and says which of those wanted, with their addresses, may leave.
        The pool is ours alone until the transaction ends; `note` must follow in it."""
        values = {"pool": self._pool.name}
        await db.execute(_LOCK, values)
        used = (await db.execute(_EXPIRE, {**values, "length": self._pool.length})).scalar_one()
        if refused:
            used = (await db.execute(_GIVE_BACK, {**values, **_columns(refused)})).scalar_one()
        fresh = await _strangers(db, self._pool, list(wanted.values()))
        over = set(fresh[max(0, self._pool.limit - used) :])
        return {key for key, address in wanted.items() if address not in over}

    async def note(self, db: AsyncSession, leaving: Mapping[Key, str]) -> None:
        """These leave, of those that were admitted."""
        if not leaving:
            return
        people = [_hash(address) for address in leaving.values()]
        await db.execute(_NOTE, {"pool": self._pool.name, "people": people, **_columns(leaving)})

    def _wait(self, left: Room, lane: int, now: datetime) -> float:
        """Behind those of its lane, and of the lanes that go before, who wait already."""
        clock, before = time.monotonic(), 0
        for each, times in self._told.items():
            del times[: bisect.bisect(times, clock)]
            before += len(times) if each <= lane else 0
        seconds = min(max(1.0, left.wait(before + 1, now) or 0.0), _LONGEST_SECONDS)
        bisect.insort(self._told[lane], clock + seconds)
        return seconds


async def standing(db: AsyncSession, pool: Pool) -> Standing:
    used = await _used(db, pool)
    uses = (await room(db, pool)).uses if used >= pool.limit else ()
    return Standing(pool.limit, used, uses[0][0] + timedelta(minutes=1) + pool.length if uses else None)


async def room(db: AsyncSession, pool: Pool) -> Room:
    """When others may be written to, by those who were written to last."""
    rows = await db.execute(_LAST, {"pool": pool.name, "length": pool.length})
    return Room(pool.limit, pool.length, [(row.minute, row.people) for row in rows])


async def strangers(db: AsyncSession, pool: Pool, addresses: Sequence[str]) -> int:
    """How many of these would count anew."""
    return len(await _strangers(db, pool, addresses))


async def release(db: AsyncSession, accounts: Collection[str]) -> None:
    """What has waited for room is looked at again: the limit is another."""
    await db.execute(_RELEASE, {"accounts": list(accounts), "reason": REASON})


async def forget(db: AsyncSession) -> None:
    for name in (await db.scalars(_ALL)).all():
        await db.execute(_LOCK, {"pool": name})
        await db.execute(_EXPIRE, {"pool": name, "length": _KEPT})


async def _used(db: AsyncSession, pool: Pool) -> int:
    return await db.scalar(_USED, {"pool": pool.name, "length": pool.length}) or 0


async def _strangers(db: AsyncSession, pool: Pool, addresses: Iterable[str]) -> list[str]:
    """Those who do not count already, each once, in their order."""
    hashes = {address: _hash(address) for address in addresses}
    values = {"pool": pool.name, "people": list(hashes.values()), "length": pool.length}
    known = set(await db.scalars(_KNOWN, values))
    return [address for address, person in hashes.items() if person not in known]


def _hash(address: str) -> bytes:
    return blake2b(address.encode(), digest_size=16).digest()


def _columns(keys: Collection[Key]) -> dict[str, list[UUID] | list[int]]:
    return {"ids": [delivery for delivery, _ in keys], "fences": [fence for _, fence in keys]}
