"""What was given up is found, and sent again when somebody says so."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from libs.db import Database
from libs.testing.clients import client
from libs.testing.clock import FakeClock
from notify_service.app import create_app
from notify_service.domain import retention
from tests.notify.asking import Person, ended, send
from tests.notify.chats import Outside, new_chat
from tests.notify.world import World

DAYS_90 = timedelta(days=90)


@pytest.fixture
def stranger() -> str:
    return str(new_chat())


async def fail(person: Person, account: str, chat: str, **body: Any) -> Any:
    [made] = (await send(person, account, chat, **body))["deliveries"]
    found = await ended(person, made)
    assert (found["state"], found["reason"]) == ("failed", "refused")
    return found


async def replay(person: Person, headers: Any = None, **body: Any) -> Any:
    answer = await person.call("POST", "/dead-letters/replay", json=body, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.promise("N50")
async def test_dead_letters_are_found_by_what_is_known_of_them(admin: Person, bot: str) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=1)
    lost = [await fail(admin, bot, str(new_chat()), category=each) for each in ("orders", "news", "orders")]

    async def found(**query: Any) -> list[str]:
        page = await admin.get("/dead-letters", account=bot, **query)
        return [each["id"] for each in page["results"]]

    newest_first = [each["id"] for each in reversed(lost)]
    assert await found(since=begun.isoformat(), channel="telegram", reason="refused") == newest_first
    assert await found(category="news", reason="chat_not_found") == [lost[1]["id"]]
    for nothing in ({"channel": "email"}, {"reason": "attempts"}, {"since": (begun + DAYS_90).isoformat()}):
        assert await found(**nothing) == []
    page = await admin.get("/dead-letters", account=bot, limit=2)
    following = (await admin.call("GET", page["next"].removeprefix("/api/v1"))).json()
    assert [each["id"] for each in (*page["results"], *following["results"])] == newest_first
    shown = await admin.get(f"/dead-letters/{lost[0]['id']}")
    assert [(each["error_code"], each["decision"]) for each in shown["log"]] == [("chat_not_found", "failed")]
    assert (await admin.call("GET", "/dead-letters?cursor=WyIyMDI2IiwgIjEiXQ")).status_code == 422


async def test_senders_see_their_own_administrators_all_and_others_nothing(
    as_user: Any, world: World, issue_token: Any, admin: Person, bot: str, stranger: str
) -> None:
    sender = uuid4()
    async with client(create_app(world.settings(senders=[sender]))) as http:
        mine = Person(http, issue_token(sender))
        lost, theirs = await fail(mine, bot, stranger), await fail(admin, bot, stranger)
        assert [each["id"] for each in (await mine.get("/dead-letters", account=bot))["results"]] == [lost["id"]]
        assert (await mine.call("GET", f"/dead-letters/{theirs['id']}")).status_code == 404
        done = await replay(mine, ids=[theirs["id"]])
        assert (done["replayed"], done["refused"]) == (0, [{"id": theirs["id"], "reason": "not_found"}])
        assert (await replay(mine, filter={"account": bot}))["replayed"] == 1
    nobody = as_user(roles=["user", "support", "moderator"])
    assert (await nobody.call("GET", "/dead-letters")).status_code == 403
    assert (await nobody.call("POST", "/dead-letters/replay", json={"filter": {}})).status_code == 403


@pytest.mark.promise("N50", "N70")
async def test_replay_sends_once_however_often_it_is_asked_and_keeps_the_record(
    admin: Person, bot: str, stranger: str, telegram: Outside, world: World
) -> None:
    lost = await fail(admin, bot, stranger)
    await telegram.order("chats", id=int(stranger))
    key = {"Idempotency-Key": str(uuid4())}
    answers = await asyncio.gather(*[replay(admin, key, ids=[lost["id"]]) for _ in range(4)])
    assert [(each["replayed"], each["refused"]) for each in answers] == [(1, [])] * 4
    found = await ended(admin, lost)
    assert (found["state"], found["attempts"], found["reason"]) == ("sent", 1, None)
    assert [each["decision"] for each in found["log"]] == ["failed", "sent"]
    again = await replay(admin, ids=[lost["id"]])
    assert (again["replayed"], again["refused"]) == (0, [{"id": lost["id"], "reason": "not_dead"}])
    assert len(await telegram.effects(stranger)) == 1
    rows = await world.sql("SELECT data FROM outbox WHERE type = 'Audited' AND data::text LIKE '%dead_letters%'")
    assert rows


@pytest.mark.promise("N50")
async def test_replays_at_the_same_moment_queue_a_message_once(admin: Person, make_bot: Any, telegram: Outside) -> None:
    bot, people = await make_bot(), [str(new_chat()) for _ in range(3)]
    lost = [await fail(admin, bot, each) for each in people]
    for each in people:
        await telegram.order("chats", id=int(each))
    answers = await asyncio.gather(*[replay(admin, filter={"account": bot}) for _ in range(4)])
    assert sum(each["replayed"] for each in answers) == 3
    for delivery, person in zip(lost, people, strict=True):
        assert (await ended(admin, delivery))["state"] == "sent"
        assert len(await telegram.effects(person)) == 1


@pytest.mark.promise("N50")
async def test_what_must_not_go_again_is_refused_with_its_reason(
    admin: Person, make_bot: Any, stranger: str, world: World, chat: str, telegram: Outside
) -> None:
    ada, bot, gone = await world.register(), await make_bot(), await make_bot()
    world.break_mail(ada, reply="550 5.1.1 no such user")
    await world.ask_to_verify(ada)
    [code] = await world.ended(ada)
    late, orphan = await fail(admin, bot, stranger), await fail(admin, gone, stranger)
    await world.sql("UPDATE delivery SET expires_at = now() WHERE id = $1::text::uuid", late["id"])
    assert (await admin.call("DELETE", f"/accounts/{gone}")).status_code == 204
    await telegram.order("faults", match=chat, drop=True, keep=True, after_data=True)
    [made] = (await send(admin, bot, chat))["deliveries"]
    doubtful = await ended(admin, made)
    assert doubtful["state"] == "unknown"
    wanted = {
        str(code["id"]): "secret_erased",
        late["id"]: "expired",
        orphan["id"]: "no_account",
        doubtful["id"]: "may_have_arrived",
        str(uuid4()): "not_found",
    }
    done = await replay(admin, ids=list(wanted))
    assert (done["replayed"], {each["id"]: each["reason"] for each in done["refused"]}) == (0, wanted)
    by_filter = await replay(admin, filter={"account": bot})
    assert (by_filter["replayed"], [each["id"] for each in by_filter["refused"]]) == (0, [late["id"]])
    assert (await replay(admin, ids=[doubtful["id"]], include_unknown=True))["replayed"] == 1
    assert (await ended(admin, doubtful))["state"] == "sent"
    assert len(await telegram.effects(chat)) == 2
    for body in ({}, {"ids": []}, {"ids": [late["id"]], "filter": {}}, {"ids": [late["id"]] * 10_001}):
        assert (await admin.call("POST", "/dead-letters/replay", json=body)).status_code == 422


@pytest.fixture
async def database(world: World) -> AsyncIterator[Database]:
    opened = Database(world.database_url, service="notify")
    yield opened
    await opened.close()


@pytest.mark.promise("N70")
async def test_what_has_ended_is_forgotten_in_time_and_what_waits_never(
    admin: Person, bot: str, chat: str, stranger: str, world: World, clock: FakeClock, database: Database
) -> None:
    lost, sent = await fail(admin, bot, stranger), (await send(admin, bot, chat))
    await ended(admin, sent["deliveries"][0])
    far = (datetime.now(UTC) + timedelta(days=300)).isoformat()
    waiting = await send(admin, bot, chat, send_at=far)

    async def left() -> list[int]:
        counts = [await world.sql("SELECT count(*) AS n FROM delivery WHERE account = $1", bot)]
        query = "SELECT count(*) AS n FROM delivery_attempt WHERE delivery_id = $1::text::uuid"
        counts.append(await world.sql(query, lost["id"]))
        query = "SELECT count(*) AS n FROM batch WHERE id = ANY($1::text[]::uuid[])"
        counts.append(await world.sql(query, [sent["id"], waiting["id"]]))
        return [rows[0]["n"] for rows in counts]

    clock.advance(89 * 86_400)
    await retention.work(database, clock, deliveries=DAYS_90, inbound=DAYS_90)
    assert await left() == [3, 1, 2]
    clock.advance(2 * 86_400)
    await retention.work(database, clock, deliveries=timedelta(), inbound=timedelta())
    assert await left() == [3, 1, 2]
    await retention.work(database, clock, deliveries=DAYS_90, inbound=DAYS_90)
    assert await left() == [1, 0, 1]
    assert (await admin.get(f"/deliveries/{waiting['deliveries'][0]['id']}"))["state"] == "queued"
