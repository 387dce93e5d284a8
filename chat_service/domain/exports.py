"""A copy of what somebody has in chat, a line each, read piece by piece: it may be long, and is never held whole."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncSession

from libs import audits
from libs.clock import Clock
from libs.errors import RateLimited, Unavailable
from libs.lanes import Lanes

SECONDS_BETWEEN = 3600
_AT_ONCE = 500
_FIRST = UUID(int=0)

# Each by a key that only grows. `$1` is whose copy it is, `$2` the key of the last row.
_SECTIONS = {
    "profile": """
        SELECT user_id AS key, jsonb_build_object('user_id', user_id, 'number', number, 'username', username,
            'first_name', first_name, 'last_name', last_name, 'email', email, 'avatar_url', avatar_url,
            'direct_messages', direct_messages, 'privacy', privacy) AS line
        FROM profile WHERE user_id = $1 AND user_id > $2 LIMIT $3
    """,
    "conversation": """
        SELECT c.id AS key, jsonb_build_object('id', c.id, 'number', c.number, 'conversation_type', c.type,
            'name', c.name, 'description', c.description, 'created_at', c.created_at, 'role', m.role,
            'joined_at', m.joined_at, 'muted_until', m.muted_until, 'notify', m.notify,
            'last_read_seq', m.last_read_seq) AS line
        FROM member AS m JOIN conversation AS c ON c.id = m.conversation_id
        WHERE m.user_id = $1 AND c.id > $2 ORDER BY c.id LIMIT $3
    """,
    "interest": """
        SELECT id AS key, to_jsonb(i) AS line FROM interest AS i
        WHERE $1 IN (from_user_id, to_user_id) AND id > $2 ORDER BY id LIMIT $3
    """,
    "block": """
        SELECT blocked_id AS key, jsonb_build_object('user_id', blocked_id, 'created_at', created_at) AS line
        FROM block WHERE user_id = $1 AND blocked_id > $2 ORDER BY blocked_id LIMIT $3
    """,
    "saved_message": """
        SELECT message_id AS key, jsonb_build_object('message_id', message_id, 'conversation_id', conversation_id,
            'saved_at', saved_at) AS line
        FROM saved_message WHERE user_id = $1 AND message_id > $2 ORDER BY message_id LIMIT $3
    """,
    "attachment": """
        SELECT id AS key, jsonb_build_object('id', id, 'name', name, 'content_type', content_type, 'size', size,
            'conversation_id', conversation_id, 'message_id', message_id, 'created_at', created_at) AS line
        FROM attachment WHERE owner_id = $1 AND id > $2 ORDER BY id LIMIT $3
    """,
    "report": """
        SELECT id AS key, jsonb_build_object('id', id, 'message_id', message_id, 'reason', reason,
            'comment', comment, 'status', status, 'created_at', created_at) AS line
        FROM report WHERE reporter_id = $1 AND id > $2 ORDER BY id LIMIT $3
    """,
}
# Nothing leads from people to what they wrote, and they may have left where they wrote it.
_CONVERSATIONS = "SELECT id FROM conversation WHERE id > $1 ORDER BY id LIMIT 2000"
_WROTE = """
SELECT w.id FROM unnest($2::uuid[]) AS w(id)
WHERE EXISTS (SELECT 1 FROM message WHERE conversation_id = w.id AND sender_id = $1)
    OR EXISTS (SELECT 1 FROM member WHERE conversation_id = w.id AND user_id = $1)
ORDER BY w.id
"""
# In the order of the index that finds them: `seq` has that of the conversation.
_MESSAGES = """
SELECT client_msg_id AS key, jsonb_build_object('id', id, 'conversation_id', conversation_id, 'seq', seq,
    'message_type', type, 'content', content, 'reply_to', reply_to, 'thread_root_id', thread_root_id,
    'importance', importance, 'attachments', attachments, 'created_at', created_at, 'edited_at', edited_at,
    'deleted_at', deleted_at, 'earlier', (
        SELECT jsonb_agg(jsonb_build_object('content', r.content, 'written_at', r.written_at) ORDER BY r.version)
        FROM revision AS r WHERE r.conversation_id = m.conversation_id AND r.message_id = m.id)) AS line
FROM message AS m
WHERE conversation_id = $4 AND sender_id = $1 AND client_msg_id > $2 ORDER BY client_msg_id LIMIT $3
"""
_REACTIONS = """
SELECT message_id AS key, jsonb_build_object('conversation_id', conversation_id, 'message_id', message_id,
    'emojis', jsonb_agg(emoji ORDER BY emoji), 'created_at', min(created_at)) AS line
FROM reaction WHERE conversation_id = $4 AND user_id = $1 AND message_id > $2
GROUP BY conversation_id, message_id ORDER BY message_id LIMIT $3
"""


async def begin(db: AsyncSession, redis: Redis, user_id: UUID, clock: Clock) -> None:
    """Once an hour. Raises RateLimited, Unavailable."""
    key = f"export:{user_id}"
    try:
        if not await redis.set(key, b"", nx=True, ex=SECONDS_BETWEEN):
            raise RateLimited(max(1, await redis.ttl(key)))
    except (RedisError, OSError) as error:
        raise Unavailable from error
    await audits.tell(db, "export.downloaded", user_id, user_id, now=clock.now())


async def lines(lanes: Lanes, user_id: UUID) -> AsyncIterator[bytes]:
    """JSON, one object a line; the last one counts those before it: without it, the copy is cut off."""
    count = 0
    async for chunk, rows in _chunks(lanes, user_id):
        yield chunk
        count += rows
    yield b'{"kind":"end","lines":%d}\n' % count


async def _chunks(lanes: Lanes, user_id: UUID) -> AsyncIterator[tuple[bytes, int]]:
    for kind, statement in _SECTIONS.items():
        async for chunk in _paged(lanes, kind, statement, user_id):
            yield chunk
    after = _FIRST
    while found := [row["id"] for row in await lanes.fetch(_CONVERSATIONS, after)]:
        after = found[-1]
        for row in await lanes.fetch(_WROTE, user_id, found):
            for kind, statement in (("message", _MESSAGES), ("reaction", _REACTIONS)):
                async for chunk in _paged(lanes, kind, statement, user_id, row["id"]):
                    yield chunk


async def _paged(
    lanes: Lanes, kind: str, statement: str, user_id: UUID, *where: UUID
) -> AsyncIterator[tuple[bytes, int]]:
    after = _FIRST
    while rows := await lanes.fetch(statement, user_id, after, _AT_ONCE, *where):
        yield _written(kind, [row["line"] for row in rows]), len(rows)
        after = rows[-1]["key"]
        if len(rows) < _AT_ONCE:
            return


def _written(kind: str, rows: Sequence[str]) -> bytes:
    return "".join(f'{{"kind":"{kind}","data":{row}}}\n' for row in rows).encode()
