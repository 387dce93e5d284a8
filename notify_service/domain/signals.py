"""What other processes should hear at once: new notifications for open sockets, new rows for the sender.

All of it after the commit, and all of it may be lost: the inbox and the queue are in PostgreSQL, and who hears nothing
finds them there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import Unavailable
from libs.lanes import Lanes

WAKE_CHANNEL = "wake:deliveries"
SOMEWHERE = ""
"""What is said on it where no account is named."""
_MOST_WAITING = 10_000
_BATCH = 100

# One after the other, in the order of the list.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(each, 5071883)) FROM unnest($1::text[]) AS each"
_UNREAD = """
SELECT user_id, count(*) AS unread FROM notification
WHERE user_id = ANY($1::uuid[]) AND read_at IS NULL AND archived_at IS NULL AND snoozed_until IS NULL
GROUP BY user_id
"""
log = structlog.get_logger()


def live_channel(user_id: UUID) -> str:
    """The braces keep a user's channels on one node of a cluster."""
    return f"{{u}}.n:{user_id}"


@dataclass(slots=True)
class _Pending:
    live: list[tuple[UUID, str | None]] = field(default_factory=list)
    wake: set[str] = field(default_factory=set)


class Signals:
    def __init__(self, lanes: Lanes, redis: Redis) -> None:
        self._lanes = lanes
        self._redis = redis
        self._queue: asyncio.Queue[tuple[UUID, str | None] | str] = asyncio.Queue(_MOST_WAITING)

    def live(self, session: AsyncSession, user_id: UUID, notification: str | None = None) -> None:
        """Shows the notification (JSON), if any, and the unread count on the user's open sockets."""
        self._pending(session).live.append((user_id, notification))

    def show(self, user_id: UUID, notification: str) -> None:
        """The same of what is committed already."""
        self._send(_Pending(live=[(user_id, notification)]))

    def wake(self, session: AsyncSession, *accounts: str) -> None:
        """Tells the senders of these accounts that there are deliveries; without any, that there are some somewhere,
        which takes a look more."""
        self._pending(session).wake.update(accounts or {SOMEWHERE})

    async def run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                for account in {entry for entry in batch if isinstance(entry, str)}:
                    await self._redis.publish(WAKE_CHANNEL, account)
                await self._show([entry for entry in batch if not isinstance(entry, str)])
            except (RedisError, Unavailable, asyncpg.PostgresError, OSError) as error:
                log.warning("signals_lost", count=len(batch), reason=type(error).__name__)

    async def _show(self, entries: Sequence[tuple[UUID, str | None]]) -> None:
        """Publishes with the count of this moment.

        The lock makes counting and publishing one step a user, across processes: otherwise an older count could be
        published last, and stay on the screen.
        """
        if not entries:
            return
        users = sorted({user_id for user_id, _ in entries})
        async with self._lanes.transaction() as fetch:
            await fetch(_LOCK, [str(user_id) for user_id in users])
            counts = {row["user_id"]: row["unread"] for row in await fetch(_UNREAD, users)}
            async with self._redis.pipeline(transaction=False) as pipe:
                for user_id, notification in entries:
                    payload = f'{{"notification":{notification or "null"},"unread_count":{counts.get(user_id, 0)}}}'
                    pipe.publish(live_channel(user_id), payload)
                await pipe.execute()

    def _pending(self, session: AsyncSession) -> _Pending:
        pending = session.info.get("signals")
        if not isinstance(pending, _Pending):
            pending = session.info["signals"] = _Pending()
            event.listen(session.sync_session, "after_commit", lambda _: self._send(pending), once=True)
        return pending

    def _send(self, pending: _Pending) -> None:
        try:
            for entry in pending.live:
                self._queue.put_nowait(entry)
            for account in pending.wake:
                self._queue.put_nowait(account)
        except asyncio.QueueFull:
            log.warning("signals_lost", reason="too many at once")
