"""Conversations: making, finding and changing them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, messages, profiles
from chat_service.domain.hub import Hub
from chat_service.errors import NoConversation, NotManager, StaleVersion, VersionConflict, invalid
from libs.ids import uuid7

MANAGERS = ("owner", "admin")
SHOWN_IN_LIST = 10
SHOWN_ALONE = 100

_SELECT = f"""
SELECT c.id AS conversation, c.number, c.type AS conversation_type, c.name, c.description, c.image_url, c.status,
       c.version, c.member_count, c.event_seq AS top, c.epoch, c.created_by, c.created_at AS made_at, c.updated_at,
       coalesce(c.last_message_at, c.created_at) AS active_at,
       me.role, me.last_read_seq, greatest(c.message_seq - me.last_read_seq, 0) AS unread_count, {messages.COLUMNS}
FROM member AS me JOIN conversation AS c ON c.id = me.conversation_id
LEFT JOIN message AS m ON m.conversation_id = c.id AND m.seq = c.message_seq {messages.JOINS}
WHERE me.user_id = :user
"""  # noqa: S608  -- constants
_PEOPLE = """
SELECT w.id AS conversation, p.*, m.role
FROM unnest(CAST(:ids AS uuid[])) AS w(id)
CROSS JOIN LATERAL (
    SELECT user_id, role, joined_at FROM member WHERE conversation_id = w.id ORDER BY joined_at, user_id LIMIT :shown
) AS m
JOIN profile AS p ON p.user_id = m.user_id
ORDER BY w.id, m.joined_at, m.user_id
"""


@dataclass(frozen=True, slots=True)
class Change:
    fields: Mapping[str, str]
    version: int | None = None
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class New:
    kind: str
    participants: Sequence[UUID]
    name: str = ""
    description: str = ""


async def create(
    db: AsyncSession, hub: Hub, me: UUID, new: New, *, ask: profiles.Ask, now: datetime
) -> tuple[dict[str, Any], bool]:
    """The conversation, and whether it is new: two people have one direct conversation, however often it is made."""
    others = list(dict.fromkeys(p for p in new.participants if p != me))
    if new.kind == "direct" and len(others) != 1:
        raise invalid("participants", "A direct conversation has exactly one other participant.")
    present = await profiles.known(db, [me, *others], ask)
    if any(other not in present for other in others):
        raise invalid("participants", "One of the participants does not exist.")
    conversation_id = uuid7()
    if new.kind == "direct":
        existing = await _pair(db, me, others[0], conversation_id)
        if existing is not None:
            return await read(db, me, existing), False
    await _insert(db, conversation_id, [me, *others], new, now=now)
    data = {
        "conversation_type": new.kind,
        "name": new.name,
        "description": new.description,
        "created_by": str(me),
        "member_ids": [str(user) for user in (me, *others)],
    }
    await changes.record(db, hub, conversation_id, "conversation.new", actor_id=me, data=data, now=now)
    return await read(db, me, conversation_id), True


async def visible_to(db: AsyncSession, user_id: UUID, conversation_id: UUID) -> str:
    """The user's role. Raises NoConversation for who is no member, whether it exists or not."""
    role: str | None = await db.scalar(
        text("SELECT role FROM member WHERE conversation_id = :id AND user_id = :user"),
        {"id": conversation_id, "user": user_id},
    )
    if role is None:
        raise NoConversation
    return role


async def listed(
    db: AsyncSession, me: UUID, *, limit: int, before: tuple[int, int] | None
) -> list[tuple[dict[str, Any], tuple[int, int]]]:
    """Own conversations with their sort keys, newest activity first; `before` is the key of the last one seen."""
    edge = " AND (coalesce(c.last_message_at, c.created_at), c.number) < (:at, :number)" if before else ""
    values: dict[str, Any] = {"user": me, "limit": limit}
    if before:
        values |= {"at": _from_us(before[0]), "number": before[1]}
    order = " ORDER BY coalesce(c.last_message_at, c.created_at) DESC, c.number DESC LIMIT :limit"
    rows = (await db.execute(text(_SELECT + edge + order), values)).mappings().all()
    shaped = await _with_people(db, rows, SHOWN_IN_LIST)
    return [(one, (_us(row["active_at"]), row["number"])) for one, row in zip(shaped, rows, strict=True)]


async def read(db: AsyncSession, me: UUID, conversation_id: UUID) -> dict[str, Any]:
    """Raises NoConversation. Position and content are of one snapshot: `event_seq` is where to follow from."""
    query = text(_SELECT + " AND me.conversation_id = :id")
    rows = (await db.execute(query, {"user": me, "id": conversation_id})).mappings().all()
    if not rows:
        raise NoConversation
    return (await _with_people(db, rows, SHOWN_ALONE))[0]


async def change(
    db: AsyncSession,
    hub: Hub,
    me: UUID,
    conversation_id: UUID,
    *,
    change: Change,
    now: datetime,
) -> dict[str, Any]:
    """Raises NotManager, VersionConflict for a stale `version`, StaleVersion for a stale If-Match."""
    if await visible_to(db, me, conversation_id) not in MANAGERS:
        raise NotManager
    locked = text("SELECT version, name, description FROM conversation WHERE id = :id FOR UPDATE")
    row = (await db.execute(locked, {"id": conversation_id})).mappings().one()
    if change.if_match is not None and not _matches(change.if_match, etag(row["version"])):
        raise StaleVersion(headers={"ETag": etag(row["version"])})
    if change.version is not None and change.version != row["version"]:
        raise VersionConflict(extra={"version": row["version"]})
    if any(row[field] != value for field, value in change.fields.items()):
        after = {"name": row["name"], "description": row["description"], **change.fields}
        await db.execute(
            text(
                "UPDATE conversation SET name = :name, description = :description, version = version + 1,"
                " updated_at = :now WHERE id = :id"
            ),
            {**after, "now": now, "id": conversation_id},
        )
        data = {**after, "version": row["version"] + 1, "by": str(me)}
        await changes.record(db, hub, conversation_id, "conversation.changed", actor_id=me, data=data, now=now)
    return await read(db, me, conversation_id)


def etag(version: int) -> str:
    return f'"{version}"'


def _matches(if_match: str, tag: str) -> bool:
    return if_match.strip() == "*" or tag in (part.strip() for part in if_match.split(","))


async def _pair(db: AsyncSession, one: UUID, other: UUID, conversation_id: UUID) -> UUID | None:
    """Takes the pair for a new conversation, or gives the one it has. A racing create waits here for the first."""
    low, high = sorted((one, other))
    pair = {"low": low, "high": high, "id": conversation_id}
    taken = await db.scalar(
        text(
            "INSERT INTO direct_pair (user_low, user_high, conversation_id) VALUES (:low, :high, :id)"
            " ON CONFLICT DO NOTHING RETURNING conversation_id"
        ),
        pair,
    )
    if taken is not None:
        return None
    query = text("SELECT conversation_id FROM direct_pair WHERE user_low = :low AND user_high = :high")
    existing: UUID = await db.scalar(query, pair)
    return existing


async def _insert(db: AsyncSession, conversation_id: UUID, people: Sequence[UUID], new: New, *, now: datetime) -> None:
    """`people` begins with who makes it."""
    await db.execute(
        text(
            "INSERT INTO conversation"
            " (id, type, name, description, created_by, member_count, created_at, updated_at)"
            " VALUES (:id, :type, :name, :description, :me, :count, :now, :now)"
        ),
        {
            "id": conversation_id,
            "type": new.kind,
            "name": new.name,
            "description": new.description,
            "me": people[0],
            "count": len(people),
            "now": now,
        },
    )
    await db.execute(
        text(
            "INSERT INTO member (conversation_id, user_id, role, joined_seq, last_read_seq, joined_at)"
            " SELECT :id, u.id, CASE WHEN u.id = :owner THEN 'owner' ELSE 'member' END, 0, 0, :now"
            " FROM unnest(CAST(:users AS uuid[])) AS u(id)"
        ),
        # Neither of two people owns their conversation.
        {"id": conversation_id, "owner": people[0] if new.kind != "direct" else None, "users": people, "now": now},
    )


async def _with_people(db: AsyncSession, rows: Sequence[Any], shown: int) -> list[dict[str, Any]]:
    found = await db.execute(text(_PEOPLE), {"ids": [row["conversation"] for row in rows], "shown": shown})
    people: dict[UUID, list[dict[str, Any]]] = {}
    for row in found.mappings():
        person = {**messages.person(row["user_id"], row), "role": row["role"]}
        people.setdefault(row["conversation"], []).append(person)
    return [_shape(row, people.get(row["conversation"], [])) for row in rows]


def _shape(row: Mapping[str, Any], people: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": row["conversation"],
        "number": row["number"],
        "conversation_type": row["conversation_type"],
        "name": row["name"],
        "description": row["description"],
        "image_url": row["image_url"],
        "status": row["status"],
        "version": row["version"],
        "member_count": row["member_count"],
        "participants": people,
        "role": row["role"],
        "unread_count": row["unread_count"],
        "last_read_seq": row["last_read_seq"],
        "last_message": messages.shape(row) if row["id"] is not None else None,
        "event_seq": row["top"],
        "epoch": row["epoch"],
        "created_by": row["created_by"],
        "created_at": row["made_at"],
        "updated_at": row["updated_at"],
    }


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _from_us(us: int) -> datetime:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    except OverflowError:
        raise invalid("cursor", "This cursor is not valid.") from None
