"""Where in a conversation somebody wants to look: at a message that a search found, or at the first that is unread."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import visibility
from chat_service.domain.visibility import Sight
from chat_service.errors import NoMessage

_MESSAGE = text(
    "SELECT m.seq FROM message AS m WHERE m.conversation_id = :conversation AND m.id = :id AND m.seq > :floor"  # noqa: S608  -- constants
    f" AND NOT {visibility.HIDDEN}"
)
_FIRST_UNREAD = text(
    "SELECT m.seq FROM member AS me CROSS JOIN LATERAL ("  # noqa: S608  -- constants
    " SELECT m.seq FROM message AS m WHERE m.conversation_id = me.conversation_id"
    " AND m.seq > greatest(me.last_read_seq, CAST(:floor AS bigint)) AND NOT m.uncounted"
    f" AND NOT {visibility.HIDDEN} ORDER BY m.seq LIMIT 1"
    ") AS m WHERE me.conversation_id = :conversation AND me.user_id = :user"
)


async def of_message(db: AsyncSession, sight: Sight, message_id: UUID) -> int:
    """Its number. Raises NoMessage for what is not there for this reader."""
    seq: int | None = await db.scalar(_MESSAGE, {**_values(sight), "id": message_id})
    if seq is None:
        raise NoMessage
    return seq


async def first_unread(db: AsyncSession, sight: Sight) -> int | None:
    """None when everything is read."""
    seq: int | None = await db.scalar(_FIRST_UNREAD, _values(sight))
    return seq


def _values(sight: Sight) -> dict[str, object]:
    return {"conversation": sight.conversation_id, "user": sight.user_id, "floor": sight.above}
