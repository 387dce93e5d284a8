"""Deleting a message: for everybody, which leaves its number and nothing else, or for oneself alone."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import attachments, changes, rights, targets
from chat_service.domain.context import Context
from chat_service.domain.hub import Hub
from chat_service.domain.messages import Row
from chat_service.domain.windows import said
from chat_service.errors import DeleteWindowExpired, NotDeletable
from libs import audits

_EMPTY = """
UPDATE message SET content = '', attachments = NULL, mentions = NULL, forwarded_from = NULL, reactions = NULL,
    uncounted = true, deleted_at = :now, version = version + 1
WHERE conversation_id = :conversation AND id = :id
"""
_FORGET = (
    "DELETE FROM pin WHERE conversation_id = :conversation AND message_id = :id",
    "DELETE FROM reaction WHERE conversation_id = :conversation AND message_id = :id",
    "DELETE FROM revision WHERE conversation_id = :conversation AND message_id = :id",
    "DELETE FROM saved_message WHERE message_id = :id",
)
# By person, for that is how these rows are found.
_FORGET_MENTIONS = """
DELETE FROM mention WHERE conversation_id = :conversation AND seq = :seq
    AND user_id IN (SELECT user_id FROM member WHERE conversation_id = :conversation)
"""
_FORGET_REPORTS = "UPDATE report SET snapshot = '{}' WHERE message_id = :id"
_HIDE = """
WITH touched AS (
    UPDATE member SET touched_at = CAST(:now AS timestamptz) WHERE conversation_id = :conversation AND user_id = :me
)
INSERT INTO hidden_message (user_id, conversation_id, message_id, hidden_at)
VALUES (:me, :conversation, :id, CAST(:now AS timestamptz)) ON CONFLICT DO NOTHING RETURNING message_id
"""


async def delete(
    context: Context, db: AsyncSession, actor: targets.Actor, message_id: UUID, *, hard: bool = False, now: datetime
) -> None:
    """`hard`: not even the copies that reports hold stay. Twice is as once.

    Raises NoMessage, NotDeletable, DeleteWindowExpired, Throttled.
    """
    context.change_allowed(actor.user_id)
    row = await targets.hold(db, actor, message_id)
    as_staff = _require_deletable(context, row, actor, hard=hard, now=now)
    where = {"conversation": row["conversation_id"], "id": message_id}
    if hard:
        await db.execute(text(_FORGET_REPORTS), {"id": message_id})
    if row["deleted_at"] is None:
        await _empty(db, row, now)
        about = changes.About(row["conversation_id"], message_id)
        await changes.record_message(db, context.hub, about, "message.deleted", actor_id=actor.user_id, now=now)
    elif not hard:
        return
    if as_staff or hard or row["sender_id"] != actor.user_id:
        about_it = {"conversation_id": where["conversation"], "message_id": message_id, "hard": hard}
        await audits.tell(db, "message.deleted", actor.user_id, row["sender_id"], now=now, **about_it)


async def _empty(db: AsyncSession, row: Row, now: datetime) -> None:
    where = {"conversation": row["conversation_id"], "id": row["id"]}
    await db.execute(text(_EMPTY), {**where, "now": now})
    for statement in _FORGET:
        bound = where if ":conversation" in statement else {"id": row["id"]}
        await db.execute(text(statement), bound)
    if row["mentions"]:
        await db.execute(text(_FORGET_MENTIONS), {"conversation": where["conversation"], "seq": row["seq"]})
    if row["attachments"]:
        await attachments.release(db, row["conversation_id"], [row["id"]], now=now)


def _require_deletable(context: Context, row: Row, actor: targets.Actor, *, hard: bool, now: datetime) -> bool:
    """Whether it took the rights of staff."""
    me, role = actor.user_id, row["role"]
    if hard and not actor.is_staff:
        raise NotDeletable("Only staff may delete beyond recovery.")
    is_creator = row["created_by"] == me
    if role is not None and rights.may_delete_others(role, row["conversation_type"], is_creator=is_creator):
        return False
    mine = role is not None and row["sender_id"] == me
    window = context.delete_seconds
    if mine and now - row["created_at"] <= timedelta(seconds=window):
        return False
    if actor.is_staff:
        return True
    raise DeleteWindowExpired(f"Messages can only be deleted within {said(window)}.") if mine else NotDeletable


async def hide(db: AsyncSession, hub: Hub, me: UUID, message_id: UUID, *, now: datetime) -> None:
    """From one's own devices alone. Raises NoMessage."""
    row = await targets.find(db, targets.Actor(me), message_id)
    values = {"me": me, "conversation": row["conversation_id"], "id": message_id, "now": now}
    await db.execute(text(_HIDE), values)
    data = {"conversation_id": str(row["conversation_id"]), "message_id": str(message_id)}
    changes.after_commit(db, lambda: hub.publish_to_user(me, "message.hidden", data))
