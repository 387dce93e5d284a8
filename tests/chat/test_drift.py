"""Counts that are wrong are found, said and set right."""

from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from chat_service.domain import drift
from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node

PLANTED = {
    "message_seq": "UPDATE conversation SET message_seq = message_seq - 1 WHERE id = :c",
    "event_seq": "UPDATE conversation SET event_seq = event_seq - 1 WHERE id = :c",
    "member_count": "UPDATE conversation SET member_count = member_count + 1 WHERE id = :c",
    "marks": "UPDATE member SET last_read_seq = 99 WHERE conversation_id = :c AND role = 'owner'",
    "uncounted": "UPDATE message SET uncounted = true WHERE conversation_id = :c AND seq = 2",
    "reactions": """UPDATE message SET reactions = '{"+": 2}' WHERE conversation_id = :c AND seq = 2""",
    "reply_seq": "UPDATE message SET thread_root_id = r.id, thread_seq = 7 FROM message AS r"
    " WHERE message.conversation_id = :c AND message.seq = 2 AND r.conversation_id = :c AND r.seq = 1",
    "mentions": "INSERT INTO mention (user_id, conversation_id, seq)"
    " SELECT user_id, conversation_id, 77 FROM member WHERE conversation_id = :c AND role = 'owner'",
}


def counted(what: str) -> float:
    return REGISTRY.get_sample_value("parley_chat_unread_drift_total", {"what": what}) or 0


async def talked(node: Node, people: People) -> UUID:
    ann, bob = await people(2)
    conversation = await node.group(ann, bob)
    for number in range(3):
        await node.say(ann, conversation, str(number))
    return UUID(conversation)


@pytest.mark.promise("C35")
@pytest.mark.parametrize("what", PLANTED)
async def test_planted_drift_is_counted_and_repaired(one: Node, people: People, database: Database, what: str) -> None:
    conversation, other = await talked(one, people), await talked(one, people)
    assert await drift.audit(database, [conversation, other]) == {}
    before = counted(what)
    async with database.transaction() as db:
        await db.execute(text(PLANTED[what]), {"c": conversation})
    assert (await drift.audit(database, [conversation, other]))[what] == 1
    assert counted(what) == before + 1
    assert await drift.audit(database, [conversation, other]) == {}


@pytest.mark.promise("C35")
async def test_lost_messages_are_said_and_not_covered_up(one: Node, people: People, database: Database) -> None:
    conversation = await talked(one, people)
    async with database.transaction() as db:
        await db.execute(text("UPDATE conversation SET message_seq = 4 WHERE id = :c"), {"c": conversation})
    for _ in range(2):
        assert await drift.audit(database, [conversation]) == {"message_seq": 1, "unread": 2}


@pytest.mark.promise("C35")
async def test_everybody_has_their_turn(one: Node, people: People, database: Database) -> None:
    conversation = await talked(one, people)
    async with database.transaction() as db:
        await db.execute(text(PLANTED["member_count"]), {"c": conversation})
    auditor = drift.Auditor(database, 5000)
    while await auditor.step():
        pass
    async with database.transaction() as db:
        query = text("SELECT member_count FROM conversation WHERE id = :c")
        assert await db.scalar(query, {"c": conversation}) == 2
