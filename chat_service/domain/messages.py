"""Messages: what one looks like, what a text may be, and reading them."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.errors import NoMessage, invalid
from libs.db import query_count

if TYPE_CHECKING:
    from chat_service.domain.context import Context

# A row of SQLAlchemy's or of asyncpg's: both are read by name, neither says so in its types.
Row = Any
MAX_CHARS = 10_000

COLUMNS = """
    m.id, m.conversation_id, m.seq, m.event_seq, m.sender_id, m.client_msg_id, m.type, m.content, m.reply_to,
    m.created_at, p.username, p.display_name, p.avatar_url,
    q.seq AS quoted_seq, q.sender_id AS quoted_sender, left(q.content, 200) AS quoted_excerpt
"""
JOINS = """
    LEFT JOIN profile AS p ON p.user_id = m.sender_id
    LEFT JOIN message AS q ON q.conversation_id = m.conversation_id AND q.id = m.reply_to
"""

_ONE = f"SELECT {COLUMNS} FROM message AS m {JOINS} WHERE m.conversation_id = $1 AND m.id = $2"  # noqa: S608  -- constants
_NEWEST = (1 << 63) - 1


class Around(NamedTuple):
    """Which messages: those before, after or on both sides of a `seq`, or the newest."""

    before: int | None = None
    after: int | None = None
    around: int | None = None

    @classmethod
    def of(cls, cursor: Sequence[str | int], **given: int | None) -> "Around":
        """Raises Invalid when more than one is given; a cursor counts as `before`."""
        chosen = {name: value for name, value in given.items() if value is not None}
        if len(chosen) + bool(cursor) > 1:
            raise invalid("cursor", "Only one of cursor, before, after and around can be given.")
        return cls(before=int(cursor[0])) if cursor else cls(**chosen)


class Text(NamedTuple):
    content: str
    client_msg_id: UUID | None = None
    reply_to: UUID | None = None


class Found(NamedTuple):
    rows: list[dict[str, Any]]
    older: bool
    newer: bool


async def send(context: "Context", me: UUID, conversation_id: UUID, draft: Text) -> dict[str, Any]:
    """Stores one message, in a batch with those that others send at this moment. Gives it as it is stored.

    Raises Throttled, Invalid, NoConversation, CannotPost or Unavailable.
    """
    check_content(draft.content, context.message_max_bytes)
    context.send_allowed(me, conversation_id)
    count = query_count.get()
    if count is not None:
        # The statement runs in the writer's task, where this request's count is not seen.
        count.statements += 1
    stored = await context.writer.send(
        conversation_id,
        me,
        content=draft.content,
        client_msg_id=draft.client_msg_id,
        reply_to=draft.reply_to,
    )
    if stored.message is not None:
        return stored.message
    rows = await context.lanes.fetch(_ONE, conversation_id, stored.id)
    return shape(rows[0])


def check_content(content: str, max_bytes: int) -> None:
    """Code points and bytes are bounded both: the first is the promise to people, the second to memory."""
    if not content or content.isspace():
        raise invalid("content", "This field may not be blank.")
    if len(content) > MAX_CHARS:
        raise invalid("content", f"Ensure this field has no more than {MAX_CHARS} characters.")
    if len(content.encode()) > max_bytes:
        raise invalid("content", f"Ensure this field has no more than {max_bytes} bytes.")


def person(user_id: object, row: Row) -> dict[str, Any]:
    return {
        "id": str(user_id),
        "username": row["username"],
        "display_name": row["display_name"],
        "avatar_url": row["avatar_url"],
    }


def quote(message_id: object, row: Row) -> dict[str, Any] | None:
    if message_id is None or row["quoted_seq"] is None:
        return None
    return {
        "id": str(message_id),
        "seq": row["quoted_seq"],
        "sender_id": str(row["quoted_sender"]),
        "content": row["quoted_excerpt"],
    }


def shape(row: Row) -> dict[str, Any]:
    """A message for JSON, from a row with COLUMNS."""
    return {
        "id": str(row["id"]),
        "conversation_id": str(row["conversation_id"]),
        "seq": row["seq"],
        "sender": person(row["sender_id"], row),
        "message_type": row["type"],
        "content": row["content"],
        "reply_to": quote(row["reply_to"], row),
        "client_msg_id": str(row["client_msg_id"]),
        "created_at": row["created_at"],
    }


async def read(db: AsyncSession, user_id: UUID, message_id: UUID) -> dict[str, Any]:
    """Raises NoMessage, also for who is not a member of its conversation."""
    result = await db.execute(
        text(
            f"SELECT {COLUMNS} FROM message AS m {JOINS} WHERE m.id = :id AND EXISTS ("  # noqa: S608  -- constants
            " SELECT 1 FROM member WHERE conversation_id = m.conversation_id AND user_id = :user)"
        ),
        {"id": message_id, "user": user_id},
    )
    row = result.mappings().first()
    if row is None:
        raise NoMessage
    return shape(row)


async def page(db: AsyncSession, conversation_id: UUID, where: Around, limit: int) -> Found:
    """Newest first. The caller has made sure that the conversation is visible."""
    if where.after is not None:
        newer = await _side(db, conversation_id, above=where.after, limit=limit + 1)
        return Found(newer[:limit][::-1], older=bool(newer) and newer[0]["seq"] > 1, newer=len(newer) > limit)
    if where.around is not None:
        newer = await _side(db, conversation_id, above=where.around, limit=limit // 2 + 1)
        more, newer = len(newer) > limit // 2, newer[: limit // 2]
        older = await _side(db, conversation_id, below=where.around + 1, limit=limit - len(newer))
        rows = newer[::-1] + older
        return Found(rows, older=bool(rows) and rows[-1]["seq"] > 1, newer=more)
    rows = await _side(db, conversation_id, below=where.before, limit=limit)
    return Found(rows, older=bool(rows) and rows[-1]["seq"] > 1, newer=bool(rows) and where.before is not None)


async def _side(
    db: AsyncSession, conversation_id: UUID, *, above: int | None = None, below: int | None = None, limit: int
) -> list[dict[str, Any]]:
    """On one side of a number, those next to it first."""
    condition, order = ("m.seq > :edge", "m.seq") if above is not None else ("m.seq < :edge", "m.seq DESC")
    edge = above if above is not None else below
    result = await db.execute(
        text(
            f"SELECT {COLUMNS} FROM message AS m {JOINS}"  # noqa: S608  -- constants
            f" WHERE m.conversation_id = :conversation AND {condition} ORDER BY {order} LIMIT :limit"
        ),
        {"conversation": conversation_id, "edge": _NEWEST if edge is None else edge, "limit": limit},
    )
    return [shape(row) for row in result.mappings()]


def moment_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
