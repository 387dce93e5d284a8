"""Proof that a conversation is whole: what its counters, marks and caches say is what is there.

Everything is read in one snapshot. A finding that is empty holds; anything else is a fault of ours.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain.recent import Recent
from chat_service.errors import NoConversation
from libs.db import see_one_moment

_COUNTERS = """
SELECT c.event_seq, c.message_seq, c.member_count, c.epoch,
       e.count AS events, coalesce(e.low, c.event_seq + 1) AS event_low, coalesce(e.high, c.event_seq) AS event_high,
       m.count AS messages, coalesce(m.low, 1) AS message_low, coalesce(m.high, 0) AS message_high,
       (SELECT count(*) FROM member WHERE conversation_id = c.id) AS members
FROM conversation AS c,
    LATERAL (SELECT count(*), min(seq) AS low, max(seq) AS high FROM event WHERE conversation_id = c.id) AS e,
    LATERAL (SELECT count(*), min(seq) AS low, max(seq) AS high FROM message WHERE conversation_id = c.id) AS m
WHERE c.id = :id
"""
_MARKS = """
SELECT m.user_id FROM member AS m JOIN conversation AS c ON c.id = m.conversation_id
WHERE c.id = :id AND NOT (
    0 <= m.shown_read_seq AND m.shown_read_seq <= m.last_delivered_seq AND m.last_read_seq <= m.last_delivered_seq
    AND m.last_delivered_seq <= c.message_seq AND 0 <= m.last_read_seq
    AND 0 <= m.joined_seq AND m.joined_seq <= c.message_seq AND m.joined_event_seq <= c.event_seq)
"""
_REACTIONS = """
SELECT m.id FROM message AS m WHERE m.conversation_id = :id AND coalesce(m.reactions, '{}') <> coalesce((
    SELECT jsonb_object_agg(emoji, count) FROM (
        SELECT emoji, count(*) FROM reaction WHERE conversation_id = :id AND message_id = m.id GROUP BY emoji) AS r
), '{}')
"""
_DELETED = """
SELECT id FROM message WHERE conversation_id = :id AND deleted_at IS NOT NULL AND (content <> '' OR NOT uncounted)
"""
_UNREAD = """
SELECT m.user_id FROM member AS m JOIN conversation AS c ON c.id = m.conversation_id
WHERE c.id = :id AND m.last_read_seq < c.message_seq AND c.message_seq - m.last_read_seq - (
    SELECT count(*) FROM message WHERE conversation_id = c.id AND uncounted AND seq > m.last_read_seq
) <> (SELECT count(*) FROM message WHERE conversation_id = c.id AND NOT uncounted AND seq > m.last_read_seq)
"""
_THREADS = """
SELECT r.id FROM message AS r WHERE r.conversation_id = :id AND r.reply_seq <> (
    SELECT coalesce(max(thread_seq), 0) FROM message WHERE conversation_id = :id AND thread_root_id = r.id)
"""
_NEWEST = """
SELECT id, version, content FROM message WHERE conversation_id = :id AND NOT thread_only ORDER BY seq DESC LIMIT :most
"""
_QUERIES = {
    "watermarks": _MARKS,
    "reactions": _REACTIONS,
    "deleted": _DELETED,
    "unread": _UNREAD,
    "threads": _THREADS,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`problems` by what was looked at: what is wrong, at most ten of each."""

    event_seq: int
    message_seq: int
    oldest_event: int
    problems: dict[str, list[str]]

    @property
    def ok(self) -> bool:
        return not self.problems


async def verify(db: AsyncSession, recent: Recent, conversation_id: UUID) -> Verdict:
    """Raises NoConversation for one that never was."""
    await see_one_moment(db)
    row: Any = (await db.execute(text(_COUNTERS), {"id": conversation_id})).mappings().first()
    if row is None:
        raise NoConversation
    problems = {
        "events": _numbering("event", row),
        "messages": _numbering("message", row),
        "members": [] if row["members"] == row["member_count"] else [f"{row['members']} not {row['member_count']}"],
        "cache": await _cache(db, recent, conversation_id, row),
    }
    if row["messages"] and row["message_low"] != 1:
        problems["messages"].append(f"the first message is {row['message_low']}")
    for name, query in _QUERIES.items():
        found = await db.scalars(text(f"{query} LIMIT 10"), {"id": conversation_id})
        problems[name] = [str(one) for one in found]
    found_problems = {name: said for name, said in problems.items() if said}
    return Verdict(row["event_seq"], row["message_seq"], row["event_low"], found_problems)


def _numbering(what: str, row: Any) -> list[str]:
    """Consecutive up to the counter. The log may have been cut at its beginning, never within."""
    count, low, high, top = row[f"{what}s"], row[f"{what}_low"], row[f"{what}_high"], row[f"{what}_seq"]
    said = []
    if high != top:
        said.append(f"the last {what} is {high}, the counter {top}")
    if count != high - low + 1:
        said.append(f"{count} {what}s from {low} to {high}")
    return said


async def _cache(db: AsyncSession, recent: Recent, conversation_id: UUID, row: Any) -> list[str]:
    """What is kept for this very position must be what is stored; what is kept for another is not used."""
    kept = await recent.kept(conversation_id)
    if kept is None or (kept.epoch, kept.top) != (row["epoch"], row["event_seq"]):
        return []
    stored = (await db.execute(text(_NEWEST), {"id": conversation_id, "most": len(kept.lines) + 1})).all()
    shown = [(str(one.id), one.version, one.content) for one in stored]
    found = [(message["id"], message["version"], message["content"]) for message in kept.messages()]
    return [] if found == shown[: len(found)] and (len(found) == len(shown) or len(found) == 100) else ["differs"]
