"""How far members have read, and how far messages have reached them: two numbers that only move forward.

A member's own mark (`last_read_seq`) moves back when a message is marked as unread, and is nobody else's business. What
others may know (`shown_read_seq`) is a mark of its own: a private read does not move it, nor does any read of somebody
whose profile says `read_receipts: false`, nor one between two people of whom one has blocked the other.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chat_service.domain import messages, unread
from chat_service.errors import NoConversation, NoMessage

if TYPE_CHECKING:
    from chat_service.domain.context import Context

NAMED_MEMBERS = 100
"""In larger conversations nobody is told who has read what, only how many."""

QUIET = """
    c.type = 'direct' AND EXISTS (SELECT 1 FROM member AS two WHERE two.conversation_id = c.id AND two.barred)
"""
"""SQL, beside `conversation AS c`: one of the two has blocked the other."""

_ADVANCE = f"""
WITH before AS MATERIALIZED (
    SELECT c.message_seq, c.member_count, least($3::bigint, c.message_seq) AS mark,
           m.last_read_seq, m.shown_read_seq, m.last_delivered_seq, {QUIET} AS quiet,
           NOT $4::boolean AND coalesce(p.privacy ->> 'read_receipts', 'true') <> 'false' AND NOT ({QUIET}) AS shows
    FROM conversation AS c
    JOIN member AS m ON m.conversation_id = c.id AND m.user_id = $2
    LEFT JOIN profile AS p ON p.user_id = m.user_id
    WHERE c.id = $1
),
moved AS (
    UPDATE member AS m SET last_read_seq = greatest(m.last_read_seq, before.mark),
        last_delivered_seq = greatest(m.last_delivered_seq, before.mark),
        shown_read_seq = greatest(m.shown_read_seq, CASE WHEN before.shows THEN before.mark ELSE 0 END),
        touched_at = $5
    FROM before
    WHERE m.conversation_id = $1 AND m.user_id = $2 AND before.mark > least(
        m.last_read_seq, m.last_delivered_seq, CASE WHEN before.shows THEN m.shown_read_seq ELSE before.mark END
    )
    RETURNING new.last_read_seq, new.shown_read_seq, new.last_delivered_seq, old.last_read_seq AS from_read,
        (old.shown_read_seq, old.last_delivered_seq) <> (new.shown_read_seq, new.last_delivered_seq) AS news
),
after AS (
    SELECT b.message_seq, b.member_count, b.quiet, coalesce(n.last_read_seq, b.last_read_seq) AS last_read_seq,
           coalesce(n.shown_read_seq, b.shown_read_seq) AS shown_read_seq,
           coalesce(n.last_delivered_seq, b.last_delivered_seq) AS last_delivered_seq,
           coalesce(n.last_read_seq > n.from_read, false) AS moved, coalesce(n.news, false) AS news
    FROM before AS b LEFT JOIN moved AS n ON true
)
SELECT *, {unread.count(conversation="$1", top="message_seq", user="$2", read="last_read_seq")} AS unread_count,
       {unread.mentions(conversation="$1", top="message_seq", user="$2", read="last_read_seq")} AS mention_count
FROM after
"""  # noqa: S608  -- constants
_REWIND = f"""
WITH moved AS (
    UPDATE member AS m SET touched_at = $4, last_read_seq = least(
        m.last_read_seq, greatest($3::bigint - 1, 0, CASE WHEN c.history = 'since_joining' THEN m.joined_seq END)
    )
    FROM conversation AS c
    WHERE c.id = $1 AND m.conversation_id = $1 AND m.user_id = $2
    RETURNING m.last_read_seq, c.message_seq
)
SELECT last_read_seq,
       {unread.count(conversation="$1", top="message_seq", user="$2", read="last_read_seq")} AS unread_count,
       {unread.mentions(conversation="$1", top="message_seq", user="$2", read="last_read_seq")} AS mention_count
FROM moved
"""  # noqa: S608  -- constants
# Rows in the order of their keys: two statements that move several marks cannot wait for each other.
DELIVER = f"""
WITH wanted AS MATERIALIZED (
    SELECT w.conversation_id, w.user_id, least(w.seq, c.message_seq) AS mark, c.member_count, {QUIET} AS quiet
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS w(conversation_id, user_id, seq)
    CROSS JOIN LATERAL (
        SELECT id, type, message_seq, member_count FROM conversation WHERE id = w.conversation_id LIMIT 1
    ) AS c
    CROSS JOIN LATERAL (
        SELECT 1 FROM member WHERE conversation_id = w.conversation_id AND user_id = w.user_id
            AND last_delivered_seq < least(w.seq, c.message_seq) LIMIT 1 FOR UPDATE
    ) AS m
)
UPDATE member AS m SET last_delivered_seq = greatest(m.last_delivered_seq, w.mark) FROM wanted AS w
WHERE m.conversation_id = w.conversation_id AND m.user_id = w.user_id
RETURNING m.conversation_id, m.user_id, m.shown_read_seq, m.last_delivered_seq, w.member_count, w.quiet
"""  # noqa: S608  -- constants

# Those who were members when it was sent and are still. Fast without an index on the marks, which move with every read.
_RECIPIENTS = """
    SELECT o.user_id, o.shown_read_seq >= m.seq AS has_read, o.last_delivered_seq >= m.seq AS has_it
    FROM member AS o
    WHERE o.conversation_id = m.conversation_id AND o.user_id <> m.sender_id AND o.joined_seq < m.seq
"""
_OF_MESSAGE = f"""
WITH message AS MATERIALIZED (
    SELECT m.conversation_id, m.seq, m.sender_id FROM message AS m
    JOIN conversation AS c ON c.id = m.conversation_id
    JOIN member AS me ON me.conversation_id = m.conversation_id AND me.user_id = $2
    WHERE m.id = $1 AND (c.history = 'all' OR m.seq > me.joined_seq)
),
recipients AS MATERIALIZED (SELECT r.* FROM message AS m CROSS JOIN LATERAL ({_RECIPIENTS}) AS r),
counted AS (
    SELECT count(*) AS total, count(*) FILTER (WHERE has_read) AS read_count,
           count(*) FILTER (WHERE has_it) AS delivered_count
    FROM recipients
)
SELECT m.seq, c.*, r.user_id, p.username, p.display_name, p.avatar_url
FROM message AS m CROSS JOIN counted AS c
LEFT JOIN LATERAL (
    SELECT user_id FROM recipients WHERE has_read AND user_id > $3 ORDER BY user_id LIMIT $4
) AS r ON true
LEFT JOIN profile AS p ON p.user_id = r.user_id
ORDER BY r.user_id
"""  # noqa: S608  -- constants
ALL = f"""
LEFT JOIN LATERAL (
    SELECT min(o.shown_read_seq) AS read_by_all_seq, min(o.last_delivered_seq) AS delivered_to_all_seq
    FROM member AS o
    WHERE o.conversation_id = c.id AND o.user_id <> me.user_id AND c.member_count <= {NAMED_MEMBERS}
) AS others ON true
"""  # noqa: S608  -- constants
"""SQL, beside `conversation AS c` and `member AS me`: up to where all others have got and read everything."""


@dataclass(frozen=True, slots=True)
class Watermark:
    conversation_id: UUID
    last_read_seq: int
    unread_count: int
    mention_count: int


async def advance(
    context: "Context", user_id: UUID, conversation_id: UUID, *, seq: int, private: bool = False
) -> Watermark:
    """Moves the marks up to `seq`, never back and never beyond the last message; tells the user's other sockets, and
    within a second the others in the conversation, unless it is `private` or the user shows no receipts.

    Raises NoConversation for who is not a member.
    """
    now = context.clock.now()
    rows = await context.lanes.fetch(_ADVANCE, conversation_id, user_id, seq, private, now)
    if not rows:
        raise NoConversation
    if rows[0]["news"]:
        context.receipts.note(conversation_id, user_id, rows[0])
    return _marked(context, user_id, conversation_id, rows[0], moved=rows[0]["moved"])


async def mark_unread(context: "Context", user_id: UUID, conversation_id: UUID, *, seq: int) -> Watermark:
    """Everything from `seq` on is unread again, for this user alone. Raises NoConversation."""
    rows = await context.lanes.fetch(_REWIND, conversation_id, user_id, seq, context.clock.now())
    if not rows:
        raise NoConversation
    return _marked(context, user_id, conversation_id, rows[0], moved=True)


def _marked(context: "Context", user_id: UUID, conversation_id: UUID, row: Any, *, moved: bool) -> Watermark:
    mark = Watermark(conversation_id, row["last_read_seq"], row["unread_count"], row["mention_count"])
    if moved:
        data = {
            "conversation_id": conversation_id,
            "seq": mark.last_read_seq,
            "unread_count": mark.unread_count,
            "mention_count": mark.mention_count,
        }
        context.hub.publish_to_user(user_id, "read", data)
    return mark


async def deliver(context: "Context", user_id: UUID, conversation_id: UUID, *, seq: int) -> None:
    """The messages up to `seq` have reached a device. Raises NoConversation."""
    if conversation_id not in await context.log.visible_to(user_id, [conversation_id]):
        raise NoConversation
    for row in await context.lanes.fetch(DELIVER, [conversation_id], [user_id], [seq]):
        context.receipts.note(conversation_id, user_id, row)


async def of_message(
    context: "Context", user_id: UUID, message_id: UUID, *, limit: int, after: UUID | None
) -> dict[str, Any]:
    """Who has read it, in the order of their ids, and how many. Raises NoMessage."""
    rows = await context.lanes.fetch(_OF_MESSAGE, message_id, user_id, after or UUID(int=0), limit)
    if not rows:
        raise NoMessage
    row = rows[0]
    return {
        "message_id": message_id,
        "seq": row["seq"],
        "status": _status(row),
        "total": row["total"],
        "delivered_count": row["delivered_count"],
        "read_count": row["read_count"],
        "readers": [messages.person(reader["user_id"], reader) for reader in rows if reader["user_id"] is not None],
    }


def _status(row: Any) -> str:
    """Of all recipients together."""
    if not row["total"] or row["delivered_count"] < row["total"]:
        return "sent"
    return "read" if row["read_count"] == row["total"] else "delivered"
