"""Editing a message, and what it said before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, messages, rights, targets
from chat_service.domain.context import Context
from chat_service.domain.messages import Row
from chat_service.domain.windows import said
from chat_service.errors import EditWindowExpired, MessageChanged, NotSender

_KEEP = """
INSERT INTO revision (conversation_id, message_id, version, content, editor_id, written_at)
VALUES (:conversation, :id, :version, :content, :editor, :written)
"""
_CHANGE = """
UPDATE message SET content = :content, importance = :importance, priority = :priority, version = version + 1,
    edited_at = :now
WHERE conversation_id = :conversation AND id = :id
"""
_REVISIONS = """
SELECT r.version, r.content, r.editor_id, r.written_at, p.username, p.display_name, p.avatar_url
FROM (
    SELECT version, content, editor_id, written_at FROM revision
    WHERE conversation_id = :conversation AND message_id = :id
    UNION ALL
    SELECT version, content, sender_id, coalesce(edited_at, created_at) FROM message
    WHERE conversation_id = :conversation AND id = :id AND deleted_at IS NULL
) AS r LEFT JOIN profile AS p ON p.user_id = r.editor_id
WHERE r.version < :below ORDER BY r.version DESC LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class Edit:
    fields: Mapping[str, str]
    """Of `content`, `importance` and `priority` those that change."""
    version: int | None = None
    """The one that the editor has seen."""


async def edit(
    context: Context, db: AsyncSession, me: UUID, message_id: UUID, *, edit: Edit, now: datetime
) -> dict[str, Any]:
    """The message afterwards. Raises NoMessage, NotSender, EditWindowExpired, MessageChanged, MessageDeleted,
    CannotPost, Invalid, Throttled."""
    context.change_allowed(me)
    row = await targets.hold_alive(db, targets.Actor(me), message_id)
    _require_editable(context, row, me, now)
    if edit.version is not None and edit.version != row["version"]:
        raise MessageChanged(extra={"version": row["version"]})
    after = {field: edit.fields.get(field, row[field]) for field in ("content", "importance", "priority")}
    if not (row["attachments"] and not after["content"]):
        messages.check_content(after["content"], context.message_max_bytes)
    where = {"conversation": row["conversation_id"], "id": message_id}
    if all(row[field] == value for field, value in after.items()):
        return await messages.read(db, me, message_id)
    if row["content"] != after["content"]:
        written = row["edited_at"] or row["created_at"]
        before = {"version": row["version"], "content": row["content"], "editor": row["sender_id"], "written": written}
        await db.execute(text(_KEEP), {**where, **before})
    await db.execute(text(_CHANGE), {**where, **after, "now": now})
    about = changes.About(row["conversation_id"], message_id, withheld=row["withheld"])
    return await changes.record_message(db, context.hub, about, "message.edited", actor_id=me, now=now)


def _require_editable(context: Context, row: Row, me: UUID, now: datetime) -> None:
    if row["sender_id"] != me or row["type"] == "system":
        raise NotSender
    targets.require_voice(row)
    window = context.edit_seconds
    if now - row["created_at"] > timedelta(seconds=window) and not rights.may_edit_late(row["role"]):
        raise EditWindowExpired(f"Messages can only be edited within {said(window)}.")


async def revisions(db: AsyncSession, me: UUID, message_id: UUID, *, below: int, limit: int) -> list[dict[str, Any]]:
    """What it says and said, newest first; of a deleted message nothing. Raises NoMessage."""
    row = await targets.find(db, targets.Actor(me), message_id)
    if row["deleted_at"] is not None:
        return []
    values = {"conversation": row["conversation_id"], "id": message_id, "below": below, "limit": limit}
    found = await db.execute(text(_REVISIONS), values)
    return [
        {
            "version": each["version"],
            "content": each["content"],
            "editor": messages.person(each["editor_id"], each),
            "written_at": each["written_at"],
        }
        for each in found.mappings()
    ]
