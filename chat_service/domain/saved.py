"""Messages that somebody has saved, for nobody else to know."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import messages, targets, visibility
from chat_service.domain.context import Context

_SAVE = """
INSERT INTO saved_message (user_id, message_id, conversation_id, saved_at) VALUES (:me, :id, :conversation, :now)
ON CONFLICT DO NOTHING
"""
_LISTED = f"""
SELECT {messages.COLUMNS}, s.saved_at, s.message_id FROM saved_message AS s
JOIN message AS m ON m.conversation_id = s.conversation_id AND m.id = s.message_id
{messages.JOINS} {visibility.mine("$1")}
WHERE s.user_id = $1 AND m.deleted_at IS NULL
    AND ($2::timestamptz IS NULL OR (s.saved_at, s.message_id) < ($2::timestamptz, $3::uuid))
ORDER BY s.saved_at DESC, s.message_id DESC LIMIT $4
"""  # noqa: S608  -- constants


async def save(db: AsyncSession, me: UUID, message_id: UUID, *, now: datetime) -> None:
    """Raises NoMessage, MessageDeleted."""
    row = await targets.find(db, targets.Actor(me), message_id)
    targets.require_alive(row)
    values = {"me": me, "id": message_id, "conversation": row["conversation_id"], "now": now}
    await db.execute(text(_SAVE), values)


async def unsave(db: AsyncSession, me: UUID, message_id: UUID) -> None:
    """Also of what one may not see any more."""
    remove = "DELETE FROM saved_message WHERE user_id = :me AND message_id = :id"
    await db.execute(text(remove), {"me": me, "id": message_id})


async def listed(
    context: Context, me: UUID, *, before: tuple[datetime, UUID] | None, limit: int
) -> list[dict[str, Any]]:
    """The last saved first: those that one may still see. `before`: when and what the last one seen was."""
    at, message_id = before or (None, None)
    rows = await context.lanes.fetch(_LISTED, me, at, message_id, limit)
    return [{"message": messages.shape(row), "saved_at": row["saved_at"]} for row in rows]
