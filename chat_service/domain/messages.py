"""Messages: what one looks like, what a text may be, and reading them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid5

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import visibility
from chat_service.domain.drafts import NOBODY, Extras
from chat_service.domain.visibility import Sight
from chat_service.errors import NoMessage, invalid
from libs.db import query_count

if TYPE_CHECKING:
    from chat_service.domain.context import Context

# A row of SQLAlchemy's or of asyncpg's: both are read by name, neither says so in its types.
Row = Any
MAX_CHARS = 10_000
NO_MENTIONS = NOBODY.shown()

COLUMNS = """
    m.id, m.conversation_id, m.seq, m.event_seq, m.sender_id, m.client_msg_id, m.type, m.content, m.reply_to,
    m.thread_root_id, m.thread_seq, m.thread_only, m.reply_seq, m.last_reply_at, m.importance, m.priority,
    m.attachments, m.mentions, m.forwarded_from, m.reactions, m.version, m.created_at, m.edited_at, m.deleted_at,
    p.username, p.display_name, p.avatar_url,
    q.seq AS quoted_seq, q.sender_id AS quoted_sender, left(q.content, 200) AS quoted_excerpt,
    q.deleted_at IS NOT NULL AS quoted_deleted
"""
JOINS = """
    LEFT JOIN profile AS p ON p.user_id = m.sender_id
    LEFT JOIN message AS q ON q.conversation_id = m.conversation_id AND q.id = m.reply_to
"""

_ONE = f"SELECT {COLUMNS} FROM message AS m {JOINS} WHERE m.conversation_id = $1 AND m.id = $2"  # noqa: S608  -- constants
_MINE = text(f"SELECT {COLUMNS} FROM message AS m {visibility.MINE} {JOINS} WHERE m.id = :id")  # noqa: S608  -- constants
_OF_CONVERSATION = text(_ONE.replace("$1", ":conversation").replace("$2", ":id"))
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


NEWEST = Around()


class Text(NamedTuple):
    content: str
    client_msg_id: UUID | None = None
    reply_to: UUID | None = None
    extras: Extras | None = None


class Line(NamedTuple):
    """Messages that are read in a row, and what numbers them there."""

    condition: str
    number: str = "m.seq"
    root_id: UUID | None = None

    def place(self, message: Mapping[str, Any]) -> int:
        number: int = message["seq"] if self.root_id is None else message["thread"]["seq"]
        return number


CONVERSATION = Line("NOT m.thread_only")
"""Without replies that are shown in their threads alone."""
EVERYTHING = Line("true")


def line_of_thread(root_id: UUID) -> Line:
    return Line("m.thread_root_id = :root", "m.thread_seq", root_id)


class Sent(NamedTuple):
    message: dict[str, Any]
    fresh: bool
    """Not stored before under the same `client_msg_id`."""


class Found(NamedTuple):
    rows: list[dict[str, Any]]
    older: bool
    newer: bool


async def send(context: "Context", me: UUID, conversation_id: UUID, draft: Text) -> Sent:
    """Stores one message, in a batch with those that others send at this moment. Gives it as it is stored.

    Raises Throttled, SlowMode, Invalid, NoConversation, Forbidden or Unavailable.
    """
    check_content(draft.content, context.message_max_bytes, may_be_blank=may_be_blank(draft.extras))
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
        extras=draft.extras,
    )
    if stored.message is not None:
        return Sent(stored.message, fresh=True)
    rows = await context.lanes.fetch(_ONE, conversation_id, stored.id)
    return Sent(shape(rows[0]), fresh=False)


def id_of_key(me: UUID, key: str | None) -> UUID | None:
    """The `client_msg_id` that an Idempotency-Key stands for: repeating it stores nothing, for ever."""
    return uuid5(me, key) if key is not None else None


def may_be_blank(extras: Extras | None) -> bool:
    return extras is not None and bool(extras.attachments)


def check_content(content: str, max_bytes: int, *, may_be_blank: bool = False) -> None:
    """Code points and bytes are bounded both: the first is the promise to people, the second to memory."""
    if not may_be_blank and (not content or content.isspace()):
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
        "deleted": row["quoted_deleted"],
    }


def thread(root_id: object, row: Row) -> dict[str, Any] | None:
    """Of a reply its place in the thread, of a message that began one how long it is."""
    if root_id is None and not row["reply_seq"]:
        return None
    return {
        "root_id": str(root_id or row["id"]),
        "seq": row["thread_seq"],
        "also_in_conversation": root_id is not None and not row["thread_only"],
        "last_seq": row["reply_seq"],
        "last_reply_at": row["last_reply_at"],
    }


def shape(row: Row) -> dict[str, Any]:
    """A message for JSON, from a row with COLUMNS. The same for everybody who may see it."""
    return {
        "id": str(row["id"]),
        "conversation_id": str(row["conversation_id"]),
        "seq": row["seq"],
        "sender": person(row["sender_id"], row),
        "message_type": row["type"],
        "content": row["content"],
        "attachments": loaded(row["attachments"]) or [],
        "reply_to": quote(row["reply_to"], row),
        "thread": thread(row["thread_root_id"], row),
        "reactions": [{"emoji": e, "count": n} for e, n in (loaded(row["reactions"]) or {}).items()],
        "mentions": loaded(row["mentions"]) or NO_MENTIONS,
        "importance": row["importance"],
        "priority": row["priority"],
        "forwarded_from": loaded(row["forwarded_from"]),
        "client_msg_id": str(row["client_msg_id"]),
        "version": row["version"],
        "created_at": row["created_at"],
        "edited_at": row["edited_at"],
        "deleted_at": row["deleted_at"],
    }


def loaded(value: Any) -> Any:
    """A jsonb column: SQLAlchemy's rows hold what was parsed, those of the lanes its text."""
    return orjson.loads(value) if isinstance(value, str) else value


async def read(db: AsyncSession, user_id: UUID, message_id: UUID) -> dict[str, Any]:
    """Raises NoMessage, also for who is not a member of its conversation, or came too late to see it."""
    row = (await db.execute(_MINE, {"id": message_id, "user": user_id})).mappings().first()
    if row is None:
        raise NoMessage
    return shape(row)


async def of_conversation(db: AsyncSession, conversation_id: UUID, message_id: UUID) -> dict[str, Any]:
    """As everybody who may see it sees it; who that is the caller knows."""
    found = await db.execute(_OF_CONVERSATION, {"conversation": conversation_id, "id": message_id})
    return shape(found.mappings().one())


async def page(db: AsyncSession, sight: Sight, where: Around, limit: int, *, line: Line = CONVERSATION) -> Found:
    """Newest first, of what the reader may see."""
    if where.after is not None:
        newer = await _side(db, sight, line, above=where.after, limit=limit + 1)
        return Found(newer[:limit][::-1], older=_older(newer[:1], sight, line), newer=len(newer) > limit)
    if where.around is not None:
        newer = await _side(db, sight, line, above=where.around, limit=limit // 2 + 1)
        more, newer = len(newer) > limit // 2, newer[: limit // 2]
        older = await _side(db, sight, line, below=where.around + 1, limit=limit - len(newer))
        rows = newer[::-1] + older
        return Found(rows, older=_older(rows, sight, line), newer=more)
    rows = await _side(db, sight, line, below=where.before, limit=limit)
    return Found(rows, older=_older(rows, sight, line), newer=bool(rows) and where.before is not None)


def _older(rows: Sequence[dict[str, Any]], sight: Sight, line: Line) -> bool:
    """Whether there may be messages before the last row."""
    first = sight.above if line.root_id is None else 0
    return bool(rows) and line.place(rows[-1]) > first + 1


async def _side(
    db: AsyncSession, sight: Sight, line: Line, *, above: int | None = None, below: int | None = None, limit: int
) -> list[dict[str, Any]]:
    """On one side of a number, those next to it first."""
    order = "DESC" if above is None else "ASC"
    result = await db.execute(
        text(
            f"SELECT {COLUMNS} FROM message AS m {JOINS}"  # noqa: S608  -- constants
            f" WHERE m.conversation_id = :conversation AND m.seq > :floor AND {line.condition}"
            f" AND NOT {visibility.HIDDEN}"
            f" AND {line.number} > :above AND {line.number} < :below ORDER BY {line.number} {order} LIMIT :limit"
        ),
        {
            "conversation": sight.conversation_id,
            "user": sight.user_id,
            "floor": sight.above,
            "above": above or 0,
            "below": _NEWEST if below is None else below,
            "limit": limit,
            **({} if line.root_id is None else {"root": line.root_id}),
        },
    )
    return [shape(row) for row in result.mappings()]


def moment_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
