"""What a member sets of a conversation for himself alone."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes
from chat_service.domain.hub import Hub
from chat_service.errors import NoConversation

_SET = text(
    """
    UPDATE member SET
        muted_until = CASE WHEN :sets_muted THEN CAST(:muted_until AS timestamptz) ELSE muted_until END,
        notify = coalesce(:notify, notify), touched_at = :now
    WHERE conversation_id = :id AND user_id = :user
    RETURNING muted_until, notify
    """
)


async def change(
    db: AsyncSession, hub: Hub, me: UUID, conversation_id: UUID, *, wanted: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """All preferences as they are then; told to all devices of the member. Raises NoConversation."""
    values = {
        "sets_muted": "muted_until" in wanted,
        "muted_until": wanted.get("muted_until"),
        "notify": wanted.get("notify"),
    }
    row = (await db.execute(_SET, {**values, "id": conversation_id, "user": me, "now": now})).mappings().first()
    if row is None:
        raise NoConversation
    found = {"conversation_id": str(conversation_id), **row}
    changes.after_commit(db, lambda: hub.publish_to_user(me, "conversation.preferences", found))
    return found
