"""Finding messages by their words.

The worker fills `message_search` from the event log, after delivery: sending pays nothing for it. Who may see a message
is asked of the tables themselves in the same statement, so a message that was deleted, hidden or taken away with a
membership is not found from that moment on, whether or not the index knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import messages, tokens, visibility
from chat_service.domain.context import Context
from chat_service.errors import invalid
from libs.lanes import Lanes

_MOST_TOKENS = 32
_INDEXED = ("message.new", "message.edited")

_STORE = """
INSERT INTO message_search AS s (conversation_id, message_id, version, seq, sent_at, tokens)
SELECT m.conversation_id, m.id, w.version, m.seq, m.created_at, w.tokens
FROM unnest(CAST(:conversations AS uuid[]), CAST(:ids AS uuid[]), CAST(:versions AS int[]),
    CAST(CAST(:vectors AS text[]) AS tsvector[])) AS w(conversation_id, id, version, tokens)
CROSS JOIN LATERAL (
    SELECT * FROM message WHERE conversation_id = w.conversation_id AND id = w.id AND deleted_at IS NULL LIMIT 1
) AS m
ON CONFLICT (conversation_id, message_id) DO UPDATE SET tokens = excluded.tokens, version = excluded.version
WHERE s.version <= excluded.version
"""
# Two workers may hold events of one message: what the second does must see what the first has done.
_ALONE = "SELECT pg_advisory_xact_lock(hashtext('message_search'))"
_REMOVE = """
DELETE FROM message_search AS s USING unnest(CAST(:conversations AS uuid[]), CAST(:ids AS uuid[])) AS w(c, id)
WHERE s.conversation_id = w.c AND s.message_id = w.id
"""
_FORGET = """
DELETE FROM message_search AS s USING message AS m
WHERE s.conversation_id = :id AND m.conversation_id = :id AND m.id = s.message_id AND m.sender_id = :sender
"""
# What matches is sorted while it is narrow; then each is looked at, newest first, until there are enough.
_FIND = f"""
WITH mine AS MATERIALIZED (
    SELECT me.conversation_id, {visibility.ABOVE} AS above
    FROM member AS me JOIN conversation AS c ON c.id = me.conversation_id AND c.deleted_at IS NULL
    WHERE me.user_id = $1
)
SELECT {messages.COLUMNS} FROM (
    SELECT s.conversation_id, s.message_id, s.sent_at
    FROM message_search AS s JOIN mine ON mine.conversation_id = s.conversation_id AND s.seq > mine.above
    WHERE s.tokens @@ CAST($2::text AS tsquery)
        AND ($3::timestamptz IS NULL OR s.sent_at < $3::timestamptz)
        AND ($4::timestamptz IS NULL OR s.sent_at > $4::timestamptz)
        AND ($5::timestamptz IS NULL
            OR (s.sent_at, s.message_id) < ($5::timestamptz, $6::uuid))
    ORDER BY s.sent_at DESC, s.message_id DESC
) AS found
CROSS JOIN LATERAL (
    SELECT * FROM message AS m
    WHERE m.conversation_id = found.conversation_id AND m.id = found.message_id AND m.deleted_at IS NULL
        AND m.content ILIKE ALL ($7::text[])
        AND NOT EXISTS (SELECT 1 FROM hidden_message AS h
            WHERE h.user_id = $1 AND h.conversation_id = m.conversation_id AND h.message_id = m.id)
    LIMIT 1
) AS m
LEFT JOIN LATERAL (SELECT * FROM profile WHERE user_id = m.sender_id LIMIT 1) AS p ON true
LEFT JOIN LATERAL (
    SELECT * FROM message WHERE conversation_id = m.conversation_id AND id = m.reply_to LIMIT 1
) AS q ON true
ORDER BY found.sent_at DESC, found.message_id DESC LIMIT $8
"""  # noqa: S608  -- constants


@dataclass(frozen=True, slots=True)
class Wanted:
    words: str = ""
    conversation_id: UUID | None = None
    sender_id: UUID | None = None
    has: Sequence[str] = ()
    before: datetime | None = None
    after: datetime | None = None


async def find(
    context: Context, db: AsyncSession, me: UUID, wanted: Wanted, *, limit: int, edge: tuple[datetime, UUID] | None
) -> list[dict[str, Any]]:
    """Newest first. Raises Invalid when nothing is looked for, and NoConversation for one that is not the caller's."""
    if wanted.conversation_id is not None:
        await visibility.sight(db, me, wanted.conversation_id)
    return await matching(context.lanes, me, wanted, limit=limit, edge=edge)


async def matching(
    lanes: Lanes, me: UUID, wanted: Wanted, *, limit: int, edge: tuple[datetime, UUID] | None
) -> list[dict[str, Any]]:
    """On a lane, where the statement is planned once: planning over all partitions takes longer than finding."""
    at, behind = edge or (None, None)
    phrases = [f"%{_literal(phrase)}%" for phrase in tokens.phrases(wanted.words)]
    query = tokens.condition(_looked_for(wanted))
    rows = await lanes.fetch(_FIND, me, query, wanted.before, wanted.after, at, behind, phrases, limit)
    return [messages.shape(row) for row in rows]


def _looked_for(wanted: Wanted) -> list[str]:
    """Raises Invalid."""
    looked_for = list(tokens.of_query(wanted.words))
    if wanted.words.strip() and not looked_for:
        raise invalid("q", "There is no word in it.")
    if wanted.conversation_id is not None:
        looked_for.append(_in(wanted.conversation_id))
    if wanted.sender_id is not None:
        looked_for.append(_from(wanted.sender_id))
    looked_for += [f"has:{kind}" for kind in wanted.has]
    if not looked_for:
        raise invalid("q", "This field is required.")
    if len(looked_for) > _MOST_TOKENS:
        raise invalid("q", "These are too many words.")
    return looked_for


async def index(db: AsyncSession, events: Sequence[messages.Row]) -> None:
    """From rows of events with their messages as they are now: indexes, indexes anew, and removes."""
    latest = {row["id"]: row for row in events if row["kind"] in (*_INDEXED, "message.deleted") and row["id"]}
    gone = [row for row in latest.values() if row["deleted_at"] is not None]
    there = [row for row in latest.values() if row["deleted_at"] is None]
    await db.execute(text(_ALONE))
    if there:
        await db.execute(
            text(_STORE),
            {
                "conversations": [row["conversation_id"] for row in there],
                "ids": [row["id"] for row in there],
                "versions": [row["version"] for row in there],
                "vectors": [_vector(row) for row in there],
            },
        )
    if gone:
        values = {"conversations": [row["conversation_id"] for row in gone], "ids": [row["id"] for row in gone]}
        await db.execute(text(_REMOVE), values)
    for row in events:
        if row["kind"] == "messages.erased":
            sender = messages.loaded(row["payload"])["sender_id"]
            await db.execute(text(_FORGET), {"id": row["conversation"], "sender": sender})


def _vector(row: messages.Row) -> str:
    files: list[dict[str, Any]] = messages.loaded(row["attachments"]) or []
    # What the filters ask for comes first: a message of ten thousand words loses some of these, never a filter.
    found = [_in(row["conversation_id"]), _from(row["sender_id"])]
    found += ["has:file"] if files else []
    found += ["has:image"] if any(file.get("kind") == "image" for file in files) else []
    found += ["has:link"] if tokens.has_link(row["content"]) else []
    for written in (row["content"], *(str(file.get("name", "")) for file in files)):
        found += tokens.of_text(written)
    return tokens.vector(found)


def _in(conversation_id: object) -> str:
    return f"in:{conversation_id}"


def _from(user_id: object) -> str:
    return f"from:{user_id}"


def _literal(phrase: str) -> str:
    return phrase.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
