"""Friend requests, as the Phone client makes them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from chat_service.domain import interests
from libs.db import Database
from libs.testing.clock import FakeClock
from tests.chat.conftest import People, SettingsFor
from tests.chat.nodes import Node, Person, running


async def ask(node: Node, by: Person, to: Person, **more: Any) -> Any:
    return await node.call(by, "POST", "/interests", json={"to_user": str(to.id), **more})


async def answer(node: Node, by: Person, interest: str, what: str) -> Any:
    return await node.call(by, "POST", f"/interests/{interest}/{what}")


async def befriend(node: Node, one: Person, two: Person) -> dict[str, Any]:
    asked = (await ask(node, one, two)).json()
    accepted = await answer(node, two, asked["id"], "accept")
    assert accepted.status_code == 200, accepted.text
    found: dict[str, Any] = accepted.json()
    return found


async def events(database: Database, kind: str, *people: Person) -> list[dict[str, Any]]:
    """What other services are told that names all of these people."""
    async with database.transaction() as db:
        query = text("SELECT data FROM outbox WHERE type = :kind ORDER BY id")
        rows: Sequence[dict[str, Any]] = (await db.scalars(query, {"kind": kind})).all()
    return [data for data in rows if {str(p.id) for p in people} <= {str(v) for v in data.values()}]


def lasting(issue_token: Callable[..., str], people: list[Person]) -> list[Person]:
    """With tokens for whoever moves the clock."""
    for person in people:
        person.token = issue_token(person.id, exp=int(time.time()) + 90 * 86_400)
    return people


async def statuses(node: Node, person: Person, query: str = "") -> list[str]:
    results = (await node.call(person, "GET", f"/interests{query}")).json()["results"]
    return [i["status"] for i in results]


@pytest.mark.promise("K40")
async def test_asking_and_accepting_makes_contacts_with_a_conversation(
    one: Node, two: Node, people: People, database: Database
) -> None:
    ann, bob = await people(2)
    async with two.client(bob) as his, two.client(ann) as hers:
        asked = await ask(one, ann, bob, message="It is me")
        assert (asked.status_code, asked.json()["status"]) == (201, "pending")
        told = (await his.push("interest"))["d"]
        assert (told["action"], told["interest"]["message"]) == ("received", "It is me")
        accepted = (await answer(one, bob, asked.json()["id"], "accept")).json()
        assert (await hers.push("interest"))["d"]["action"] == "accepted"
    assert (accepted["status"], accepted["from_user"]["id"]) == ("accepted", str(ann.id))
    shown = (await one.call(ann, "GET", f"/conversations/{accepted['conversation_id']}")).json()
    assert {p["id"] for p in shown["participants"]} == {str(ann.id), str(bob.id)}
    assert [e["status"] for e in await events(database, "InterestChanged", ann, bob)] == ["pending", "accepted"]


@pytest.mark.promise("K40")
async def test_a_declined_one_may_be_repeated_after_seven_days(
    settings_for: SettingsFor, people: People, issue_token: Callable[..., str]
) -> None:
    clock = FakeClock()
    async with running(settings_for(), clock) as node:
        ann, bob = lasting(issue_token, await people(2))
        asked = (await ask(node, ann, bob)).json()
        assert (await answer(node, bob, asked["id"], "decline")).json()["status"] == "declined"
        refused = await ask(node, ann, bob)
        assert (refused.status_code, int(refused.headers["Retry-After"]) > 6 * 86_400) == (429, True)
        assert (await ask(node, bob, ann)).status_code == 201
        await node.call(bob, "DELETE", f"/interests/{(await statuses_ids(node, bob))[0]}")
        clock.advance(timedelta(days=7, seconds=1).total_seconds())
        assert (await ask(node, ann, bob)).status_code == 201


async def statuses_ids(node: Node, person: Person) -> list[str]:
    return [i["id"] for i in (await node.call(person, "GET", "/interests")).json()["results"]]


@pytest.mark.promise("K40")
async def test_oneself_twice_and_nobody(one: Node, people: People) -> None:
    ann, bob = await people(2)
    assert (await ask(one, ann, ann)).status_code == 422
    asked = await ask(one, ann, bob)
    again = await ask(one, ann, bob)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    await answer(one, bob, asked.json()["id"], "accept")
    assert [(await ask(one, a, b)).status_code for a, b in ((ann, bob), (bob, ann))] == [409, 409]


@pytest.mark.promise("K40")
async def test_only_the_receiver_answers_and_only_the_sender_withdraws(one: Node, people: People) -> None:
    ann, bob, eve = await people(3)
    asked = (await ask(one, ann, bob)).json()["id"]
    for what in ("accept", "decline"):
        assert (await answer(one, ann, asked, what)).status_code == 403
        assert (await answer(one, eve, asked, what)).status_code == 404
    assert (await one.call(bob, "DELETE", f"/interests/{asked}")).status_code == 403
    assert (await one.call(eve, "DELETE", f"/interests/{asked}")).status_code == 404
    assert (await one.call(ann, "DELETE", f"/interests/{asked}")).status_code == 204
    assert (await answer(one, bob, asked, "accept")).status_code == 409
    assert (await one.call(ann, "DELETE", f"/interests/{asked}")).status_code == 404
    assert (await answer(one, bob, str(uuid4()), "accept")).status_code == 404


@pytest.mark.promise("K40")
async def test_requests_that_cross_become_one_friendship(one: Node, two: Node, people: People) -> None:
    for _ in range(5):
        ann, bob = await people(2)
        answers = await asyncio.gather(ask(one, ann, bob), ask(two, bob, ann))
        assert sorted(a.status_code for a in answers) == [200, 201]
        assert [await statuses(one, p) for p in (ann, bob)] == [["accepted"], ["accepted"]]
        contacts = (await one.call(ann, "GET", "/contacts")).json()["results"]
        assert [c["user"]["id"] for c in contacts] == [str(bob.id)]


async def test_of_two_answers_at_once_one_counts(one: Node, two: Node, people: People) -> None:
    ann, bob = await people(2)
    asked = (await ask(one, ann, bob)).json()["id"]
    answers = await asyncio.gather(answer(one, bob, asked, "accept"), answer(two, bob, asked, "decline"))
    assert sorted(a.status_code for a in answers) == [200, 409]


@pytest.mark.promise("K40")
async def test_lists_have_two_directions(one: Node, people: People) -> None:
    ann, bob, cid = await people(3)
    await ask(one, ann, bob)
    await ask(one, cid, ann)
    sent, received = [
        (await one.call(ann, "GET", f"/interests?direction={way}")).json()["results"] for way in ("sent", "received")
    ]
    assert ([i["to_user"]["id"] for i in sent], [i["from_user"]["id"] for i in received]) == (
        [str(bob.id)],
        [str(cid.id)],
    )
    assert len(await statuses(one, ann)) == 2
    assert await statuses(one, ann, "?status=accepted") == []
    assert (await one.call(ann, "GET", "/interests?direction=up")).status_code == 422


async def test_lists_have_pages(one: Node, people: People) -> None:
    ann, *others = await people(4)
    for other in others:
        await ask(one, ann, other)
    page = (await one.call(ann, "GET", "/interests?limit=2")).json()
    rest = (await one.http.get(page["next"], headers=ann.headers)).json()
    assert [i["to_user"]["id"] for i in page["results"] + rest["results"]] == [str(p.id) for p in others[::-1]]
    assert rest["next"] is None


@pytest.mark.promise("K40")
async def test_fifty_a_day(
    settings_for: SettingsFor, people: People, issue_token: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interests, "A_DAY", 3)
    clock = FakeClock()
    async with running(settings_for(), clock) as node:
        ann, *others = lasting(issue_token, await people(6))
        assert [(await ask(node, ann, other)).status_code for other in others[:4]] == [201, 201, 201, 429]
        both = await asyncio.gather(*(ask(node, ann, other) for other in others))
        assert 201 not in [a.status_code for a in both]
        clock.advance(timedelta(days=1, seconds=1).total_seconds())
        assert (await ask(node, ann, others[3])).status_code == 201


async def test_what_nobody_answers_expires(
    settings_for: SettingsFor, people: People, issue_token: Callable[..., str], database: Database, redis: Redis
) -> None:
    clock = FakeClock()
    async with running(settings_for(), clock) as node:
        ann, bob = lasting(issue_token, await people(2))
        asked = (await ask(node, ann, bob)).json()["id"]
        clock.advance(timedelta(days=30, seconds=1).total_seconds())
        assert await statuses(node, bob) == ["expired"]
        assert (await answer(node, bob, asked, "accept")).status_code == 409
        async with node.client(ann) as client:
            await interests.expire(database, redis, clock)
            assert (await client.push("interest"))["d"]["action"] == "expired"
        assert (await events(database, "InterestChanged", ann, bob))[-1]["status"] == "expired"
        assert (await ask(node, ann, bob)).status_code == 201


async def test_an_expired_one_does_not_stand_in_the_way(
    settings_for: SettingsFor, people: People, issue_token: Callable[..., str], database: Database
) -> None:
    clock = FakeClock()
    async with running(settings_for(), clock) as node:
        ann, bob = lasting(issue_token, await people(2))
        await ask(node, ann, bob)
        clock.advance(timedelta(days=31).total_seconds())
        assert (await ask(node, bob, ann)).status_code == 201
    told = [e["status"] for e in await events(database, "InterestChanged", ann, bob)]
    assert told == ["pending", "expired", "pending"]


@pytest.mark.parametrize("body", [{}, {"to_user": "x"}, {"to_user": None}, {"message": "hi"}])
async def test_what_makes_no_sense_is_refused(one: Node, people: People, body: dict[str, Any]) -> None:
    [ann] = await people(1)
    assert (await one.call(ann, "POST", "/interests", json=body)).status_code == 422


async def test_long_words_are_refused(one: Node, people: People) -> None:
    ann, bob = await people(2)
    assert (await ask(one, ann, bob, message="x" * 201)).status_code == 422
    assert (await ask(one, ann, bob, message="a\x00")).status_code == 422


async def test_a_repeated_request_has_one_effect(one: Node, people: People) -> None:
    ann, bob = await people(2)
    headers = {**ann.headers, "Idempotency-Key": "once"}
    body = {"to_user": str(bob.id)}
    first, second = [await one.http.post("/api/v1/interests", json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, first.json()) == (201, second.json())
