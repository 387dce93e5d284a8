"""What auth is told of who is here: that somebody came, or went away for longer than a reconnect takes.

Processes note in Redis whom to look at, and when: on coming at once, on leaving after a while. The worker looks, keeps
what it saw, and tells each change once, at most once a minute and user: of coming and going within it only the end.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import presence
from libs import outbox
from libs.clock import Clock
from libs.contracts.people import PresenceChanged
from libs.db import Database

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
    INSERT INTO sighting AS s (user_id, online, last_seen_at, due_at)
    SELECT i.user_id, i.online, i.at, :now
    FROM unnest(CAST(:users AS uuid[]), CAST(:online AS boolean[]), CAST(:at AS timestamptz[]))
        AS i(user_id, online, at)
    WHERE NOT EXISTS (SELECT 1 FROM profile WHERE user_id = i.user_id AND erased)
    ORDER BY i.user_id
    ON CONFLICT (user_id) DO UPDATE SET online = excluded.online,
        last_seen_at = greatest(s.last_seen_at, excluded.last_seen_at),
        due_at = coalesce(s.due_at, greatest(excluded.due_at, s.told_at + :between))
    WHERE s.online <> excluded.online OR (NOT excluded.online AND excluded.last_seen_at > s.last_seen_at)
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
        gone = await presence.away(self._redis, users)
        moments = [presence.moment(score, left=user in gone) for user, (_, score) in zip(users, noted, strict=True)]
        seen = {"users": users, "online": [user not in gone for user in users], "at": moments}
        async with self._db.transaction() as db:
            await db.execute(_SEE, {**seen, "now": now, "between": _BETWEEN})
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


async def forget(db: AsyncSession, user_id: UUID) -> None:
    await db.execute(text("DELETE FROM sighting WHERE user_id = :user"), {"user": user_id})
