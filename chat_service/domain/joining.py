"""Conversations that anybody may find and join."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, members, rights
from chat_service.domain.hub import Hub
from chat_service.errors import NoConversation, TooManyMembers
from libs import audits

_OPEN = "NOT is_private AND deleted_at IS NULL AND type <> 'direct' AND status <> 'closed'"
_LISTED = text(
    f"""
    SELECT id, number, type AS conversation_type, name, description, image_url, member_count, created_at
    FROM conversation WHERE {_OPEN} AND number < :before AND starts_with(lower(name), lower(:prefix))
    ORDER BY number DESC LIMIT :limit
    """  # noqa: S608  -- constants
)
_HOLD = text(f"SELECT member_count FROM conversation WHERE id = :id AND {_OPEN} FOR UPDATE")  # noqa: S608  -- constants
_IN = text("SELECT 1 FROM member WHERE conversation_id = :id AND user_id = :user")
_NEWEST = (1 << 63) - 1


async def listed(db: AsyncSession, *, prefix: str, limit: int, before: int | None) -> list[Any]:
    """Newest first; `before` is the number of the last one seen."""
    values = {"prefix": prefix, "limit": limit, "before": _NEWEST if before is None else before}
    return list((await db.execute(_LISTED, values)).all())


async def join(db: AsyncSession, hub: Hub, me: UUID, conversation_id: UUID, *, most: int, now: datetime) -> None:
    """Who is in already stays as before. Raises NoConversation for what is private, TooManyMembers."""
    where = {"id": conversation_id, "user": me}
    if await db.scalar(_IN, where):
        return
    count = await db.scalar(_HOLD, where)
    if count is None:
        raise NoConversation
    if count >= most:
        raise TooManyMembers
    if await members.let_in(db, conversation_id, [me], role=rights.MEMBER, now=now):
        data = {"member_ids": [str(me)], "role": rights.MEMBER, "by": str(me)}
        await changes.record(db, hub, conversation_id, "member.added", actor_id=me, data=data, now=now)
        await audits.tell(db, "member.joined", me, me, now=now, conversation=conversation_id)
