"""The end of a conversation: from now on nobody is in it, so nobody finds it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import attachments, changes, rights, visibility
from chat_service.domain.hub import Hub
from chat_service.errors import NotManager
from libs import audits

# Outsiders hold nobody up.
_LOCK = """
SELECT id FROM conversation AS c
WHERE id = :id AND EXISTS (SELECT 1 FROM member WHERE conversation_id = c.id AND user_id = :me) FOR UPDATE
"""
_END = """
UPDATE conversation SET deleted_at = :now, status = 'closed', member_count = 0, version = version + 1, updated_at = :now
WHERE id = :id
"""
_LEAVE = "DELETE FROM member WHERE conversation_id = :id RETURNING user_id"
_FORGET = ("DELETE FROM pin WHERE conversation_id = :id", "DELETE FROM thread_member WHERE conversation_id = :id")


async def remove(db: AsyncSession, hub: Hub, me: UUID, conversation_id: UUID, *, now: datetime) -> None:
    """Raises NoConversation, NotManager."""
    await db.execute(text(_LOCK), {"id": conversation_id, "me": me})
    sight = await visibility.sight(db, me, conversation_id)
    if sight.conversation_type == "direct" or not rights.may_manage(sight.role):
        raise NotManager
    data = {"by": str(me)}
    await changes.record(db, hub, conversation_id, "conversation.deleted", actor_id=me, data=data, now=now)
    await db.execute(text(_END), {"id": conversation_id, "now": now})
    people = list(await db.scalars(text(_LEAVE), {"id": conversation_id}))
    for statement in _FORGET:
        await db.execute(text(statement), {"id": conversation_id})
    await attachments.release_conversation(db, conversation_id, now=now)
    await audits.tell(db, "conversation.deleted", me, now=now, conversation=conversation_id)

    def announce() -> None:
        for user_id in people:
            hub.publish_to_user(user_id, "conversation.left", {"conversation_id": str(conversation_id)})

    changes.after_commit(db, announce)
