"""Who may do what in a conversation, as `docs/roles.md` says."""

import re
from pathlib import Path

import pytest

from chat_service.domain import rights
from tests.chat.conftest import People
from tests.chat.nodes import Node

ROWS = {
    "react": rights.may_react,
    "send in a group": lambda role: rights.may_post(role, "group"),
    "send in a channel": lambda role: rights.may_post(role, "channel"),
    "send without waiting in slow mode": lambda role: not rights.waits(role),
    "mention `all` and `here`, pin": lambda role: (
        rights.may_pin(role, "group") and rights.may_mention_all(role, "group")
    ),
    "edit one's own messages for ever": rights.may_edit_late,
    "delete what others wrote": lambda role: rights.may_delete_others(role, "group", is_creator=False),
    "see what was reported": rights.may_moderate,
    "change settings, add members, end the conversation": lambda role: (
        rights.may_manage(role) and rights.may_add(role, "group")
    ),
}


@pytest.mark.parametrize("right", ROWS)
def test_roles_are_those_of_the_table(right: str) -> None:
    table = Path("docs/roles.md").read_text().partition("## In a conversation")[2]
    row = next(line for line in table.splitlines() if re.match(rf"\| {re.escape(right)}[ (]", line))
    said = [cell.strip() == "yes" for cell in row.split("|")[2:8]]
    assert [bool(ROWS[right](role)) for role in rights.ROLES] == said


def test_rank_decides_who_removes_and_promotes_whom() -> None:
    assert rights.may_remove("owner", "admin")
    assert rights.may_remove("admin", "moderator")
    assert not rights.may_remove("admin", "admin")
    assert not rights.may_remove("moderator", "guest")
    assert rights.may_change_role("admin", "member", "moderator")
    assert not rights.may_change_role("admin", "member", "admin")
    assert not rights.may_change_role("owner", "admin", "owner")


def test_nobody_manages_a_direct_conversation() -> None:
    allowed = rights.permissions("member", "direct", can_post=True)
    assert [right for right, yes in allowed.items() if yes] == ["can_post", "can_react", "can_pin", "can_mention_all"]


async def test_conversation_made_again_with_the_same_key_is_one(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    body = {"conversation_type": "group", "participants": [str(bob.id)], "name": "Team"}
    headers = {**ann.headers, "Idempotency-Key": "team-1"}
    path = "/api/v1/conversations"
    first = await one.http.post(path, json=body, headers=headers)
    again = await two.http.post(path, json=body, headers=headers)
    other = await two.http.post(path, json={**body, "name": "Other"}, headers=headers)
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


async def test_message_sent_again_with_the_same_key_is_one(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    path, body = f"/api/v1/conversations/{conversation}/messages", {"content": "once"}
    first = await one.http.post(path, json=body, headers={**ann.headers, "Idempotency-Key": "m1"})
    again = await two.http.post(path, json=body, headers={**ann.headers, "Idempotency-Key": "m1"})
    other = await two.http.post(path, json=body, headers={**ann.headers, "Idempotency-Key": "m2"})
    assert again.json() == first.json()
    assert other.json()["id"] != first.json()["id"]
