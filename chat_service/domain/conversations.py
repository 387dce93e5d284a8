"""Conversations: making, finding and changing them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, messages, pairs, profiles, receipts, rights, unread, visibility
from chat_service.domain.hub import Hub
from chat_service.errors import NoConversation, invalid
from libs import audits
from libs.ids import uuid7

SHOWN_IN_LIST = 10
SHOWN_ALONE = 100
AS_USUAL: Mapping[str, Any] = {
    "name": "",
    "description": "",
    "image_url": None,
    "is_private": True,
    "allow_file_sharing": True,
    "allow_voice_messages": True,
    "history": "all",
    "slow_seconds": 0,
}

SELECT = f"""
SELECT c.id AS conversation, c.number, c.type AS conversation_type, c.name, c.description, c.image_url, c.status,
       c.is_private, c.allow_file_sharing, c.allow_voice_messages, c.history, c.slow_seconds,
       c.version AS conversation_version, c.member_count, c.event_seq AS top, c.epoch,
       c.created_by, c.created_at AS made_at, c.updated_at,
       coalesce(c.last_message_at, c.created_at) AS active_at,
       me.role, me.barred, me.muted_until, me.notify, me.last_read_seq, {unread.COUNT} AS unread_count,
       {unread.MENTIONS} AS mention_count, others.read_by_all_seq, others.delivered_to_all_seq, {messages.COLUMNS}
FROM member AS me JOIN conversation AS c ON c.id = me.conversation_id {receipts.ALL}
LEFT JOIN message AS m ON m.conversation_id = c.id AND {visibility.VISIBLE} AND m.seq = (
    SELECT max(seq) FROM message WHERE conversation_id = c.id AND NOT thread_only
)
    {messages.JOINS}
WHERE me.user_id = :user
"""  # noqa: S608  -- constants
PEOPLE = """
SELECT w.id AS conversation, p.*, m.role
FROM unnest(CAST(:ids AS uuid[])) AS w(id)
CROSS JOIN LATERAL (
    SELECT user_id, role, joined_at FROM member WHERE conversation_id = w.id ORDER BY joined_at, user_id LIMIT :shown
) AS m
JOIN profile AS p ON p.user_id = m.user_id
ORDER BY w.id, m.joined_at, m.user_id
"""


@dataclass(frozen=True, slots=True)
class New:
    kind: str
    participants: Sequence[UUID]
    flags: Mapping[str, Any] = field(default_factory=dict)
    """What is not AS_USUAL."""


async def create(
    db: AsyncSession, hub: Hub, me: UUID, new: New, *, ask: profiles.Ask, now: datetime
) -> tuple[dict[str, Any], bool]:
    """The conversation, and whether it is new: two people have one direct conversation, however often it is made.

    Raises Invalid, and InterestRequired where somebody wants to hear from contacts alone.
    """
    others = list(dict.fromkeys(p for p in new.participants if p != me))
    if new.kind == "direct" and len(others) != 1:
        raise invalid("participants", "A direct conversation has exactly one other participant.")
    if new.kind == "direct" and (existing := await pairs.conversation_of(db, me, others[0])):
        return await read(db, me, existing), False
    welcome = await pairs.reachable(db, me, await profiles.known(db, [me, *others], ask))
    if any(other not in welcome for other in others):
        raise invalid("participants", "One of the participants does not exist.")
    if new.kind == "direct":
        conversation_id, is_new = await open_pair(db, hub, me, others[0], now=now)
        return await read(db, me, conversation_id), is_new
    conversation_id = uuid7()
    await _insert(db, conversation_id, [me, *others], new, now=now)
    await _announce(db, hub, conversation_id, people=[me, *others], new=new, now=now)
    await audits.tell(db, "conversation.created", me, now=now, conversation=conversation_id, type=new.kind)
    return await read(db, me, conversation_id), True


async def open_pair(db: AsyncSession, hub: Hub, me: UUID, other: UUID, *, now: datetime) -> tuple[UUID, bool]:
    """The conversation of two people, and whether it is new. Raises Invalid, InterestRequired."""
    # A racing create, block or request waits here for the first.
    await pairs.lock(db, me, other)
    existing = await pairs.conversation_of(db, me, other)
    if existing is not None:
        return existing, False
    if await pairs.blocked(db, me, other):
        raise invalid("participants", "One of the participants does not exist.")
    await pairs.require_welcome(db, me, other)
    conversation_id, new = uuid7(), New("direct", [other])
    await pairs.take(db, me, other, conversation_id)
    await _insert(db, conversation_id, [me, other], new, now=now)
    await _announce(db, hub, conversation_id, people=[me, other], new=new, now=now)
    return conversation_id, True


async def _announce(
    db: AsyncSession, hub: Hub, conversation_id: UUID, *, people: Sequence[UUID], new: New, now: datetime
) -> None:
    """`people` begins with who makes it."""
    data = {
        "conversation_type": new.kind,
        "name": new.flags.get("name", ""),
        "description": new.flags.get("description", ""),
        "created_by": str(people[0]),
        "member_ids": [str(user) for user in people],
    }
    await changes.record(db, hub, conversation_id, "conversation.new", actor_id=people[0], data=data, now=now)


async def visible_to(db: AsyncSession, user_id: UUID, conversation_id: UUID) -> str:
    """The user's role. Raises NoConversation for who is no member, whether it exists or not."""
    role: str | None = await db.scalar(
        text("SELECT role FROM member WHERE conversation_id = :id AND user_id = :user"),
        {"id": conversation_id, "user": user_id},
    )
    if role is None:
        raise NoConversation
    return role


async def read(db: AsyncSession, me: UUID, conversation_id: UUID) -> dict[str, Any]:
    """Raises NoConversation. Position and content are of one snapshot: `event_seq` is where to follow from."""
    query = text(SELECT + " AND me.conversation_id = :id")
    rows = (await db.execute(query, {"user": me, "id": conversation_id})).mappings().all()
    if not rows:
        raise NoConversation
    return (await _with_people(db, rows, SHOWN_ALONE))[0]


async def _insert(db: AsyncSession, conversation_id: UUID, people: Sequence[UUID], new: New, *, now: datetime) -> None:
    """`people` begins with who makes it."""
    await db.execute(
        text(
            "INSERT INTO conversation (id, type, name, description, image_url, is_private, allow_file_sharing,"
            " allow_voice_messages, history, slow_seconds, created_by, member_count, created_at, updated_at)"
            " VALUES (:id, :type, :name, :description, :image_url, :is_private, :allow_file_sharing,"
            " :allow_voice_messages, :history, :slow_seconds, :me, :count, :now, :now)"
        ),
        {
            **AS_USUAL,
            **new.flags,
            "id": conversation_id,
            "type": new.kind,
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
    found = await db.execute(text(PEOPLE), {"ids": [row["conversation"] for row in rows], "shown": shown})
    return shaped(rows, found.mappings().all())


def shaped(rows: Sequence[Any], found: Sequence[Any]) -> list[dict[str, Any]]:
    """Conversations from rows of SELECT, with those in them from rows of PEOPLE."""
    people: dict[UUID, list[dict[str, Any]]] = {}
    for row in found:
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
        "is_private": row["is_private"],
        "allow_file_sharing": row["allow_file_sharing"],
        "allow_voice_messages": row["allow_voice_messages"],
        "history": row["history"],
        "slow_seconds": row["slow_seconds"],
        "version": row["conversation_version"],
        "member_count": row["member_count"],
        "participants": people,
        "role": row["role"],
        "permissions": _permissions(row),
        "muted_until": row["muted_until"],
        "notify": row["notify"],
        "unread_count": row["unread_count"],
        "mention_count": row["mention_count"],
        "read_by_all_seq": row["read_by_all_seq"],
        "delivered_to_all_seq": row["delivered_to_all_seq"],
        "last_read_seq": row["last_read_seq"],
        "last_message": messages.shape(row) if row["id"] is not None else None,
        "event_seq": row["top"],
        "epoch": row["epoch"],
        "created_by": row["created_by"],
        "created_at": row["made_at"],
        "updated_at": row["updated_at"],
        "last_active_at": row["active_at"],
    }


def _permissions(row: Mapping[str, Any]) -> dict[str, Any]:
    kind, role = row["conversation_type"], row["role"]
    can_post = row["status"] == "active" and not row["barred"] and rights.may_post(role, kind)
    return rights.permissions(role, kind, can_post=can_post)
