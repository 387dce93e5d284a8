"""The rows of files: whose they are, who may have them, and how much of them anybody has."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import visibility
from chat_service.errors import NoAttachment, QuotaExceeded
from libs.ids import uuid7
from libs.lanes import Lanes

# A row of SQLAlchemy's or of asyncpg's, read by name.
Row = Any

_COLUMNS = "id, name, content_type, kind, size, width, height, thumbnail_key, created_at"
# One's racing uploads wait for each other here: two that fit each, and not both, are counted one after the other.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(CAST({} AS text), 62222))"
# Bytes are counted once for each person, however many of their messages show them.
_USED = (
    "SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT store_key, size FROM attachment WHERE owner_id = {}) AS own"
)
_INSERT = f"""
INSERT INTO attachment
    (id, owner_id, store_key, thumbnail_key, name, content_type, kind, size, width, height, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING {_COLUMNS}
"""  # noqa: S608  -- constants
# Unused it is its owner's alone. Once a message shows it, it is for those who may see this message now.
_VISIBLE = f"""
SELECT {_COLUMNS}, store_key FROM attachment AS a
WHERE a.id = $1 AND a.released_at IS NULL AND CASE WHEN a.message_id IS NULL THEN a.owner_id = $2 ELSE EXISTS (
    SELECT 1 FROM message AS m
    JOIN conversation AS c ON c.id = m.conversation_id
    JOIN member AS me ON me.conversation_id = m.conversation_id AND me.user_id = $2
    WHERE m.conversation_id = a.conversation_id AND m.id = a.message_id
      AND m.deleted_at IS NULL AND c.deleted_at IS NULL AND {visibility.VISIBLE}
      AND NOT EXISTS (SELECT 1 FROM hidden_message AS h WHERE h.user_id = me.user_id
                      AND h.conversation_id = m.conversation_id AND h.message_id = m.id)) END
"""  # noqa: S608  -- constants
_UNUSED = f"""
SELECT {_COLUMNS} FROM attachment
WHERE owner_id = :user AND message_id IS NULL AND released_at IS NULL AND id < :before ORDER BY id DESC LIMIT :limit
"""  # noqa: S608  -- constants
_REMOVE = """
UPDATE attachment SET released_at = :now
WHERE id = :id AND owner_id = :user AND message_id IS NULL AND released_at IS NULL RETURNING id
"""
# In the order in which the message shows them. The lock keeps the bytes until the copies are there.
_OF_MESSAGE = """
SELECT a.store_key, a.thumbnail_key, a.name, a.content_type, a.kind, a.size, a.width, a.height
FROM message AS m
CROSS JOIN LATERAL jsonb_array_elements(m.attachments) WITH ORDINALITY AS shown(file, place)
JOIN attachment AS a ON a.id = CAST(shown.file ->> 'id' AS uuid)
WHERE m.conversation_id = :conversation AND m.id = :message AND m.attachments IS NOT NULL AND a.released_at IS NULL
ORDER BY shown.place FOR SHARE OF a
"""
_COPY = """
INSERT INTO attachment
    (id, owner_id, store_key, thumbnail_key, name, content_type, kind, size, width, height, created_at)
VALUES (:id, :owner, :store_key, :thumbnail_key, :name, :content_type, :kind, :size, :width, :height, :now)
"""
_RELEASE = """
UPDATE attachment SET released_at = :now
WHERE conversation_id = :conversation AND message_id = ANY(CAST(:messages AS uuid[])) AND released_at IS NULL
"""
_RELEASE_CONVERSATION = """
UPDATE attachment SET released_at = :now WHERE conversation_id = :conversation AND released_at IS NULL
"""
_RELEASE_OF = "UPDATE attachment SET released_at = :now WHERE owner_id = :user AND released_at IS NULL"


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies in the store, and what is known of it."""

    key: str
    name: str
    content_type: str
    kind: str
    size: int
    width: int | None = None
    height: int | None = None
    thumbnail_key: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    used: int
    quota: int


def shown(row: Row) -> dict[str, Any]:
    """As messages show it: what is copied into `message.attachments`."""
    url = f"/api/v1/attachments/{row['id']}"
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "content_type": row["content_type"],
        "kind": row["kind"],
        "size": row["size"],
        "width": row["width"],
        "height": row["height"],
        "url": url,
        "thumbnail_url": f"{url}/thumbnail" if row["thumbnail_key"] else None,
    }


async def add(lanes: Lanes, me: UUID, stored: Stored, *, quota: int, now: datetime) -> Row:
    """Raises QuotaExceeded; then the caller takes the bytes away again."""
    async with lanes.transaction() as fetch:
        await fetch(_LOCK.format("$1"), str(me))
        [used] = await fetch(_USED.format("$1"), me)
        _require(used[0] + stored.size, quota)
        what = (stored.key, stored.thumbnail_key, stored.name, stored.content_type, stored.kind, stored.size)
        [row] = await fetch(_INSERT, uuid7(), me, *what, stored.width, stored.height, now)
    return row


async def require_room(lanes: Lanes, me: UUID, size: int, *, quota: int) -> None:
    """Before anything is read. Raises QuotaExceeded."""
    [used] = await lanes.fetch(_USED.format("$1"), me)
    _require(used[0] + size, quota)


def _require(wanted: int, quota: int) -> None:
    if wanted > quota:
        raise QuotaExceeded(extra={"quota": quota})


async def visible(lanes: Lanes, me: UUID, attachment_id: UUID) -> Row:
    """With its `store_key`. Raises NoAttachment for whoever may not have it, whether it exists or not."""
    rows = await lanes.fetch(_VISIBLE, attachment_id, me)
    if not rows:
        raise NoAttachment
    return rows[0]


async def unused(db: AsyncSession, me: UUID, *, before: UUID | None, limit: int) -> Sequence[Row]:
    """What no message shows yet, newest first."""
    values = {"user": me, "before": before or UUID(int=(1 << 128) - 1), "limit": limit}
    return (await db.execute(text(_UNUSED), values)).mappings().all()


async def usage(db: AsyncSession, me: UUID, quota: int) -> Usage:
    return Usage(int(await db.scalar(text(_USED.format(":user")), {"user": me}) or 0), quota)


async def remove(db: AsyncSession, me: UUID, attachment_id: UUID, *, now: datetime) -> None:
    """Of one's own that no message shows. Raises NoAttachment."""
    if await db.scalar(text(_REMOVE), {"id": attachment_id, "user": me, "now": now}) is None:
        raise NoAttachment


async def copy(
    db: AsyncSession, me: UUID, conversation_id: UUID, message_id: UUID, *, quota: int, now: datetime
) -> list[UUID]:
    """Unused files of one's own with the bytes of those of a message, to forward it with. The caller has made sure
    that `me` may see the message. Raises QuotaExceeded: what one forwards stays when the original goes."""
    where = {"conversation": conversation_id, "message": message_id}
    rows = (await db.execute(text(_OF_MESSAGE), where)).mappings().all()
    if not rows:
        return []
    await db.execute(text(_LOCK.format(":user")), {"user": str(me)})
    copies = [{**row, "id": uuid7(), "owner": me, "now": now} for row in rows]
    await db.execute(text(_COPY), copies)
    _require((await usage(db, me, quota)).used, quota)
    return [copied["id"] for copied in copies]


async def release(db: AsyncSession, conversation_id: UUID, message_ids: Sequence[UUID], *, now: datetime) -> None:
    """For messages that are deleted: nobody gets their files any more, and the worker takes away what nobody else
    shows."""
    values = {"conversation": conversation_id, "messages": list(message_ids), "now": now}
    await db.execute(text(_RELEASE), values)


async def release_conversation(db: AsyncSession, conversation_id: UUID, *, now: datetime) -> None:
    await db.execute(text(_RELEASE_CONVERSATION), {"conversation": conversation_id, "now": now})


async def release_of(db: AsyncSession, user_id: UUID, *, now: datetime) -> None:
    """Everything of somebody whose account is gone."""
    await db.execute(text(_RELEASE_OF), {"user": user_id, "now": now})
