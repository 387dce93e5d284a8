"""Reporting a message, and what becomes of a report."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from chat_service.domain import reports
from libs.db import Database
from tests.chat.conftest import People
from tests.chat.nodes import Node, Person
from tests.chat.test_erasure import erase
from tests.chat.test_interests import events


@pytest.fixture
async def mod(people: People, issue_token: Callable[..., str]) -> Person:
    """Somebody of staff, a member of nothing."""
    [person] = await people(1)
    person.token = issue_token(person.id, roles=["user", "moderator"])
    return person


async def report(node: Node, by: Person, message: str, **more: Any) -> Any:
    return await node.call(by, "POST", f"/messages/{message}/reports", json={"reason": "spam", **more})


async def resolve(node: Node, by: Person, report_id: str, action: str = "none", **more: Any) -> Any:
    body = {"action": action, **more}
    return await node.call(by, "POST", f"/admin/chat/reports/{report_id}/resolve", json=body)


async def queue(node: Node, staff: Person, conversation: str, status: str = "open") -> list[dict[str, Any]]:
    """Reports of one conversation, on whatever page they are."""
    found, url = [], f"/api/v1/admin/chat/reports?limit=100&status={status}"
    while url:
        page = (await node.http.get(url, headers=staff.headers)).json()
        found += [r for r in page["results"] if r["conversation_id"] == conversation]
        url = page["next"]
    return found


@pytest.fixture
async def said(one: Node, people: People) -> tuple[Person, Person, str, str]:
    """Ann's group, where Bob said something that he should not have."""
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    message = await one.say(bob, conversation, "Buy this")
    return ann, bob, conversation, message["id"]


@pytest.mark.promise("C59")
async def test_what_is_reported_stays_readable_for_staff(
    one: Node, said: tuple[Person, Person, str, str], mod: Person
) -> None:
    ann, bob, conversation, message = said
    made = await report(one, ann, message, comment="again and again")
    assert (made.status_code, made.json()["status"]) == (201, "open")
    assert (await one.call(bob, "DELETE", f"/messages/{message}")).status_code == 204
    [found] = await queue(one, mod, conversation)
    assert found["snapshot"]["message"]["content"] == "Buy this"
    assert found["snapshot"]["message"]["sender"]["id"] == str(bob.id)
    assert (found["reporter"]["id"], found["comment"]) == (str(ann.id), "again and again")


@pytest.mark.promise("C59")
async def test_of_one_message_everybody_makes_one_report(
    one: Node, two: Node, said: tuple[Person, Person, str, str], mod: Person
) -> None:
    ann, _, conversation, message = said
    answers = await asyncio.gather(*(report(node, ann, message) for node in (one, two, one, two)))
    assert sorted(a.status_code for a in answers) == [200, 200, 200, 201]
    assert len({a.json()["id"] for a in answers}) == 1
    assert len(await queue(one, mod, conversation)) == 1


@pytest.mark.promise("C59")
async def test_staff_deletes_what_was_reported(
    one: Node, two: Node, said: tuple[Person, Person, str, str], mod: Person
) -> None:
    ann, _, conversation, message = said
    made = (await report(one, ann, message)).json()["id"]
    async with two.client(ann, conversation) as client:
        done = (await resolve(one, mod, made, "delete_message", note="Advertising")).json()
        await client.push("message.deleted")
    assert (done["status"], done["action"], done["note"]) == ("resolved", "delete_message", "Advertising")
    assert (await one.call(ann, "GET", f"/messages/{message}")).json()["content"] == ""
    again = await resolve(one, mod, made)
    assert again.status_code == 409
    assert await queue(one, mod, conversation) == []
    assert len(await queue(one, mod, conversation, "resolved")) == 1


async def test_staff_removes_who_wrote_it(one: Node, said: tuple[Person, Person, str, str], mod: Person) -> None:
    ann, bob, conversation, message = said
    made = (await report(one, ann, message)).json()["id"]
    assert (await resolve(one, mod, made, "remove_member")).status_code == 200
    assert (await one.call(bob, "GET", f"/conversations/{conversation}")).status_code == 404


async def test_an_owner_is_not_removed(one: Node, people: People, mod: Person) -> None:
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    message = (await one.say(ann, conversation, "mine"))["id"]
    made = (await report(one, bob, message)).json()["id"]
    assert (await resolve(one, mod, made, "remove_member")).status_code == 422
    assert (await resolve(one, mod, made, "none")).json()["status"] == "dismissed"


async def test_of_two_who_decide_at_once_one_does(
    one: Node, two: Node, said: tuple[Person, Person, str, str], mod: Person
) -> None:
    made = (await report(one, said[0], said[3])).json()["id"]
    answers = await asyncio.gather(resolve(one, mod, made), resolve(two, mod, made, "delete_message"))
    assert sorted(a.status_code for a in answers) == [200, 409]


@pytest.mark.promise("C59")
async def test_the_queue_is_for_staff(
    one: Node, said: tuple[Person, Person, str, str], issue_token: Callable[..., str]
) -> None:
    ann, _, _, message = said
    made = (await report(one, ann, message)).json()["id"]
    for roles in (["user"], ["user", "support"], []):
        ann.token = issue_token(ann.id, roles=roles)
        assert (await one.call(ann, "GET", "/admin/chat/reports")).status_code == 403
        assert (await resolve(one, ann, made)).status_code == 403


async def test_staff_reads_nothing_else_of_the_conversation(
    one: Node, said: tuple[Person, Person, str, str], mod: Person
) -> None:
    ann, _, conversation, message = said
    await report(one, ann, message)
    assert (await one.call(mod, "GET", f"/conversations/{conversation}/messages")).status_code == 404


async def test_moderators_of_the_conversation_see_what_and_not_by_whom(
    one: Node, said: tuple[Person, Person, str, str]
) -> None:
    ann, bob, conversation, message = said
    await report(one, ann, message)
    [found] = (await one.call(ann, "GET", f"/conversations/{conversation}/reports")).json()["results"]
    assert (found["message_id"], found["reporter"]) == (message, None)
    assert (await one.call(bob, "GET", f"/conversations/{conversation}/reports")).status_code == 403


async def test_strangers_and_senders_report_nothing(
    one: Node, people: People, said: tuple[Person, Person, str, str]
) -> None:
    [eve] = await people(1)
    _, bob, conversation, message = said
    assert (await report(one, eve, message)).status_code == 404
    assert (await report(one, bob, message)).status_code == 422
    assert (await report(one, eve, str(uuid4()))).status_code == 404
    assert (await one.call(eve, "GET", f"/conversations/{conversation}/reports")).status_code == 404


@pytest.mark.parametrize("body", [{"reason": "boring"}, {"comment": "x" * 1001}, {"comment": "\x00"}, {"status": "x"}])
async def test_what_makes_no_sense_is_refused(
    one: Node, said: tuple[Person, Person, str, str], body: dict[str, Any]
) -> None:
    assert (await report(one, said[0], said[3], **body)).status_code == 422


@pytest.mark.promise("C61")
async def test_twenty_a_day(one: Node, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "A_DAY", 2)
    ann, bob = await people(2)
    conversation = await one.group(ann, bob)
    messages = [(await one.say(bob, conversation, f"{n}"))["id"] for n in range(3)]
    answers = [await report(one, ann, message) for message in messages]
    assert [a.status_code for a in answers] == [201, 201, 429]
    assert int(answers[-1].headers["Retry-After"]) > 86_000


async def test_the_audit_log_hears_of_it_without_words(
    one: Node, said: tuple[Person, Person, str, str], mod: Person, database: Database
) -> None:
    ann, bob, _, message = said
    made = (await report(one, ann, message, comment="private words")).json()["id"]
    await resolve(one, mod, made, note="more words")
    told = await events(database, "Audited", bob)
    mine = [e for e in told if e["action"].startswith("report.")]
    assert [(e["action"], e["actor_id"]) for e in mine] == [
        ("report.created", str(ann.id)),
        ("report.resolved", str(mod.id)),
    ]
    assert not any(words in str(mine) for words in ("Buy this", "private words", "more words"))


async def test_of_an_erased_reporter_nothing_stays_but_the_report(
    one: Node, said: tuple[Person, Person, str, str], mod: Person, database: Database
) -> None:
    ann, _, conversation, message = said
    await report(one, ann, message, comment="my own words")
    await erase(database, ann)
    [found] = await queue(one, mod, conversation)
    assert (found["comment"], found["reporter"]["username"]) == ("", None)
    assert found["reporter"]["id"] != str(ann.id)
