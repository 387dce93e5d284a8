"""Members of a conversation: who is in, who lets in, who leaves."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, conversations, messages, profiles
from chat_service.domain.hub import Hub
from chat_service.errors import FixedMembers, LastOwner, NoMember, NotManager, invalid


async def add(
    db: AsyncSession,
    hub: Hub,
    me: UUID,
    conversation_id: UUID,
    *,
    user_ids: Sequence[UUID],
    ask: profiles.Ask,
    now: datetime,
) -> None:
    """Lets users in; who is in already stays as he is. Raises NotManager, FixedMembers, Invalid."""
    if await conversations.visible_to(db, me, conversation_id) not in conversations.MANAGERS:
        await _refuse_direct(db, conversation_id)
        raise NotManager
    wanted = list(dict.fromkeys(user_ids))
    present = await profiles.known(db, wanted, ask)
    if any(user_id not in present for user_id in wanted):
        raise invalid("user_ids", "One of the users does not exist.")
    added = await _insert(db, conversation_id, wanted, now)
    if added:
        await db.execute(
            text("UPDATE conversation SET member_count = member_count + :count, updated_at = :now WHERE id = :id"),
            {"count": len(added), "now": now, "id": conversation_id},
        )
        data = {"member_ids": [str(user_id) for user_id in added], "role": "member", "by": str(me)}
        await changes.record(db, hub, conversation_id, "member.added", actor_id=me, data=data, now=now)


async def remove(db: AsyncSession, hub: Hub, me: UUID, conversation_id: UUID, *, user_id: UUID, now: datetime) -> None:
    """Owner and admins remove others, admins no managers; everybody leaves alone, the owner last.

    Raises NoMember, NotManager, FixedMembers, LastOwner.
    """
    role = await conversations.visible_to(db, me, conversation_id)
    await _refuse_direct(db, conversation_id)
    # The lock of the conversation, before that of the member: the order in which sending takes them.
    count = await db.scalar(
        text("SELECT member_count FROM conversation WHERE id = :id FOR UPDATE"), {"id": conversation_id}
    )
    theirs = await db.scalar(
        text("SELECT role FROM member WHERE conversation_id = :id AND user_id = :user FOR UPDATE"),
        {"id": conversation_id, "user": user_id},
    )
    if theirs is None:
        raise NoMember
    if user_id != me and not (role == "owner" or (role == "admin" and theirs == "member")):
        raise NotManager
    if theirs == "owner" and count > 1:
        raise LastOwner
    await db.execute(
        text("DELETE FROM member WHERE conversation_id = :id AND user_id = :user"),
        {"id": conversation_id, "user": user_id},
    )
    await db.execute(
        text("UPDATE conversation SET member_count = member_count - 1, updated_at = :now WHERE id = :id"),
        {"now": now, "id": conversation_id},
    )
    data = {"user_id": str(user_id), "by": str(me)}
    await changes.record(db, hub, conversation_id, "member.removed", actor_id=me, data=data, now=now)


async def listed(
    db: AsyncSession, me: UUID, conversation_id: UUID, *, limit: int, after: UUID | None
) -> list[dict[str, Any]]:
    """In the order of their ids."""
    await conversations.visible_to(db, me, conversation_id)
    rows = await db.execute(
        text(
            "SELECT m.user_id, m.role, m.joined_at, m.last_read_seq, p.username, p.display_name, p.avatar_url"
            " FROM member AS m LEFT JOIN profile AS p ON p.user_id = m.user_id"
            " WHERE m.conversation_id = :id AND m.user_id > :after ORDER BY m.user_id LIMIT :limit"
        ),
        {"id": conversation_id, "after": after or UUID(int=0), "limit": limit},
    )
    return [
        {
            "user": messages.person(row["user_id"], row),
            "role": row["role"],
            "joined_at": row["joined_at"],
            "last_read_seq": row["last_read_seq"],
        }
        for row in rows.mappings()
    ]


def after(cursor: str) -> UUID:
    try:
        return UUID(cursor)
    except ValueError:
        raise invalid("cursor", "This cursor is not valid.") from None


async def _insert(db: AsyncSession, conversation_id: UUID, user_ids: Sequence[UUID], now: datetime) -> list[UUID]:
    await _refuse_direct(db, conversation_id)
    rows: Any = await db.scalars(
        text(
            "WITH held AS MATERIALIZED (SELECT id, message_seq FROM conversation WHERE id = :id FOR UPDATE)"
            " INSERT INTO member (conversation_id, user_id, role, joined_seq, last_read_seq, joined_at)"
            " SELECT held.id, u.id, 'member', held.message_seq, held.message_seq, :now"
            " FROM held, unnest(CAST(:users AS uuid[])) AS u(id)"
            " ON CONFLICT DO NOTHING RETURNING user_id"
        ),
        {"id": conversation_id, "users": user_ids, "now": now},
    )
    return list(rows)


async def _refuse_direct(db: AsyncSession, conversation_id: UUID) -> None:
    kind = await db.scalar(text("SELECT type FROM conversation WHERE id = :id"), {"id": conversation_id})
    if kind == "direct":
        raise FixedMembers
