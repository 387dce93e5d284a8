"""What changed while a client was away: all of its conversations in one answer, each with what a list shows.

The client says where it stood, by positions or by the `token` of its last answer, or both. An answer may name a
conversation that has not changed since (the token is taken back by a minute, as transactions end a little after their
time was read), and never leaves out one that has.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from chat_service.domain import following, messages, unread, visibility
from chat_service.domain.frames import Throttled
from chat_service.domain.requests import Handler, Request
from chat_service.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from chat_service.domain.context import Context
    from chat_service.domain.sessions import Session

MOST = 1000
_MARGIN = timedelta(minutes=1)
# The event log reaches as far back; who was away for longer gets everything.
_OLDEST = timedelta(days=30)
_EXCERPT = 200
_FORM = "t1"

# The last event of each conversation says when it changed: one look-up a conversation, and none behind a position.
_CHANGED = f"""
SELECT c.id AS conversation, c.event_seq AS top, c.epoch, me.last_read_seq,
       {unread.count(read="me.last_read_seq")} AS unread_count,
       {unread.mentions(read="me.last_read_seq")} AS mention_count,
       m.id, m.seq, m.sender_id, p.display_name, m.type, left(m.content, {_EXCERPT}) AS content, m.created_at,
       m.deleted_at IS NOT NULL AS deleted
FROM member AS me
JOIN conversation AS c ON c.id = me.conversation_id AND c.deleted_at IS NULL
LEFT JOIN unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS w(id, epoch, seq) ON w.id = c.id
LEFT JOIN LATERAL (
    SELECT * FROM message AS m WHERE conversation_id = c.id AND seq = c.message_seq AND {visibility.VISIBLE}
        AND NOT EXISTS (
            SELECT 1 FROM hidden_message WHERE user_id = $1 AND conversation_id = c.id AND message_id = m.id)
    LIMIT 1
) AS m ON true
LEFT JOIN LATERAL (SELECT display_name FROM profile WHERE user_id = m.sender_id LIMIT 1) AS p ON true
WHERE me.user_id = $1 AND (
    CASE WHEN w.id IS NOT NULL THEN w.epoch <> c.epoch OR w.seq <> c.event_seq
    ELSE $5::timestamptz IS NULL OR me.joined_at > $5 OR coalesce(
        (SELECT created_at > $5 FROM event WHERE conversation_id = c.id AND seq = c.event_seq), true) END
    OR me.touched_at > $5
)
ORDER BY coalesce(c.last_message_at, c.created_at) DESC, c.number DESC LIMIT {MOST + 1}
"""  # noqa: S608  -- constants
_GONE = """
SELECT w.id FROM unnest($2::uuid[]) AS w(id) WHERE NOT EXISTS (
    SELECT 1 FROM member AS me JOIN conversation AS c ON c.id = me.conversation_id AND c.deleted_at IS NULL
    WHERE me.conversation_id = w.id AND me.user_id = $1)
"""
_HIDDEN = f"""
SELECT message_id FROM hidden_message WHERE user_id = $1 AND hidden_at > $2 ORDER BY hidden_at DESC LIMIT {MOST}
"""  # noqa: S608  -- constants


class Since(NamedTuple):
    positions: Mapping[UUID, following.Position]
    token: str | None = None


async def changes(context: "Context", me: UUID, since: Since) -> dict[str, Any]:
    """Raises Throttled, and Invalid for a token that is none."""
    now = context.clock.now()
    wait = context.sync_limit.wait(me, _loop_time())
    if wait:
        raise Throttled(wait)
    at = _moment(since.token, now)
    ids = list(since.positions)
    epochs, seqs = [p[0] for p in since.positions.values()], [p[1] for p in since.positions.values()]
    rows = await context.lanes.fetch(_CHANGED, me, ids, epochs, seqs, at)
    gone = await context.lanes.fetch(_GONE, me, ids) if ids else []
    hidden = await context.lanes.fetch(_HIDDEN, me, at) if at is not None else []
    return {
        "changed": [_shape(row) for row in rows[:MOST]],
        "gone": [f"c:{row['id']}" for row in gone],
        "hidden": [str(row["message_id"]) for row in hidden],
        "more": len(rows) > MOST,
        "token": f"{_FORM}.{_us(now - _MARGIN)}",
    }


def parse(since: object, token: object) -> Since:
    """From `{"c:<id>": [epoch, seq]}` and the token of an earlier answer. Raises Invalid."""
    if token is not None and type(token) is not str:
        raise invalid("token", "This must be a text.")
    wanted = following.parse(since) if since else {}
    if len(wanted) > MOST:
        raise invalid("since", f"At most {MOST} streams can be asked for.")
    positions = {following.conversation_of(key): position or (0, 0) for key, position in wanted.items()}
    return Since(positions, token)


def _moment(token: str | None, now: datetime) -> datetime | None:
    """What the token says; None for everything: without one, or when it is too old."""
    if token is None:
        return None
    version, _, us = token.partition(".")
    if version != _FORM or not (us.isascii() and us.isdigit()) or len(us) > 18:
        raise invalid("token", "This is no token of an earlier answer.")
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(us))
    except OverflowError:
        raise invalid("token", "This is no token of an earlier answer.") from None
    return moment if moment > now - _OLDEST else None


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _shape(row: messages.Row) -> dict[str, Any]:
    return {
        "s": f"c:{row['conversation']}",
        "top": row["top"],
        "epoch": row["epoch"],
        "n": row["unread_count"],
        "mentions": row["mention_count"],
        "last_read_seq": row["last_read_seq"],
        "last": _last(row) if row["id"] is not None else None,
    }


def _last(row: messages.Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "seq": row["seq"],
        "sender_id": str(row["sender_id"]),
        "sender_name": row["display_name"],
        "message_type": row["type"],
        "content": row["content"],
        "created_at": row["created_at"],
        "deleted": row["deleted"],
    }


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def sync(session: "Session", request: Request) -> "Coroutine[Any, Any, object]":
    since = parse(request.data.get("since"), request.data.get("token"))
    return changes(session.context, session.user_id, since)


OPS: dict[str, Handler] = {"sync": sync}
