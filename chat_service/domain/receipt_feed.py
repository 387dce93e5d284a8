"""Receipts on their way to the others: gathered for a second, in the process that hears of them and again in each that
tells its sockets. A thousand readers cost a conversation one push a second.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter

from chat_service.domain import frames
from chat_service.domain.hub import Hub
from chat_service.domain.receipts import DELIVER, NAMED_MEMBERS
from chat_service.domain.streams import Stream
from libs.errors import Unavailable
from libs.lanes import Lanes

SECONDS = 1.0
CONTROL = "receipts"
_MOST_ROWS = 1000
# Enough for what somebody has on the screen; of others a client asks.
_LAST = 5

# Each member is looked at once and put among those who have read equally far; of the groups there are a few.
_COUNTS = f"""
WITH newest AS MATERIALIZED (
    SELECT w.id, array_agg(m.seq ORDER BY m.seq) AS seqs, array_agg(m.sender_id ORDER BY m.seq) AS senders
    FROM unnest($1::uuid[]) AS w(id) CROSS JOIN LATERAL (
        SELECT seq, sender_id FROM message WHERE conversation_id = w.id ORDER BY seq DESC LIMIT {_LAST}
    ) AS m
    GROUP BY w.id
),
grouped AS MATERIALIZED (
    SELECT n.id, width_bucket(o.shown_read_seq, n.seqs) AS has_read, width_bucket(o.joined_seq, n.seqs) AS joined,
           count(*) AS people
    FROM newest AS n JOIN member AS o ON o.conversation_id = n.id AND o.shown_read_seq >= n.seqs[1]
    GROUP BY 1, 2, 3
)
SELECT n.id AS conversation_id, s.seq, coalesce((
    SELECT sum(people) FROM grouped AS g WHERE g.id = n.id AND g.has_read >= s.place AND g.joined < s.place
), 0)::bigint - (
    SELECT count(*) FROM member AS o WHERE o.conversation_id = n.id AND o.user_id = s.sender
        AND o.shown_read_seq >= s.seq AND o.joined_seq < s.seq
) AS read_count
FROM newest AS n CROSS JOIN LATERAL unnest(n.seqs, n.senders) WITH ORDINALITY AS s(seq, sender, place)
"""  # noqa: S608  -- constants

PUSHES = Counter("parley_chat_receipt_pushes_total", "Pushes that tell of receipts, one for all that came in a second.")
MARKS = Counter("parley_chat_receipts_total", "Marks of single members that moved.")

log = structlog.get_logger()


class ReceiptFeed:
    """This process's half: what its callers said, noted here and told to all processes once a second."""

    def __init__(self, hub: Hub, lanes: Lanes) -> None:
        self._hub = hub
        self._lanes = lanes
        self._delivered: dict[tuple[UUID, UUID], int] = {}
        self._named: dict[UUID, dict[str, dict[str, int]]] = {}
        self._counted: set[UUID] = set()

    def deliver(self, conversation_id: UUID, user_id: UUID, seq: int) -> None:
        """Written within a second. Whether the user is a member is looked at then."""
        key = (conversation_id, user_id)
        self._delivered[key] = max(self._delivered.get(key, 0), seq)

    def note(self, conversation_id: UUID, user_id: UUID, row: Any) -> None:
        """What the database says of a member's marks after they moved."""
        MARKS.inc()
        if row["quiet"]:
            return
        if row["member_count"] > NAMED_MEMBERS:
            self._counted.add(conversation_id)
        else:
            marks = {"delivered": row["last_delivered_seq"], "read": row["shown_read_seq"]}
            self._named.setdefault(conversation_id, {})[str(user_id)] = marks

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            await self.flush()

    async def flush(self) -> None:
        try:
            await self._write()
            await self._tell()
        except (Unavailable, asyncpg.PostgresError) as error:
            # What was not written is tried again in a second; what was not told can be read.
            log.warning("receipts_wait", reason=type(error).__name__)

    async def _write(self) -> None:
        while self._delivered:
            keys = sorted(self._delivered)[:_MOST_ROWS]
            marks = [self._delivered.pop(key) for key in keys]
            try:
                rows = await self._lanes.fetch(DELIVER, [c for c, _ in keys], [u for _, u in keys], marks)
            except BaseException:
                for (conversation_id, user_id), seq in zip(keys, marks, strict=True):
                    self.deliver(conversation_id, user_id, seq)
                raise
            for row in rows:
                self.note(row["conversation_id"], row["user_id"], row)

    async def _tell(self) -> None:
        named, self._named = self._named, {}
        for conversation_id, members in named.items():
            self._hub.publish_control(conversation_id, CONTROL, {"members": members})
        if self._counted:
            conversations, self._counted = list(self._counted), set()
            for conversation_id, counts in (await self._count(conversations)).items():
                self._hub.publish_control(conversation_id, CONTROL, {"counts": counts})

    async def _count(self, conversations: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
        counts: dict[UUID, dict[str, int]] = {}
        for row in await self._lanes.fetch(_COUNTS, conversations):
            counts.setdefault(row["conversation_id"], {})[str(row["seq"])] = row["read_count"]
        return counts


class Merged:
    """Of one stream: what came from all processes and is not told yet."""

    __slots__ = ("_pushed_at", "_timer", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, Any]] = {}
        self._pushed_at = -SECONDS
        self._timer: asyncio.TimerHandle | None = None

    def add(self, stream: Stream, said: dict[str, dict[str, Any]]) -> None:
        """At most one push a second goes out. Numbers of one member never go back, in whatever order they come."""
        for kind, values in said.items():
            kept = self._waiting.setdefault(kind, {})
            for key, value in values.items():
                kept[key] = _later(kept.get(key), value)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._pushed_at + SECONDS), self._push, stream)

    def _push(self, stream: Stream) -> None:
        self._timer = None
        self._pushed_at = asyncio.get_running_loop().time()
        said, self._waiting = self._waiting, {}
        if stream.subscribers:
            PUSHES.inc()
            stream.send_state(_packet(stream, said), cache(lambda: _parts(stream, said)))


def _packet(stream: Stream, said: Mapping[str, Mapping[str, Any]]) -> bytes:
    return frames.packet(frames.push(stream.key, "receipt", said))


def _parts(stream: Stream, said: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """By whom, or what, each tells of: the next of the same takes its place."""
    return {
        f"{stream.key} {kind} {key}": _packet(stream, {kind: {key: value}})
        for kind, values in said.items()
        for key, value in values.items()
    }


def _later(old: Any, new: Any) -> Any:
    if isinstance(old, dict):
        return {name: max(old.get(name, 0), value) for name, value in new.items()}
    return new


def arrived(stream: Stream, said: Any) -> None:
    if stream.receipts is None:
        stream.receipts = Merged()
    stream.receipts.add(stream, said)
