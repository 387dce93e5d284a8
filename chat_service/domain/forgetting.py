"""What there is of somebody beside their messages, forgotten when the account is gone."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# What they asked, blocked and kept is theirs; a report stays, and nobody knows any more who made it.
_OWN = (
    text("DELETE FROM interest WHERE from_user_id = :user"),
    text("DELETE FROM interest WHERE to_user_id = :user"),
    text("DELETE FROM block WHERE user_id = :user"),
    text("DELETE FROM block WHERE blocked_id = :user"),
    text("DELETE FROM saved_message WHERE user_id = :user"),
    text("DELETE FROM hidden_message WHERE user_id = :user"),
    text("DELETE FROM thread_member WHERE user_id = :user"),
    text("DELETE FROM mention WHERE user_id = :user"),
    text("DELETE FROM invisible WHERE user_id = :user"),
    text("DELETE FROM idempotency_key WHERE owner_id = :user"),
    text("UPDATE report SET reporter_id = gen_random_uuid(), comment = '' WHERE reporter_id = :user"),
    text("UPDATE report SET snapshot = '{}' WHERE snapshot -> 'message' -> 'sender' ->> 'id' = CAST(:user AS text)"),
)
_REVISIONS = text(
    "DELETE FROM revision AS r USING message AS m WHERE r.conversation_id = :id AND m.conversation_id = :id"
    " AND m.id = r.message_id AND m.sender_id = :user"
)
_REACTIONS = text(
    """
    WITH gone AS (
        DELETE FROM reaction WHERE conversation_id = :id AND user_id = :user RETURNING message_id
    ),
    kept AS (
        SELECT g.message_id, (
            SELECT jsonb_object_agg(emoji, people) FROM (
                SELECT emoji, count(*) AS people FROM reaction
                WHERE conversation_id = :id AND message_id = g.message_id AND user_id <> :user GROUP BY emoji
            ) AS r) AS reactions
        FROM (SELECT DISTINCT message_id FROM gone) AS g
    )
    UPDATE message AS m SET reactions = kept.reactions FROM kept
    WHERE m.conversation_id = :id AND m.id = kept.message_id
    """
)
# A forwarded message is of who forwarded it; the name that it shows is not.
_NAMES = text(
    """
    UPDATE message SET forwarded_from = jsonb_set(forwarded_from, '{sender}', jsonb_build_object(
        'id', CAST(:user AS text), 'username', 'deleted', 'display_name', 'Deleted account', 'avatar_url', NULL))
    WHERE conversation_id = :id AND forwarded_from IS NOT NULL
        AND forwarded_from -> 'sender' ->> 'id' = CAST(:user AS text)
    """
)


async def own(db: AsyncSession, user_id: UUID) -> None:
    """What is found by the user."""
    for statement in _OWN:
        await db.execute(statement, {"user": user_id} if "CAST" not in statement.text else {"user": str(user_id)})


async def in_conversation(db: AsyncSession, conversation_id: UUID, user_id: UUID) -> None:
    """What is found by the conversation, whose row is locked."""
    where = {"id": conversation_id, "user": user_id}
    await db.execute(_REVISIONS, where)
    await db.execute(_REACTIONS, where)
    await db.execute(_NAMES, {**where, "user": str(user_id)})
