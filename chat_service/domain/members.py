"""Members of a conversation: who is in, who lets in, who leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain import changes, conversations, messages, pairs, profiles, rights, typing, visibility
from chat_service.domain.hub import Hub
from chat_service.errors import FixedMembers, LastOwner, NoConversation, NoMember, NotManager, TooManyMembers, invalid
from libs import audits

MOST = 10_000

_SELECT = """
    SELECT m.user_id, m.role, m.joined_at, m.shown_read_seq, m.last_delivered_seq,
        p.username, p.display_name, p.avatar_url
    FROM member AS m LEFT JOIN profile AS p ON p.user_id = m.user_id WHERE m.conversation_id = :id
"""
_LISTED = text(_SELECT + " AND m.user_id > :after ORDER BY m.user_id LIMIT :limit")
_ONE = text(_SELECT + " AND m.user_id = :user")
_LOCK = text("SELECT type, member_count FROM conversation WHERE id = :id FOR UPDATE")
_ROLES = text(
    "SELECT user_id, role FROM member WHERE conversation_id = :id AND user_id = ANY (:users)"
    " ORDER BY user_id FOR UPDATE"
)
_INSERT = text(
    "INSERT INTO member (conversation_id, user_id, role, joined_seq, joined_event_seq,"
    " last_read_seq, shown_read_seq, last_delivered_seq, joined_at)"
    " SELECT c.id, u.id, :role, c.message_seq, c.event_seq, c.message_seq, c.message_seq, c.message_seq, :now"
    " FROM conversation AS c, unnest(CAST(:users AS uuid[])) AS u(id) WHERE c.id = :id"
    " ON CONFLICT DO NOTHING RETURNING user_id"
)
_COUNT = text("UPDATE conversation SET member_count = member_count + :more, updated_at = :now WHERE id = :id")
_DELETE = text("DELETE FROM member WHERE conversation_id = :id AND user_id = :user")
_SET_ROLE = text("UPDATE member SET role = :role WHERE conversation_id = :id AND user_id = :user")


@dataclass(frozen=True, slots=True)
class Newcomers:
    user_ids: Sequence[UUID]
    role: str = rights.MEMBER
    most: int = MOST
    """Members that the conversation may have."""


class Held(NamedTuple):
    """Of a conversation whose row is locked: nothing of this changes before the commit."""

    type: str
    members: int
    mine: str
    theirs: str | None


async def add(
    db: AsyncSession,
    hub: Hub,
    me: UUID,
    conversation_id: UUID,
    *,
    newcomers: Newcomers,
    ask: profiles.Ask,
    now: datetime,
) -> None:
    """Lets users in; who is in already stays as before. Raises NotManager, FixedMembers, Invalid, TooManyMembers."""
    sight = await visibility.sight(db, me, conversation_id)
    if sight.conversation_type == "direct":
        raise FixedMembers
    _require_adding(sight.role, sight.conversation_type, newcomers.role)
    wanted = list(dict.fromkeys(newcomers.user_ids))
    # Before the lock: auth may have to be asked.
    welcome = await pairs.reachable(db, me, await profiles.known(db, wanted, ask))
    if any(user_id not in welcome for user_id in wanted):
        raise invalid("user_ids", "One of the users does not exist.")
    held = await _hold(db, me, conversation_id, me)
    _require_adding(held.mine, held.type, newcomers.role)
    added = await let_in(db, conversation_id, wanted, role=newcomers.role, now=now)
    if held.members + len(added) > newcomers.most:
        raise TooManyMembers
    if added:
        people = [str(user_id) for user_id in added]
        data = {"member_ids": people, "role": newcomers.role, "by": str(me)}
        await changes.record(db, hub, conversation_id, "member.added", actor_id=me, data=data, now=now)
        await audits.tell(db, "member.added", me, now=now, conversation=conversation_id, users=people)


def _require_adding(mine: str, kind: str, role: str) -> None:
    if not rights.may_add(mine, kind) or not rights.outranks(mine, role):
        raise NotManager


async def remove(db: AsyncSession, hub: Hub, me: UUID, conversation_id: UUID, *, user_id: UUID, now: datetime) -> None:
    """Managers remove who stands below them; everybody leaves alone, the owner last.

    Raises NoMember, NotManager, FixedMembers, LastOwner.
    """
    await conversations.visible_to(db, me, conversation_id)
    held = await _hold(db, me, conversation_id, user_id)
    if held.theirs is None:
        raise NoMember
    if user_id != me and not rights.may_remove(held.mine, held.theirs):
        raise NotManager
    if held.theirs == rights.OWNER and held.members > 1:
        raise LastOwner
    await put_out(db, hub, conversation_id, user_id=user_id, by=me, now=now)


async def put_out(db: AsyncSession, hub: Hub, conversation_id: UUID, *, user_id: UUID, by: UUID, now: datetime) -> None:
    """Of a conversation whose row is locked."""
    await db.execute(_DELETE, {"id": conversation_id, "user": user_id})
    await db.execute(_COUNT, {"more": -1, "now": now, "id": conversation_id})
    data = {"user_id": str(user_id), "by": str(by)}
    await changes.record(db, hub, conversation_id, "member.removed", actor_id=by, data=data, now=now)
    await audits.tell(db, "member.removed", by, user_id, now=now, conversation=conversation_id)


async def change_role(
    db: AsyncSession, hub: Hub, me: UUID, conversation_id: UUID, *, user_id: UUID, role: str, now: datetime
) -> dict[str, Any]:
    """The member. Nobody rises above who raises; an owner who makes another one owner is an admin from then on.

    Raises NoMember, NotManager, FixedMembers, LastOwner.
    """
    await conversations.visible_to(db, me, conversation_id)
    held = await _hold(db, me, conversation_id, user_id)
    if held.theirs is None:
        raise NoMember
    _require_role(held, role, of_oneself=user_id == me)
    if held.theirs != role:
        roles = {user_id: role, **({me: rights.ADMIN} if role == rights.OWNER else {})}
        for member, given in roles.items():
            await db.execute(_SET_ROLE, {"id": conversation_id, "user": member, "role": given})
            data = {"user_id": str(member), "role": given, "by": str(me)}
            await changes.record(db, hub, conversation_id, "member.changed", actor_id=me, data=data, now=now)
        changes.after_commit(db, partial(typing.forget_everywhere, hub, conversation_id))
        await audits.tell(db, "member.role_changed", me, user_id, now=now, conversation=conversation_id, role=role)
    return await _read(db, conversation_id, user_id)


def _require_role(held: Held, role: str, *, of_oneself: bool) -> None:
    if held.theirs == role:
        allowed = True
    elif role == rights.OWNER:
        allowed = held.mine == rights.OWNER
    elif of_oneself:
        # Down, that is.
        if held.mine == rights.OWNER:
            raise LastOwner("Make somebody else the owner first.")
        allowed = rights.outranks(held.mine, role)
    else:
        allowed = rights.may_change_role(held.mine, held.theirs or "", role)
    if not allowed:
        raise NotManager


async def listed(
    db: AsyncSession, me: UUID, conversation_id: UUID, *, limit: int, after: UUID | None
) -> list[dict[str, Any]]:
    """In the order of their ids."""
    await conversations.visible_to(db, me, conversation_id)
    values = {"id": conversation_id, "after": after or UUID(int=0), "limit": limit}
    return [_shape(row) for row in (await db.execute(_LISTED, values)).mappings()]


async def _read(db: AsyncSession, conversation_id: UUID, user_id: UUID) -> dict[str, Any]:
    return _shape((await db.execute(_ONE, {"id": conversation_id, "user": user_id})).mappings().one())


def _shape(row: messages.Row) -> dict[str, Any]:
    return {
        "user": messages.person(row["user_id"], row),
        "role": row["role"],
        "joined_at": row["joined_at"],
        "read_seq": row["shown_read_seq"],
        "delivered_seq": row["last_delivered_seq"],
    }


async def let_in(
    db: AsyncSession, conversation_id: UUID, user_ids: Sequence[UUID], *, role: str, now: datetime
) -> list[UUID]:
    """Into a conversation whose row is locked; those who were not in."""
    values = {"id": conversation_id, "users": user_ids, "role": role, "now": now}
    added: list[UUID] = list(await db.scalars(_INSERT, values))
    if added:
        await db.execute(_COUNT, {"more": len(added), "now": now, "id": conversation_id})
    return added


async def _hold(db: AsyncSession, me: UUID, conversation_id: UUID, user_id: UUID) -> Held:
    """The lock of the conversation before that of the member: the order in which sending takes them.

    Raises NoConversation, FixedMembers.
    """
    conversation = (await db.execute(_LOCK, {"id": conversation_id})).one()
    rows = await db.execute(_ROLES, {"id": conversation_id, "users": [me, user_id]})
    roles = {row.user_id: row.role for row in rows}
    if me not in roles:
        raise NoConversation
    if conversation.type == "direct":
        raise FixedMembers
    return Held(conversation.type, conversation.member_count, roles[me], roles.get(user_id))
