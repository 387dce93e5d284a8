"""The second look at every event, by the worker: was it published, and who was away?

A process that dies between commit and publish leaves events that nobody heard of. The publisher notes the number of
what it published in Redis; an event above that note and older than a second is published again. Twice is harmless, for
events are told apart by their numbers.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import audience, frames, hub, mentions, messages, presence, search, visibility
from chat_service.domain.changes import notices
from chat_service.domain.log import run_of
from chat_service.domain.messages import Row, loaded
from chat_service.domain.streams import channel_of, top_key
from libs import outbox
from libs.clock import Clock
from libs.contracts.messages import MessageSent
from libs.db import Database

_BATCH = 200
_IDLE_SECONDS = 0.5
_PATIENCE_SECONDS = 1.0
_AT_ONCE = 500
_EXCERPT = 200

# Rows that other workers hold are theirs.
_TAKE = f"""
SELECT d.id AS dispatch_id, d.created_at < :late AS late, d.event_seq AS event_seq_of_line, e.type AS kind,
       e.payload::text AS payload, d.conversation_id AS conversation, c.type AS conversation_type, c.name,
       c.deleted_at AS ended_at,
       e.type = 'message.edited' AND {visibility.WITHHELD} AS withheld, {messages.COLUMNS}
FROM (SELECT * FROM dispatch ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED) AS d
LEFT JOIN event AS e ON e.conversation_id = d.conversation_id AND e.seq = d.event_seq
LEFT JOIN conversation AS c ON c.id = d.conversation_id
LEFT JOIN message AS m ON m.conversation_id = e.conversation_id AND m.id = e.message_id {messages.JOINS}
ORDER BY d.id
"""  # noqa: S608  -- constants

log = structlog.get_logger()


class Dispatcher:
    def __init__(self, db: Database, redis: Redis, clock: Clock) -> None:
        self._db = db
        self._redis = redis
        self._clock = clock

    async def run(self) -> None:
        while True:
            try:
                done = await self.step()
            except (RedisError, SQLAlchemyError, OSError) as error:
                log.warning("dispatch_waits", reason=type(error).__name__)
                await asyncio.sleep(1)
            else:
                # Polling, not a wake-up: a publish more for every message would cost more than two looks a second.
                if done < _BATCH:
                    await asyncio.sleep(_IDLE_SECONDS)

    async def step(self) -> int:
        """Handles one batch in one transaction. Returns how many events are done with."""
        async with self._db.transaction() as db:
            rows = await self._take(db)
            if not rows:
                return 0
            # An event that is gone was cut by hand: what can never be done must not stand before what can.
            lost = [row for row in rows if row["kind"] is None]
            if lost:
                log.error("events_lost", count=len(lost))
            done = lost + await self._see_to(db, [row for row in rows if row["kind"] is not None])
            await db.execute(
                text("DELETE FROM dispatch WHERE id = ANY (:ids)"), {"ids": [row["dispatch_id"] for row in done]}
            )
            return len(done)

    async def _see_to(self, db: AsyncSession, rows: Sequence[Row]) -> list[Row]:
        """Returns those that are done with; the others may still be published by who wrote them."""
        if not rows:
            return []
        published = await self._published(rows)
        done = [row for row in rows if published[row["dispatch_id"]] or row["late"]]
        await self._publish([row for row in done if not published[row["dispatch_id"]]])
        await search.index(db, done)
        await self._tell_away(db, [row for row in done if _is_news(row)])
        return done

    async def _take(self, db: AsyncSession) -> Sequence[Row]:
        # By PostgreSQL's clock, which wrote the rows: the clocks of two machines may differ by more than a second.
        late = await db.scalar(text("SELECT now() - make_interval(secs => :s)"), {"s": _PATIENCE_SECONDS})
        result = await db.execute(text(_TAKE), {"batch": _BATCH, "late": late})
        return result.mappings().all()

    async def _published(self, rows: Sequence[Row]) -> dict[int, bool]:
        """Whether each event is at or below the note of its conversation: then every listener can know of it."""
        conversations = list({row["conversation"] for row in rows})
        notes = await self._redis.mget([top_key(c) for c in conversations])
        tops = {c: int(note or 0) for c, note in zip(conversations, notes, strict=True)}
        return {row["dispatch_id"]: row["event_seq_of_line"] <= tops[row["conversation"]] for row in rows}

    async def _publish(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        log.warning("events_published_late", count=len(rows))
        async with self._redis.pipeline(transaction=False) as pipe:
            for row in rows:
                conversation_id = row["conversation"]
                pipe.publish(channel_of(conversation_id), hub.encode(run_of([row])))
                pipe.set(top_key(conversation_id), row["event_seq_of_line"], ex=hub.TOP_SECONDS)
                data = frames.load(row["payload"]) if row["payload"] else {}
                for user_id, kind, said in notices(conversation_id, row["kind"], data):
                    pipe.publish(hub.user_channel(user_id), frames.push(f"u:{user_id}", kind, said))
            await pipe.execute()

    async def _tell_away(self, db: AsyncSession, rows: Sequence[Row]) -> None:
        """One event names at most 500 people, so that no event is large."""
        if not rows:
            return
        now = self._clock.now()
        present = await audience.of(db, rows, now)
        everybody = present.everybody()
        gone: set[UUID] = set()
        for start in range(0, len(everybody), _AT_ONCE):
            gone |= await presence.away(self._redis, everybody[start : start + _AT_ONCE])
        for row in rows:
            people = {member.user_id for member in present.of(row)}
            reached = mentions.reached(row, people, people - gone)
            await mentions.note(db, row, reached)
            mentioned = reached | mentions.named(row)
            away = [user_id for user_id in present.told(row, mentioned) if user_id in gone]
            chunks = [away[start : start + _AT_ONCE] for start in range(0, len(away), _AT_ONCE)]
            await outbox.add_all(db, [_message_sent(row, chunk, mentioned) for chunk in chunks], now)


def _is_news(row: Row) -> bool:
    """Of what was deleted before anybody was told, nobody is."""
    return row["kind"] == "message.new" and row["deleted_at"] is None and row["ended_at"] is None


def _message_sent(row: Row, away: list[UUID], mentioned: set[UUID]) -> MessageSent:
    files = loaded(row["attachments"]) or ({"name": ""},)
    return MessageSent(
        message_id=row["id"],
        conversation_id=row["conversation"],
        conversation_type=row["conversation_type"],
        conversation_name=row["name"],
        seq=row["seq"],
        sender_id=row["sender_id"],
        sender_name=row["display_name"] or "",
        excerpt=(row["content"] or files[0]["name"])[:_EXCERPT],
        sent_at=row["created_at"],
        away=away,
        mentioned=[user_id for user_id in away if user_id in mentioned],
    )
