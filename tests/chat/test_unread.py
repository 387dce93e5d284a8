"""What is counted as unread is what is unread."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from chat_service.domain import drift
from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person

KINDS = (
    *("send", "mention", "reply", "reply_shown", "edit", "delete", "hide"),
    *("read", "read_privately", "unread", "read_thread", "leave"),
)
STEP = st.tuples(
    st.sampled_from(KINDS),
    st.integers(0, 2),
    st.integers(0, 12),
)


@dataclass
class Said:
    id: str
    seq: int
    sender: int
    reply: bool
    aside: bool
    names: int | None = None
    gone: bool = False
    hidden_by: set[int] = field(default_factory=set)


@dataclass
class Talk:
    """A conversation, and beside it what a person with a pencil would know of it."""

    nodes: tuple[Node, Node]
    people: list[Person]
    id: str
    said: list[Said] = field(default_factory=list)
    marks: list[int] = field(default_factory=lambda: [0, 0, 0])
    turn: int = 0

    async def call(self, who: int, method: str, path: str, **kwargs: Any) -> Any:
        self.turn += 1
        answer = await self.nodes[self.turn % 2].call(self.people[who], method, path, **kwargs)
        assert answer.status_code < 300, (method, path, answer.text)
        return answer.json() if answer.content else None

    async def step(self, kind: str, who: int, number: int) -> None:
        target = self.said[number % len(self.said)] if self.said else None
        if target is not None and target.hidden_by & {who, target.sender}:
            # Who has hidden a message does nothing with it any more.
            target = None
        if kind in ("send", "mention", "reply", "reply_shown"):
            await self.send(kind, who, target)
        elif kind in ("read", "read_privately", "unread"):
            await self.mark(kind, who, number)
        elif kind == "leave":
            await self.leave(who)
        elif target is not None:
            await self.touch(kind, who, target)

    async def send(self, kind: str, who: int, target: Said | None) -> None:
        body: dict[str, Any] = {"content": f"{kind} {len(self.said)}"}
        named = (who + 1) % 3 if kind == "mention" else None
        if named is not None:
            body["mentions"] = {"user_ids": [str(self.people[named].id)]}
        root = target if kind.startswith("reply") and target is not None and not (target.gone or target.reply) else None
        if root is not None:
            body |= {"thread_root_id": root.id, "also_in_conversation": kind == "reply_shown"}
        message = await self.call(who, "POST", f"/conversations/{self.id}/messages", json=body)
        aside = root is not None and kind == "reply"
        self.said.append(Said(message["id"], message["seq"], who, root is not None, aside, named))
        if not aside:
            self.marks[who] = max(self.marks[who], message["seq"])

    async def mark(self, kind: str, who: int, number: int) -> None:
        path = f"/conversations/{self.id}/{'unread' if kind == 'unread' else 'read'}"
        private = {"private": True} if kind == "read_privately" else {}
        await self.call(who, "POST", path, json={"seq": number, **private})
        if kind == "unread":
            self.marks[who] = min(self.marks[who], max(number - 1, 0))
        else:
            self.marks[who] = max(self.marks[who], min(number, len(self.said)))

    async def leave(self, who: int) -> None:
        """And comes back, to whom nothing from before is unread."""
        if who == 0:
            return
        person = self.people[who].id
        await self.call(who, "DELETE", f"/conversations/{self.id}/members/{person}")
        await self.call(0, "POST", f"/conversations/{self.id}/members", json={"user_ids": [str(person)]})
        self.marks[who] = len(self.said)

    async def touch(self, kind: str, who: int, target: Said) -> None:
        if kind == "edit" and not target.gone:
            await self.call(target.sender, "PATCH", f"/messages/{target.id}", json={"content": "changed"})
        elif kind == "delete":
            await self.call(target.sender, "DELETE", f"/messages/{target.id}")
            target.gone = True
        elif kind == "hide":
            await self.call(who, "DELETE", f"/messages/{target.id}?for=me")
            target.hidden_by.add(who)
        elif kind == "read_thread" and not target.reply:
            await self.call(who, "POST", f"/messages/{target.id}/thread/read", json={"seq": 2})

    def unread(self, who: int) -> tuple[int, int]:
        """Messages and mentions."""
        above = [one for one in self.said if one.seq > self.marks[who] and not one.gone]
        counted = [one for one in above if not one.aside and who not in one.hidden_by]
        return len(counted), len([one for one in above if one.names == who])


_THREADS = text("""
    SELECT t.root_id, t.user_id, (
        SELECT count(*) FROM message AS m WHERE m.conversation_id = t.conversation_id AND m.thread_root_id = t.root_id
            AND m.thread_seq > t.last_read_seq AND m.deleted_at IS NULL
    ) AS unread
    FROM thread_member AS t WHERE t.conversation_id = :c
""")


async def check(talk: Talk, database: Database) -> None:
    for who, person in enumerate(talk.people):
        expected = talk.unread(who)
        shown = await talk.call(who, "GET", f"/conversations/{talk.id}")
        assert (shown["unread_count"], shown["mention_count"]) == expected, who
        [listed] = (await talk.call(who, "GET", "/conversations"))["results"]
        assert (listed["unread_count"], listed["mention_count"]) == expected, person
        total = await talk.call(who, "GET", "/conversations/unread")
        assert (total["total_unread"], total["mentions"]) == expected
        assert total["conversations_with_unread"] == (expected[0] > 0)
    async with database.transaction() as db:
        threads = (await db.execute(_THREADS, {"c": talk.id})).all()
    ids = [person.id for person in talk.people]
    hidden = {(one.id, who) for one in talk.said for who in one.hidden_by}
    for row in threads:
        if (str(row.root_id), ids.index(row.user_id)) in hidden:
            # With the message that a thread began with, the thread is hidden too.
            continue
        state = (await talk.call(ids.index(row.user_id), "GET", f"/messages/{row.root_id}/thread"))["state"]
        assert state["unread_count"] == row.unread
    assert await drift.audit(database, [UUID(talk.id)]) == {}


@pytest.mark.promise("C34")
@settings(
    max_examples=20, phases=[Phase.explicit, Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
)
@given(steps=st.lists(STEP, min_size=3, max_size=20))
async def test_counts_are_true_after_whatever_happened(
    one: Node, two: Node, people: People, database: Database, steps: list[tuple[str, int, int]]
) -> None:
    crowd = await people(3)
    talk = Talk((one, two), crowd, await one.group(crowd[0], *crowd[1:]))
    for step in steps:
        await talk.step(*step)
    await check(talk, database)
