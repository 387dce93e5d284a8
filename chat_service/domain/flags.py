"""What managers set of a conversation: its name, and what may be done in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, conversations, rights, typing
from chat_service.domain.hub import Hub
from chat_service.errors import NotManager, StaleVersion, VersionConflict
from libs import audits

# All of them are in every event that tells of a change.
FLAGS = (
    "name",
    "description",
    "image_url",
    "status",
    "is_private",
    "allow_file_sharing",
    "allow_voice_messages",
    "history",
    "slow_seconds",
)
COLUMNS = ", ".join(FLAGS)

_LOCKED = text(f"SELECT version, {COLUMNS} FROM conversation WHERE id = :id FOR UPDATE")  # noqa: S608  -- constants
_SET = text(
    f"UPDATE conversation SET {', '.join(f'{flag} = :{flag}' for flag in FLAGS)},"  # noqa: S608  -- constants
    " version = version + 1, updated_at = :now WHERE id = :id"
)


@dataclass(frozen=True, slots=True)
class Change:
    fields: Mapping[str, Any]
    version: int | None = None
    if_match: str | None = None


async def change(
    db: AsyncSession, hub: Hub, me: UUID, conversation_id: UUID, *, change: Change, now: datetime
) -> dict[str, Any]:
    """Raises NotManager, VersionConflict for a stale `version`, StaleVersion for a stale If-Match."""
    if not rights.may_manage(await conversations.visible_to(db, me, conversation_id)):
        raise NotManager
    row = (await db.execute(_LOCKED, {"id": conversation_id})).mappings().one()
    _require_newest(change, row["version"])
    changed = sorted(field for field, value in change.fields.items() if row[field] != value)
    if changed:
        after = {**{flag: row[flag] for flag in FLAGS}, **change.fields}
        await db.execute(_SET, {**after, "now": now, "id": conversation_id})
        data = {**after, "version": row["version"] + 1, "by": str(me)}
        await changes.record(db, hub, conversation_id, "conversation.changed", actor_id=me, data=data, now=now)
        changes.after_commit(db, partial(typing.forget_everywhere, hub, conversation_id))
        await audits.tell(db, "conversation.changed", me, now=now, conversation=conversation_id, fields=changed)
    return await conversations.read(db, me, conversation_id)


def etag(version: int) -> str:
    return f'"{version}"'


def _require_newest(change: Change, version: int) -> None:
    if change.if_match is not None and not _matches(change.if_match, etag(version)):
        raise StaleVersion(headers={"ETag": etag(version)})
    if change.version is not None and change.version != version:
        raise VersionConflict(extra={"version": version})


def _matches(if_match: str, tag: str) -> bool:
    return if_match.strip() == "*" or tag in (part.strip() for part in if_match.split(","))
