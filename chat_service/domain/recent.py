"""The last 100 messages of a conversation, kept in Redis as the bytes that are sent.

They are valid as long as the conversation's `event_seq` is the one they were read at, in one statement with it, and its
senders have the same names. Both are asked in the statement that asks for membership anyway: so an edit, a deletion or
a reaction is seen at once, and nobody has to throw anything away. Without Redis everything is read from PostgreSQL.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID
from zlib import crc32

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chat_service.domain import frames, messages
from chat_service.errors import NoConversation
from libs.lanes import Lanes

MOST = 100
_SECONDS = 24 * 3600
# Waiting longer for a cache than PostgreSQL takes is no use.
_PATIENCE_SECONDS = 0.25
# Raise it when the shape of a message changes: what an older release wrote is then read anew.
_FORMAT = 1
READS = Counter("parley_chat_recent_reads_total", "Newest pages of conversations, by where they came from.", ["source"])

_FROM = f"""
SELECT {messages.COLUMNS}, p.version AS name_version FROM w CROSS JOIN LATERAL (
    SELECT * FROM message WHERE conversation_id = w.id AND seq > w.floor AND NOT thread_only AND NOT EXISTS (
        SELECT 1 FROM hidden_message WHERE user_id = w.user_id AND conversation_id = w.id AND message_id = message.id)
    ORDER BY seq DESC LIMIT w.most
) AS m
LEFT JOIN LATERAL (SELECT * FROM profile WHERE user_id = m.sender_id LIMIT 1) AS p ON true
LEFT JOIN LATERAL (
    SELECT * FROM message WHERE conversation_id = m.conversation_id AND id = m.reply_to LIMIT 1
) AS q ON true
"""  # noqa: S608  -- constants
_MINE = f"""
WITH w AS (SELECT $1::uuid AS id, $2::uuid AS user_id, $3::bigint AS floor, $4::int AS most)
{_FROM} ORDER BY m.seq DESC
"""
# Content and position of one snapshot: a left join, for an empty conversation has a position too.
_ALL = f"""
WITH w AS (SELECT $1::uuid AS id, NULL::uuid AS user_id, 0::bigint AS floor, {MOST} AS most)
SELECT c.event_seq AS top, c.epoch, found.* FROM conversation AS c LEFT JOIN ({_FROM}) AS found ON true
WHERE c.id = $1 ORDER BY found.seq DESC
"""  # noqa: S608  -- constants
_CHECK = """
SELECT c.event_seq, c.epoch,
       CASE WHEN c.history = 'since_joining' THEN m.joined_seq ELSE 0 END AS floor,
       EXISTS (SELECT 1 FROM hidden_message WHERE user_id = $2 AND conversation_id = $1) AS hides,
       (SELECT coalesce(sum(version::numeric + 1), 0)::text FROM profile WHERE user_id = ANY ($3::uuid[])) AS names
FROM conversation AS c CROSS JOIN LATERAL (
    SELECT joined_seq FROM member WHERE conversation_id = c.id AND user_id = $2 LIMIT 1
) AS m
WHERE c.id = $1 AND c.deleted_at IS NULL
"""


class Page(NamedTuple):
    """Newest first, each a message in JSON; `older`: there are more that this member may see."""

    lines: Sequence[bytes]
    older: bool
    source: str


@dataclass(frozen=True, slots=True)
class Kept:
    epoch: int
    top: int
    first: int
    """The `seq` of the oldest one, 0 when there is none."""
    senders: list[str]
    names: str
    lines: list[bytes]

    def messages(self) -> list[dict[str, Any]]:
        return [frames.load(line) for line in self.lines]


class Recent:
    def __init__(self, lanes: Lanes, redis: Redis) -> None:
        self._lanes = lanes
        self._redis = redis
        self._filling: dict[UUID, asyncio.Task[Kept]] = {}

    async def page(self, user_id: UUID, conversation_id: UUID, limit: int) -> Page:
        """The newest `limit` (at most 100) that the member may see. Raises NoConversation for who is none."""
        kept = await self.kept(conversation_id)
        rows = await self._lanes.fetch(_CHECK, conversation_id, user_id, kept.senders if kept else [])
        if not rows:
            raise NoConversation
        now = rows[0]
        source = "redis"
        if kept is None or (kept.epoch, kept.top, kept.names) != (now["epoch"], now["event_seq"], now["names"]):
            kept = await self._filled(conversation_id, now["event_seq"])
            source = "database"
        # What others see is not what this one may see, or not enough of it.
        if now["hides"] or now["floor"] >= max(1, kept.first):
            return _counted(await self._mine(user_id, conversation_id, now["floor"], limit))
        lines = kept.lines[:limit]
        older = len(kept.lines) > limit or kept.first > now["floor"] + 1
        return _counted(Page(lines, older, source))

    async def kept(self, conversation_id: UUID) -> Kept | None:
        """What is in Redis, valid or not."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                blob: Any = await self._redis.get(_key(conversation_id))
            return _unpacked(blob) if blob else None
        except (RedisError, OSError, TimeoutError, ValueError, TypeError):
            return None

    async def _mine(self, user_id: UUID, conversation_id: UUID, floor: int, limit: int) -> Page:
        rows = await self._lanes.fetch(_MINE, conversation_id, user_id, floor, limit + 1)
        return Page([frames.dump(messages.shape(row)) for row in rows[:limit]], len(rows) > limit, "database")

    async def _filled(self, conversation_id: UUID, at_least: int) -> Kept:
        """Read once for all who ask at this moment, and not older than what the caller has seen."""
        while True:
            task = self._filling.get(conversation_id)
            # One that has ended, but has not been taken out yet, is too old: asked again and again, it would answer at
            # once each time, and nothing else would ever run.
            if task is None or task.done():
                task = asyncio.get_running_loop().create_task(self._fill(conversation_id))
                self._filling[conversation_id] = task
                task.add_done_callback(partial(self._forget, conversation_id))
            kept = await asyncio.shield(task)
            if kept.top >= at_least:
                return kept

    def _forget(self, conversation_id: UUID, task: "asyncio.Task[Kept]") -> None:
        if self._filling.get(conversation_id) is task:
            del self._filling[conversation_id]

    async def _fill(self, conversation_id: UUID) -> Kept:
        rows = await self._lanes.fetch(_ALL, conversation_id)
        if not rows:
            raise NoConversation
        kept = _of(rows)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._redis.set(_key(conversation_id), _packed(kept), ex=_SECONDS)
        except (RedisError, OSError, TimeoutError):
            pass
        return kept


async def newest(
    recent: Recent, user_id: UUID, conversation_id: UUID, limit: int = MOST
) -> tuple[list[dict[str, Any]], str]:
    """The same as objects, newest first, and where they came from: `redis` or `database`."""
    found = await recent.page(user_id, conversation_id, limit)
    return [frames.load(line) for line in found.lines], found.source


def _counted(page: Page) -> Page:
    READS.labels(page.source).inc()
    return page


def _key(conversation_id: UUID) -> bytes:
    """On the same node of a cluster as the conversation's channel."""
    return b"{%d}.h:%b" % (crc32(conversation_id.bytes) % 128, str(conversation_id).encode())


def _of(rows: Sequence[messages.Row]) -> Kept:
    found = [row for row in rows if row["id"] is not None]
    names = {str(row["sender_id"]): row["name_version"] for row in found}
    return Kept(
        epoch=rows[0]["epoch"],
        top=rows[0]["top"],
        first=found[-1]["seq"] if found else 0,
        senders=list(names),
        names=str(sum(version + 1 for version in names.values() if version is not None)),
        lines=[frames.dump(messages.shape(row)) for row in found],
    )


def _packed(kept: Kept) -> bytes:
    head = [_FORMAT, kept.epoch, kept.top, kept.first, kept.senders, kept.names]
    return b"\n".join((frames.dump(head), *kept.lines))


def _unpacked(blob: bytes) -> Kept | None:
    """Raises ValueError or TypeError for what is none."""
    head, *lines = blob.split(b"\n")
    version, epoch, top, first, senders, names = frames.load(head)
    return Kept(epoch, top, first, senders, names, lines) if version == _FORMAT else None
