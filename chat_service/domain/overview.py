"""Messages of all one's conversations in one list, and what they are to who reads it."""

from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any
from uuid import UUID

from chat_service.domain import messages, visibility
from chat_service.domain.context import Context
from chat_service.errors import NoMessage

_MOST = 1000
# What a new message is to its sender.
_AS_SENT: dict[str, Any] = {"status": "sent", "is_read": True, "my_reactions": [], "saved": False}
_FILTERS = f"""
    ($2::uuid IS NULL OR m.sender_id = $2) AND ($3::text IS NULL OR m.type = $3)
    AND ($4::boolean IS NULL OR (m.importance <> 'normal') = $4)
    AND ($5::boolean IS NULL OR (m.seq <= me.last_read_seq OR m.sender_id = me.user_id) = $5)
    AND ($6::timestamptz IS NULL OR m.created_at >= $6) AND ($7::timestamptz IS NULL OR m.created_at <= $7)
    AND ($8::date IS NULL OR (m.created_at AT TIME ZONE 'UTC')::date = $8) AND {visibility.VISIBLE}
"""
_OF_ME = """
FROM member AS me JOIN conversation AS c ON c.id = me.conversation_id AND c.deleted_at IS NULL
"""
_WHOSE = "WHERE me.user_id = $1 AND ($9::uuid IS NULL OR c.id = $9) AND ($10::text IS NULL OR c.type = $10)"
# Of each conversation no more than the page takes, by its own index; then the first of all of them.
_PAGE = f"""
WITH found AS MATERIALIZED (
    SELECT m.* {_OF_ME} CROSS JOIN LATERAL (
        SELECT * FROM message AS m WHERE m.conversation_id = c.id AND {{edge}} AND {_FILTERS}
        ORDER BY m.id {{order}} LIMIT $12
    ) AS m {_WHOSE} ORDER BY m.id {{order}} LIMIT $12
)
SELECT {messages.COLUMNS} FROM found AS m {messages.JOINS} ORDER BY m.id {{order}}
"""  # noqa: S608  -- constants
_NEWER = _PAGE.format(edge="m.id > $11", order="ASC")
_OLDER = _PAGE.format(edge="($11::uuid IS NULL OR m.id < $11)", order="DESC")
_COUNT = f"""
SELECT count(*) {_OF_ME} JOIN message AS m ON m.conversation_id = c.id AND {_FILTERS} {_WHOSE}
"""
_MARKS = """
SELECT w.id, me.last_read_seq, o.people, o.read, o.delivered,
       ARRAY(SELECT emoji FROM reaction WHERE conversation_id = w.conversation_id AND message_id = w.id
             AND user_id = $1 ORDER BY emoji) AS reacted,
       EXISTS (SELECT 1 FROM saved_message WHERE user_id = $1 AND message_id = w.id) AS saved
FROM unnest($2::uuid[], $3::uuid[], $4::boolean[]) AS w(id, conversation_id, own)
JOIN member AS me ON me.conversation_id = w.conversation_id AND me.user_id = $1
LEFT JOIN LATERAL (
    SELECT count(*) AS people, min(greatest(shown_read_seq, joined_seq)) AS read,
           min(greatest(last_delivered_seq, joined_seq)) AS delivered
    FROM (SELECT * FROM member WHERE conversation_id = w.conversation_id AND user_id <> $1 LIMIT 1000) AS others
) AS o ON w.own
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """Those that are given."""

    sender: UUID | None = None
    message_type: str | None = None
    is_important: bool | None = None
    is_read: bool | None = None
    since: datetime | None = None
    until: datetime | None = None
    on: date | None = None
    conversation: UUID | None = None
    conversation_type: str | None = None

    def values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True, slots=True)
class Part:
    """Behind a message, or before it, nearest first."""

    limit: int
    edge: UUID | None = None
    backward: bool = False


async def page(context: Context, me: UUID, filters: Filters, part: Part) -> list[dict[str, Any]]:
    """Newest first, or from `edge` back to newer ones."""
    query = _NEWER if part.backward else _OLDER
    rows = await context.lanes.fetch(query, me, *filters.values(), part.edge, part.limit)
    return await seen_by(context, me, [messages.shape(row) for row in rows])


async def count(context: Context, me: UUID, filters: Filters) -> int:
    rows = await context.lanes.fetch(_COUNT, me, *filters.values())
    return int(rows[0]["count"])


async def send(context: Context, me: UUID, conversation_id: UUID, draft: messages.Text) -> dict[str, Any]:
    """Stores one message and gives it as its sender sees it, also one that was stored before.

    Raises as messages.send does.
    """
    sent = await messages.send(context, me, conversation_id, draft)
    return {**sent.message, **_AS_SENT} if sent.fresh else await one_seen_by(context, me, sent.message)


async def one_seen_by(context: Context, me: UUID, message: dict[str, Any]) -> dict[str, Any]:
    """Raises NoMessage when the reader is no member any more."""
    for seen in await seen_by(context, me, [message]):
        return seen
    raise NoMessage


async def seen_by(context: Context, me: UUID, shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With what they are to one reader: `status`, `is_read`, `my_reactions` and `saved`. Those of conversations that
    the reader has left meanwhile are not among them.

    `status` of one's own message is what all others have done with it; beyond a thousand of them it stays `sent`.
    """
    ids = [UUID(each["id"]) for each in shown]
    places = [UUID(each["conversation_id"]) for each in shown]
    own = [each["sender"]["id"] == str(me) for each in shown]
    rows = await context.lanes.fetch(_MARKS, me, ids, places, own) if shown else []
    marks = {str(row["id"]): row for row in rows}
    return [
        {**each, **_seen(each, marks[each["id"]], mine=mine)}
        for each, mine in zip(shown, own, strict=True)
        if each["id"] in marks
    ]


def _seen(message: dict[str, Any], mark: messages.Row, *, mine: bool) -> dict[str, Any]:
    is_read = mine or message["seq"] <= mark["last_read_seq"]
    status = _status(message["seq"], mark) if mine else ("read" if is_read else "delivered")
    return {"status": status, "is_read": is_read, "my_reactions": list(mark["reacted"]), "saved": mark["saved"]}


def _status(seq: int, mark: messages.Row) -> str:
    if not 0 < mark["people"] < _MOST:
        return "sent"
    if mark["read"] >= seq:
        return "read"
    return "delivered" if mark["delivered"] >= seq else "sent"
