"""Of whom auth has erased nothing stays here but an id: no name, no word, no file. Messages keep their numbers
and are empty."""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import attachments, changes, flags, forgetting, sightings
from libs.clock import Clock
from libs.contracts.accounts import UserDeleted
from libs.contracts.events import Event
from libs.db import Database

_CHUNK = 2000
_FIRST = UUID(int=0)

# The version that no later profile exceeds.
_FORGET_NAME = """
UPDATE profile SET username = 'deleted', display_name = 'Deleted account', first_name = '', last_name = '',
    email = NULL, avatar_url = NULL, privacy = '{}', erased = true, version = 9223372036854775807
WHERE user_id = :user
"""
_ASK = "INSERT INTO erasure (user_id, done_to, asked_at) VALUES (:user, :first, :now) ON CONFLICT DO NOTHING"
_NEXT = "SELECT user_id, done_to FROM erasure ORDER BY asked_at, user_id LIMIT 1 FOR UPDATE SKIP LOCKED"
_MEMBERSHIP = """
SELECT m.conversation_id, c.type, m.role FROM member AS m JOIN conversation AS c ON c.id = m.conversation_id
WHERE m.user_id = :user AND (c.type <> 'direct' OR c.status = 'active')
ORDER BY m.conversation_id LIMIT 1 FOR UPDATE OF c
"""
# In turn, for nothing leads from people to what they wrote, and not even they stay members of where they wrote it.
_LEFT_TRACES = """
SELECT c.id, EXISTS (SELECT 1 FROM message WHERE conversation_id = c.id AND sender_id = :user)
    OR EXISTS (SELECT 1 FROM reaction WHERE conversation_id = c.id AND user_id = :user)
    OR EXISTS (
        SELECT 1 FROM message WHERE conversation_id = c.id AND forwarded_from IS NOT NULL
            AND forwarded_from -> 'sender' ->> 'id' = CAST(CAST(:user AS uuid) AS text)
    ) AS traces
FROM (SELECT id FROM conversation WHERE id > :after ORDER BY id LIMIT :chunk) AS c
ORDER BY c.id
"""
_HOLD = "SELECT id FROM conversation WHERE id = :id FOR UPDATE"
_EMPTY = """
UPDATE message SET content = '', attachments = NULL, mentions = NULL, forwarded_from = NULL
WHERE conversation_id = :id AND sender_id = :user
  AND (content <> '' OR attachments IS NOT NULL OR mentions IS NOT NULL OR forwarded_from IS NOT NULL)
"""
_CLOSE = f"""
UPDATE conversation SET status = 'closed', version = version + 1, updated_at = :now WHERE id = :id
RETURNING {flags.COLUMNS}, version
"""  # noqa: S608  -- constants
_LEAVE = "DELETE FROM member WHERE conversation_id = :id AND user_id = :user"
_ONE_LESS = "UPDATE conversation SET member_count = member_count - 1, updated_at = :now WHERE id = :id"
_INHERIT = """
UPDATE member SET role = 'owner' WHERE conversation_id = :id AND user_id = (
    SELECT user_id FROM member WHERE conversation_id = :id ORDER BY
        array_position(ARRAY['admin', 'moderator', 'member', 'guest', 'read_only'], role), joined_at, user_id LIMIT 1)
RETURNING user_id
"""

log = structlog.get_logger()


async def on_deleted(db: AsyncSession, data: UserDeleted, event: Event) -> None:
    """The name goes at once; what may be much is left to the worker."""
    user_id = data.user_id
    await db.execute(text(_FORGET_NAME), {"user": user_id})
    await forgetting.own(db, user_id)
    await sightings.forget(db, user_id)
    await attachments.release_of(db, user_id, now=event.occurred_at)
    await db.execute(text(_ASK), {"user": user_id, "first": _FIRST, "now": event.occurred_at})


async def work(database: Database, clock: Clock) -> None:
    """One turn of the worker: in small transactions, so that nobody who writes has to wait."""
    while await _step(database, clock):
        pass


async def _step(database: Database, clock: Clock) -> bool:
    async with database.transaction() as db:
        asked = (await db.execute(text(_NEXT))).first()
        if asked is None:
            return False
        if not await _leave_one(db, asked.user_id, now=clock.now()):
            await _empty_some(db, asked.user_id, asked.done_to, now=clock.now())
    return True


async def _leave_one(db: AsyncSession, user_id: UUID, *, now: datetime) -> bool:
    """Whether there was a conversation to leave. Of two people one is left, who can read and not write."""
    found = (await db.execute(text(_MEMBERSHIP), {"user": user_id})).first()
    if found is None:
        return False
    where = {"id": found.conversation_id}
    by = str(user_id)
    if found.type == "direct":
        row = (await db.execute(text(_CLOSE), {**where, "now": now})).mappings().one()
        data = {**row, "by": by}
        await changes.note(db, found.conversation_id, "conversation.changed", actor_id=user_id, data=data, now=now)
        return True
    await db.execute(text(_LEAVE), {**where, "user": user_id})
    await db.execute(text(_ONE_LESS), {**where, "now": now})
    data = {"user_id": by, "by": by}
    await changes.note(db, found.conversation_id, "member.removed", actor_id=user_id, data=data, now=now)
    heir = await db.scalar(text(_INHERIT), where) if found.role == "owner" else None
    if heir is not None:
        data = {"user_id": str(heir), "role": "owner", "by": by}
        await changes.note(db, found.conversation_id, "member.changed", actor_id=user_id, data=data, now=now)
    return True


async def _empty_some(db: AsyncSession, user_id: UUID, after: UUID, *, now: datetime) -> None:
    rows = (await db.execute(text(_LEFT_TRACES), {"user": user_id, "after": after, "chunk": _CHUNK})).all()
    for row in rows:
        if row.traces:
            await db.execute(text(_HOLD), {"id": row.id})
            await db.execute(text(_EMPTY), {"id": row.id, "user": user_id})
            await forgetting.in_conversation(db, row.id, user_id)
            data = {"sender_id": str(user_id)}
            await changes.note(db, row.id, "messages.erased", actor_id=user_id, data=data, now=now)
    if len(rows) < _CHUNK:
        # Once more: an upload may have ended after the first time.
        await attachments.release_of(db, user_id, now=now)
        await db.execute(text("DELETE FROM erasure WHERE user_id = :user"), {"user": user_id})
        log.info("messages_erased", user_id=str(user_id))
    else:
        done = {"user": user_id, "to": rows[-1].id}
        await db.execute(text("UPDATE erasure SET done_to = :to WHERE user_id = :user"), done)
