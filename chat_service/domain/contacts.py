"""Contacts: the people whose request one accepted, and those who accepted one's own."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import messages

_LISTED = text(
    """
    SELECT i.id AS interest_id, i.responded_at AS since, d.conversation_id,
        p.user_id, p.username, p.display_name, p.avatar_url
    FROM interest AS i
    JOIN profile AS p ON p.user_id = CASE WHEN i.from_user_id = :me THEN i.to_user_id ELSE i.from_user_id END
    LEFT JOIN direct_pair AS d ON d.user_low = least(i.from_user_id, i.to_user_id)
        AND d.user_high = greatest(i.from_user_id, i.to_user_id)
    WHERE (i.from_user_id = :me OR i.to_user_id = :me) AND i.status = 'accepted'
        AND (CAST(:after AS uuid) IS NULL OR i.id < :after)
    ORDER BY i.id DESC LIMIT :limit
    """
)


async def listed(db: AsyncSession, me: UUID, *, limit: int, after: UUID | None) -> list[dict[str, Any]]:
    """By when they were asked, newest first; `after` is the request of the last one seen."""
    rows = await db.execute(_LISTED, {"me": me, "limit": limit, "after": after})
    return [
        {
            "user": messages.person(row["user_id"], row),
            "since": row["since"],
            "interest_id": row["interest_id"],
            "conversation_id": row["conversation_id"],
        }
        for row in rows.mappings()
    ]
