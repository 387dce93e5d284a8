"""The message that somebody wants to do something with: found, and held so that nobody else changes it meanwhile."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import rights, visibility
from chat_service.domain.messages import Row
from chat_service.errors import CannotPost, MessageDeleted, NoMessage

# The conversation first, in a statement of its own: only the next one sees what was changed while this one waited.
_LOCK = """
SELECT id FROM conversation AS c
WHERE c.id = (SELECT conversation_id FROM message WHERE id = :id LIMIT 1) AND c.deleted_at IS NULL
    AND (:staff OR EXISTS (SELECT 1 FROM member WHERE conversation_id = c.id AND user_id = :me))
FOR UPDATE
"""
_FIND = f"""
SELECT m.*, c.type AS conversation_type, c.status, c.created_by, me.role, coalesce(me.barred, false) AS barred,
       {visibility.WITHHELD} AS withheld
FROM message AS m JOIN conversation AS c ON c.id = m.conversation_id
LEFT JOIN member AS me ON me.conversation_id = c.id AND me.user_id = :me
WHERE m.id = :id AND c.deleted_at IS NULL AND (:staff OR (me.user_id IS NOT NULL AND {visibility.VISIBLE}))
"""  # noqa: S608  -- constants


@dataclass(frozen=True, slots=True)
class Actor:
    user_id: UUID
    is_staff: bool = False
    """Finds messages of conversations that they are not in."""


async def find(db: AsyncSession, actor: Actor, message_id: UUID) -> Row:
    """The message with `role` of the actor, null for staff from outside. Raises NoMessage."""
    values = {"id": message_id, "me": actor.user_id, "staff": actor.is_staff}
    row = (await db.execute(text(_FIND), values)).mappings().first()
    if row is None:
        raise NoMessage
    return row


async def hold(db: AsyncSession, actor: Actor, message_id: UUID) -> Row:
    """The same, and nobody else changes anything in the conversation until the commit."""
    values = {"id": message_id, "me": actor.user_id, "staff": actor.is_staff}
    await db.execute(text(_LOCK), values)
    return await find(db, actor, message_id)


async def hold_alive(db: AsyncSession, actor: Actor, message_id: UUID) -> Row:
    """The same for what makes no sense with a message that is deleted. Raises MessageDeleted."""
    row = await hold(db, actor, message_id)
    require_alive(row)
    return row


def require_alive(row: Row) -> None:
    if row["deleted_at"] is not None:
        raise MessageDeleted


def require_voice(row: Row) -> None:
    """Whoever may not write changes nothing that others read. Raises CannotPost."""
    if row["status"] != "active" or row["barred"] or not rights.may_post(row["role"], row["conversation_type"]):
        raise CannotPost
