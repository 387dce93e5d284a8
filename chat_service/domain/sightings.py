"""Who is here: that somebody came, went away for longer than a reconnect takes, or looks elsewhere.

Processes note in Redis whom to look at, and when: on coming at once, on leaving after a while. The worker looks, keeps
what it saw, and tells the processes whose sockets watch, in one message for all that changed. Auth is told as well, at
most once a minute and user: of coming and going within it only the end. Who is invisible is never seen: neither here,
nor by anybody who is told.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prometheus_client import Counter
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import presence, watching
from libs import outbox
from libs.clock import Clock
from libs.contracts.people import PresenceChanged
from libs.db import Database

CHANGES = Counter("parley_chat_presence_changes_total", "Times that somebody was seen to come, go or look elsewhere.")
_BATCH = 500
_BETWEEN = timedelta(minutes=1)

# What was noted anew since it was read stays.
_DONE = """
for i = 1, #ARGV, 2 do
    local due = redis.call('ZSCORE', KEYS[1], ARGV[i])
    if due and tonumber(due) == tonumber(ARGV[i + 1]) then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
"""
_SEE = text(
    """
    WITH seen AS (
        INSERT INTO sighting AS s (user_id, online, idle, last_seen_at, due_at)
        SELECT i.user_id, i.online AND v.user_id IS NULL, i.idle AND v.user_id IS NULL, coalesce(v.since, i.at), :now
        FROM unnest(CAST(:users AS uuid[]), CAST(:online AS boolean[]), CAST(:idle AS boolean[]),
            CAST(:at AS timestamptz[])) AS i(user_id, online, idle, at)
        LEFT JOIN invisible AS v ON v.user_id = i.user_id
        WHERE NOT EXISTS (SELECT 1 FROM profile WHERE user_id = i.user_id AND erased)
        ORDER BY i.user_id
        ON CONFLICT (user_id) DO UPDATE SET online = excluded.online, idle = excluded.idle,
            last_seen_at = greatest(s.last_seen_at, excluded.last_seen_at),
            due_at = CASE WHEN s.online AND excluded.online THEN s.due_at
                ELSE coalesce(s.due_at, greatest(excluded.due_at, s.told_at + :between)) END
        WHERE (s.online, s.idle) <> (excluded.online, excluded.idle)
            OR (NOT excluded.online AND excluded.last_seen_at > s.last_seen_at)
        RETURNING new.user_id, new.online, new.idle, new.last_seen_at, old.user_id IS NULL AS first
    )
    SELECT user_id, online, idle, last_seen_at FROM seen WHERE online OR NOT first
    """
)
_TELL = text(
    """
    WITH due AS (
        SELECT user_id, told_online FROM sighting WHERE due_at <= :now ORDER BY due_at LIMIT :batch
        FOR UPDATE SKIP LOCKED
    )
    UPDATE sighting AS s SET told_online = s.online, told_at = :now, due_at = NULL
    FROM due WHERE s.user_id = due.user_id
    RETURNING s.user_id, s.online, s.last_seen_at, s.online AND coalesce(due.told_online, false) AS known
    """
)
_DOUBTED = text("DELETE FROM doubt WHERE user_id IN (SELECT user_id FROM doubt LIMIT :batch) RETURNING user_id")
_ONLINE = text("SELECT user_id FROM sighting WHERE online AND user_id > :after ORDER BY user_id LIMIT :batch")


class Sightings:
    def __init__(self, db: Database, redis: Redis, clock: Clock) -> None:
        self._db = db
        self._redis = redis
        self._clock = clock

    async def step(self) -> None:
        """One turn of the worker. Raises RedisError: the next turn finds everything as it was."""
        lost = await presence.lost_nodes(self._redis)
        if lost:
            await self.doubt_all()
            await presence.forget_nodes(self._redis, lost)
        while await self._look() == _BATCH:
            pass
        while await self._tell() == _BATCH:
            pass
        while await self._doubt() == _BATCH:
            pass

    async def doubt_all(self) -> None:
        """Has a second look at everybody who is believed to be here: of a process that died nobody notes anything."""
        after = UUID(int=0)
        while True:
            async with self._db.transaction() as db:
                found = (await db.scalars(_ONLINE, {"after": after, "batch": _BATCH})).all()
            if not found:
                return
            after = found[-1]
            due = presence.due_after_leaving(self._clock)
            await self._redis.zadd(presence.TO_SEE, {str(user_id): due for user_id in found}, nx=True)

    async def _look(self) -> int:
        now = self._clock.now()
        noted: Any = await self._redis.zrange(
            presence.TO_SEE, 0, self._clock.ms(), byscore=True, offset=0, num=_BATCH, withscores=True
        )
        if not noted:
            return 0
        users = [UUID(user.decode()) for user, _ in noted]
        found = await presence.states(self._redis, users)
        states = [found[user] for user in users]
        seen = {
            "users": users,
            "online": [state != presence.OFFLINE for state in states],
            "idle": [state == presence.AWAY for state in states],
            "at": [presence.moment(s, left=o == presence.OFFLINE) for (_, s), o in zip(noted, states, strict=True)],
        }
        async with self._db.transaction() as db:
            changed = (await db.execute(_SEE, {**seen, "now": now, "between": _BETWEEN})).mappings().all()
        if changed:
            CHANGES.inc(len(changed))
            await self._redis.publish(watching.CHANNEL, watching.changes(changed))
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.eval(_DONE, 1, presence.TO_SEE, *(word for user, score in noted for word in (user, int(score))))
            await pipe.execute()
        return len(noted)

    async def _tell(self) -> int:
        async with self._db.transaction() as db:
            rows: Sequence[Any] = (await db.execute(_TELL, {"now": self._clock.now(), "batch": _BATCH})).all()
            news = [
                PresenceChanged(user_id=row.user_id, online=row.online, last_seen_at=row.last_seen_at)
                for row in rows
                if not row.known
            ]
            await outbox.add_all(db, news, self._clock.now())
        return len(rows)

    async def _doubt(self) -> int:
        async with self._db.transaction() as db:
            users = (await db.scalars(_DOUBTED, {"batch": _BATCH})).all()
            if users:
                # Before the commit: told twice is harmless, never is not.
                await self._redis.publish(watching.CHANNEL, watching.doubts(users))
        return len(users)


async def doubt(db: AsyncSession, *user_ids: UUID) -> None:
    """Who watches these users looks again, after the commit and within a second or two: others may see more of them
    now, or less. To be called with every change of contacts, blocks, privacy and invisibility."""
    await db.execute(
        text("INSERT INTO doubt (user_id) SELECT unnest(CAST(:users AS uuid[])) ON CONFLICT DO NOTHING"),
        {"users": sorted(set(user_ids))},
    )


async def forget(db: AsyncSession, user_id: UUID) -> None:
    for table in ("sighting", "invisible"):
        await db.execute(text(f"DELETE FROM {table} WHERE user_id = :user"), {"user": user_id})  # noqa: S608
    await doubt(db, user_id)
