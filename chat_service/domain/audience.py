"""Who is to be told of a message when not there to see it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chat_service.domain.messages import Row

_MEMBERS = text("""
    SELECT conversation_id, user_id, joined_seq, notify, coalesce(muted_until > :now, false) AS muted
    FROM member WHERE conversation_id = ANY (:ids)
""")
_BLOCKS = text("SELECT user_id, blocked_id FROM block WHERE blocked_id = ANY (:senders)")
_FOLLOWERS = text("""
    SELECT f.root_id, f.user_id FROM unnest(CAST(:ids AS uuid[]), CAST(:roots AS uuid[])) AS w(id, root_id)
    JOIN thread_member AS f ON f.conversation_id = w.id AND f.root_id = w.root_id AND f.following
""")


class Member(NamedTuple):
    user_id: UUID
    joined_seq: int
    notify: str
    muted: bool


@dataclass(slots=True)
class Audience:
    """Of some messages at once, with what their readers want."""

    members: dict[UUID, list[Member]]
    followers: dict[UUID, set[UUID]] = field(default_factory=dict)
    """By the message that a thread began with."""
    blocks: set[tuple[UUID, UUID]] = field(default_factory=set)
    """Who has blocked whom."""

    def everybody(self) -> list[UUID]:
        return list({member.user_id for members in self.members.values() for member in members})

    def of(self, row: Row) -> list[Member]:
        """The others who were there when it was written."""
        return [
            member
            for member in self.members[row["conversation"]]
            if member.user_id != row["sender_id"]
            and member.joined_seq < row["seq"]
            and (member.user_id, row["sender_id"]) not in self.blocks
        ]

    def told(self, row: Row, mentioned: Collection[UUID]) -> list[UUID]:
        """Those of them who want to hear of it; a thread is followed by who follows it."""
        followers = self.followers.get(row["thread_root_id"], set()) if row["thread_only"] else None
        return [
            member.user_id
            for member in self.of(row)
            if not member.muted
            and member.notify != "none"
            and (
                member.user_id in mentioned
                or (member.notify == "all" and (followers is None or member.user_id in followers))
            )
        ]


async def of(db: AsyncSession, rows: Sequence[Row], now: datetime) -> Audience:
    people: dict[UUID, list[Member]] = {row["conversation"]: [] for row in rows}
    for found in await db.execute(_MEMBERS, {"ids": list(people), "now": now}):
        people[found.conversation_id].append(Member(found.user_id, found.joined_seq, found.notify, found.muted))
    audience = Audience(people)
    blocks = await db.execute(_BLOCKS, {"senders": list({row["sender_id"] for row in rows})})
    audience.blocks = {(block.user_id, block.blocked_id) for block in blocks}
    aside = {(row["conversation"], row["thread_root_id"]) for row in rows if row["thread_only"]}
    if aside:
        ids, roots = zip(*aside, strict=True)
        for found in await db.execute(_FOLLOWERS, {"ids": list(ids), "roots": list(roots)}):
            audience.followers.setdefault(found.root_id, set()).add(found.user_id)
    return audience
