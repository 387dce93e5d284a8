"""Customers' programs hear what happens: signed, at least once, and nothing about themselves."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from libs.contracts.accounts import UserDeleted
from libs.testing.clients import client
from notify_service.app import create_app
from notify_service.domain.channels.webhook_events import EVENTS
from notify_service.domain.verdicts import Policy, policy_for
from tests.notify.asking import Person, ended, send
from tests.notify.chats import new_chat
from tests.notify.crowds import campaign, over, people, step
from tests.notify.desks import WhatsAppDesk
from tests.notify.desks import phone as new_phone
from tests.notify.endpoints import Endpoint
from tests.notify.test_hooks import APP_SECRET, Number, status, written
from tests.notify.ways_out import ONE_CLICK, link_to, somebody
from tests.notify.world import World, eventually, kill

_categories = count(1)


Listen = Callable[..., Awaitable[Endpoint]]


@pytest.fixture
async def web(world: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{world.sandbox.http_port}", trust_env=False) as http:
        yield http


@pytest.fixture(scope="module")
async def somebody_listens(world: World, api: httpx2.AsyncClient, issue_token: Any) -> AsyncIterator[None]:
    """Senders know that there are endpoints: they take up to a second to see the first."""
    me, name = Person(api, issue_token(roles=["admin"])), f"endpoint-{uuid4().hex[:24]}"
    config = {"url": "https://a.test/", "events": ["delivery.read"], "categories": ["nothing_is_of_this"]}
    await me.call("POST", "/accounts", json={"name": name, "provider": "webhook", "config": config})
    await asyncio.sleep(1.1)
    yield
    await me.call("DELETE", f"/accounts/{name}")


@pytest.fixture
async def listen(admin: Person, web: httpx2.AsyncClient, somebody_listens: None) -> AsyncIterator[Listen]:
    """`await listen("delivery.*", categories=[...])`; it hears no more after the test."""
    made: list[Endpoint] = []

    async def make(*events: str, **config: Any) -> Endpoint:
        made.append(Endpoint(admin, web, f"endpoint-{uuid4().hex[:24]}"))
        await made[-1].create(*events, **config)
        return made[-1]

    yield make
    for each in made:
        await admin.call("PATCH", f"/accounts/{each.name}", json={"enabled": False})


@pytest.fixture
def category() -> str:
    return f"heard_{secrets.token_hex(4)}_{next(_categories)}"


@pytest.fixture
async def number(admin: Person, api: httpx2.AsyncClient, world: World) -> Number:
    desk = WhatsAppDesk(world.sandbox)
    found = Number(admin, api, desk, f"wa-{secrets.token_hex(4)}")
    body = {
        "name": found.name,
        "provider": "whatsapp",
        "config": {"phone_number_id": desk.number.id, "base_url": f"{desk.url}/whatsapp"},
        "secrets": {"token": "parley", "app_secret": APP_SECRET, "verify_token": "a-word"},
    }
    assert (await admin.call("POST", "/accounts", json=body)).status_code == 201
    return found


def kinds(bodies: list[Any]) -> list[tuple[str, str]]:
    """In the order in which it happened, whatever order it came in."""
    return [
        (each["type"], each["data"]["state"]) for each in sorted(bodies, key=lambda body: int(body["data"]["number"]))
    ]


@pytest.mark.promise("N53")
async def test_endpoint_hears_what_becomes_of_messages_and_nothing_of_its_own(
    listen: Listen, world: World, admin: Person, bot: str, chat: str, category: str
) -> None:
    endpoint = await listen("delivery.*", categories=[category, "events"])
    deaf = await listen("delivery.read", "campaign.*", categories=[category])
    first = await send(admin, bot, chat, str(new_chat()), category=category)
    heard = {each["data"]["state"]: each for each in await endpoint.heard(2)}
    assert {state: each["type"] for state, each in heard.items()} == {
        "sent": "delivery.sent",
        "failed": "delivery.failed",
    }
    data = heard["sent"]["data"]
    [owner] = {row["owner"] for row in await world.sql("SELECT owner FROM batch WHERE id = $1", first["id"])}
    assert data.pop("number") > 0
    assert data == {
        "delivery_id": first["deliveries"][0]["id"],
        "batch_id": first["id"],
        "state": "sent",
        "category": category,
        "owner": owner,
        "channel": "telegram",
        "account": bot,
        "address": chat,
    }
    refused = heard["failed"]["data"]
    assert (refused["reason"], refused["code"]) == ("refused", "chat_not_found")
    # Had its own messages been told of, that would have come before this.
    second = await send(admin, bot, chat, category=category)
    await endpoint.heard(delivery_id=second["deliveries"][0]["id"])
    assert len(await endpoint.heard(3)) == 3
    assert await deaf.hooks() == []


@pytest.mark.promise("N53")
async def test_every_end_is_told_whoever_brings_it(
    listen: Listen, world: World, admin: Person, bot: str, chat: str, number: Number, category: str
) -> None:
    endpoint = await listen("*", categories=[category])
    twice = [{"address": chat, "dedupe_key": "once"}] * 2
    done = (await send(admin, bot, *twice, category=category))["deliveries"]
    late = (await send(admin, bot, chat, chat, category=category, send_at="2100-01-01T00:00:00Z"))["deliveries"]
    assert (await admin.call("POST", f"/deliveries/{late[0]['id']}/cancel")).status_code == 204
    silent = str(new_chat())
    given = {"channel": "telegram", "address": silent, "category": category}
    assert (await admin.call("POST", "/suppressions", json=given)).status_code == 204
    done += (await send(admin, bot, silent, category=category))["deliveries"]
    ada, content = await world.register(), {"subject": "Hello", "text": "It is done."}
    await send(admin, "inapp", {"user": str(ada.user_id)}, channel="inapp", content=content, category=category)
    states = sorted(kinds(await endpoint.heard(5)))
    ends = ("cancelled", "delivered", "duplicate", "sent", "suppressed")
    assert states == [(f"delivery.{each}", each) for each in ends]
    # What a provider tells afterwards.
    phone = new_phone()
    number.desk.writes(phone)
    made = await number.send(phone, category=category)
    await ended(admin, made)
    [row] = await world.sql("SELECT provider_id FROM delivery WHERE id = $1", made["id"])
    for state in ("delivered", "read", "read"):
        await number.tell(status(row["provider_id"], state))
        await endpoint.heard(2 if state == "delivered" else 3, delivery_id=made["id"])
    told = await endpoint.heard(3, delivery_id=made["id"])
    assert kinds(told) == [(f"delivery.{each}", each) for each in ("sent", "delivered", "read")]


@pytest.mark.promise("N53")
async def test_of_what_is_about_security_ids_and_states_alone_are_told(listen: Listen, world: World) -> None:
    endpoint = await listen("delivery.sent", categories=["security"])
    ada = await world.register()
    await world.ask_to_verify(ada)
    [body] = await endpoint.heard(user=str(ada.user_id))
    assert body["data"].keys() == {"number", "delivery_id", "category", "state", "user"}


@pytest.mark.promise("N53")
async def test_what_people_write_and_want_and_how_campaigns_go_is_told(
    listen: Listen, api: httpx2.AsyncClient, admin: Person, number: Number, category: str
) -> None:
    endpoint = await listen("message.received", "recipient.*", "campaign.*", categories=[category])
    phone, reader, crowd = new_phone(), somebody(), people(2)
    await number.tell(written(phone, "Tuesday?"))
    assert (await api.post(link_to("email", category, reader), data=ONE_CLICK)).status_code == 200
    made = await campaign(admin, *crowd, category=category)
    await step(admin, made, "start")
    await over(admin, made)
    [message] = await endpoint.heard(peer=phone)
    said = message["data"]
    assert (message["type"], said["account"], said["channel"], said["text"]) == (
        "message.received",
        number.name,
        "whatsapp",
        "Tuesday?",
    )
    [wish] = await endpoint.heard(address=reader)
    assert wish["type"] == "recipient.unsubscribed"
    assert wish["data"].items() >= {"channel": "email", "category": category, "reason": "unsubscribe"}.items()
    steps = await endpoint.heard(2, campaign_id=made)
    assert {each["type"]: each["data"]["state"] for each in steps} == {
        "campaign.started": "running",
        "campaign.finished": "finished",
    }
    assert next(each["data"]["counts"] for each in steps if each["type"] == "campaign.finished") == {"sent": 2}


@pytest.mark.promise("N53")
async def test_message_keeps_its_id_until_it_is_taken_and_is_sent_again_after_it_was_given_up(
    listen: Listen, world: World, admin: Person, bot: str, chat: str, category: str
) -> None:
    endpoint = await listen("delivery.sent", categories=[category], timeout=1)
    await endpoint.fail(reply="500 broken")
    await endpoint.fail(delay_ms=2_000)
    await send(admin, bot, chat, category=category)
    await endpoint.heard()
    mine = "SELECT id, attempts, state FROM delivery WHERE account = $1"

    async def sent() -> Any:
        [row] = await world.sql(mine, endpoint.name)
        return row if row["state"] == "sent" else None

    row = await eventually(sent)
    # Once more where its last answer took too long as well.
    assert row["attempts"] >= 3
    assert {each["id"] for each in await endpoint.hooks()} == {str(row["id"])}

    await endpoint.fail(reply="500 broken", times=100)
    await send(admin, bot, chat, category=category)

    async def given_up() -> Any:
        # As if it were the last try of three days.
        await world.sql("UPDATE delivery SET attempts = 11 WHERE account = $1 AND state = 'retry'", endpoint.name)
        return (await admin.get("/dead-letters", account=endpoint.name))["results"]

    [letter] = await eventually(given_up)
    assert (letter["state"], letter["reason"], letter["error_code"]) == ("dead", "attempts", "500")
    await endpoint.recover()
    replayed = await admin.call("POST", "/dead-letters/replay", json={"ids": [letter["id"]]})
    assert replayed.json()["replayed"] == 1
    await endpoint.heard(2)
    assert letter["id"] in {each["id"] for each in await endpoint.hooks()}


@pytest.mark.promise("N53")
async def test_endpoint_that_is_gone_is_told_of_and_gets_what_waits_when_it_is_back(
    listen: Listen, admin: Person, bot: str, chat: str, category: str
) -> None:
    watcher = await listen("account.changed")
    endpoint = await listen("delivery.sent", categories=[category])
    await endpoint.fail(reply="410 gone", times=100)
    await send(admin, bot, chat, category=category)
    [gone] = await watcher.heard(account=endpoint.name)
    assert (gone["data"]["refused"], gone["data"]["fault"]) == (True, "410")
    await send(admin, bot, chat, category=category)

    async def waits() -> bool:
        return bool((await admin.get(f"/accounts/{endpoint.name}"))["waiting"] == 2)

    await eventually(waits)
    assert await endpoint.hooks() == []
    await endpoint.recover()
    await endpoint.change(enabled=True)
    await endpoint.heard(2)
    assert [each["data"]["refused"] for each in await watcher.heard(2, account=endpoint.name)] == [True, False]


@pytest.mark.promise("N53")
async def test_endpoint_can_go_whatever_waits_for_it(
    listen: Listen, world: World, admin: Person, bot: str, chat: str, category: str
) -> None:
    endpoint = await listen("delivery.sent", categories=[category])
    await endpoint.fail(reply="410 gone", times=100)
    await send(admin, bot, chat, category=category)

    async def refused() -> bool:
        return bool((await admin.get(f"/accounts/{endpoint.name}"))["state"] == "refused")

    await eventually(refused)

    async def removed() -> bool:
        return (await admin.call("DELETE", f"/accounts/{endpoint.name}")).status_code == 204

    await eventually(removed)
    rows = await world.sql("SELECT state FROM delivery WHERE account = $1", endpoint.name)
    assert [row["state"] for row in rows] == ["cancelled"]


@pytest.mark.promise("N53")
async def test_secret_is_made_shown_once_and_changed_without_a_gap(listen: Listen, admin: Person) -> None:
    endpoint = await listen()
    assert endpoint.secret not in (await admin.call("GET", f"/accounts/{endpoint.name}")).text
    assert (await endpoint.change(enabled=True))["made"] == {}
    tried = await admin.call("POST", f"/accounts/{endpoint.name}/test")
    assert tried.status_code == 202
    [body] = await endpoint.heard()
    assert (body["type"], body["data"]) == ("test", {"account": endpoint.name})
    shown = await ended(admin, tried.json())
    assert (shown["state"], len(shown["log"])) == ("sent", 1)
    changed = await endpoint.change(secrets={"previous_secret": endpoint.secret})
    assert changed["made"]["secret"] != endpoint.secret
    # Whoever knows the one or the other believes it; where a sender is a moment behind, at its next try.
    await admin.call("POST", f"/accounts/{endpoint.name}/test")
    await endpoint.heard(2)
    await endpoint.learn(changed["made"]["secret"])
    await admin.call("POST", f"/accounts/{endpoint.name}/test")
    await endpoint.heard(3)
    assert (await endpoint.hooks())[-1]["signatures"] == 2


@pytest.mark.promise("N53")
async def test_only_events_that_there_are_can_be_listened_to_and_only_by_administrators(
    listen: Listen, admin: Person, as_user: Any, bot: str
) -> None:
    endpoint = await listen(*EVENTS, "message.*", "*", categories=["nothing_is_of_this"])
    given = {"url": "https://a.test/", "events": ["delivery.sent", "delivery.exploded", "del*"], "categories": ["No!"]}
    answer = await admin.call("PATCH", f"/accounts/{endpoint.name}", json={"config": given})
    assert answer.status_code == 422
    fields = [each["field"] for each in answer.json()["errors"]]
    assert fields == ["config.events.1", "config.events.2", "config.categories.0"]
    assert {each["message"] for each in answer.json()["errors"][:2]} == {"There is no such event."}
    for name, code in ((bot, 409), ("nobody", 404)):
        assert (await admin.call("POST", f"/accounts/{name}/test")).status_code == code
    assert (await as_user().call("POST", f"/accounts/{endpoint.name}/test")).status_code == 403


@pytest.mark.promise("N53")
def test_endpoint_is_tried_for_about_three_days() -> None:
    policy = policy_for(Policy(), "webhook")
    seconds = sum(min(policy.retry_cap, policy.retry_base * 2**number) / 2 for number in range(policy.max_attempts - 1))
    assert 2.5 < seconds / 86_400 < 3.5


@pytest.mark.promise("N53", "A54")
async def test_what_was_told_of_a_user_goes_with_them(listen: Listen, world: World) -> None:
    endpoint = await listen("delivery.sent", categories=["message"])
    ada = await world.register()
    await world.say(ada)
    await endpoint.heard(user=str(ada.user_id))
    del world.auth.profiles[ada.user_id]
    await world.auth.emit(UserDeleted(user_id=ada.user_id))

    async def gone() -> bool:
        rows = "SELECT 1 FROM delivery AS d WHERE account = $1 AND to_jsonb(d)::text LIKE '%' || $2 || '%'"
        return not await world.sql(rows, endpoint.name, str(ada.user_id))

    await eventually(gone)


@pytest.mark.promise("N53")
async def test_what_nobody_listens_to_is_not_written_and_what_somebody_does_outlives_the_worker(
    own_world: World, issue_token: Any
) -> None:
    world = own_world
    crowd = people(20)
    # So slow that the kill hits some under way.
    world.break_mail(delay_ms=30, times=1_000, after_data=True)
    async with client(create_app(world.settings())) as http:
        me = Person(http, issue_token(roles=["admin"]))
        worker = await world.start()
        mail = {"channel": "email", "content": {"subject": "a", "text": "b"}}
        [before] = (await send(me, "smtp", crowd[0], **mail))["deliveries"]
        # Most of the time the process takes to begin.
        await eventually(lambda: world.delivered(crowd[0]["address"]), 120)
        await ended(me, before)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{world.sandbox.http_port}", trust_env=False) as web:
            endpoint = Endpoint(me, web, f"endpoint-{uuid4().hex[:24]}")
            await endpoint.create("delivery.*")
            await asyncio.sleep(1.1)
            made = (await send(me, "smtp", *crowd, **mail))["deliveries"]
            await endpoint.heard(5)
            await kill(worker)
            async with world.working():
                wanted = {each["id"] for each in made}

                async def complete() -> bool:
                    hooks = await endpoint.hooks()
                    return {each["body"]["data"]["delivery_id"] for each in hooks} >= wanted

                await eventually(complete, 60)
            hooks = await endpoint.hooks()
    assert before["id"] not in {each["body"]["data"]["delivery_id"] for each in hooks}
    # A message that came twice came under one id.
    assert len({each["id"] for each in hooks}) == len({each["body"]["data"]["number"] for each in hooks})
    assert await world.sql("SELECT 1 FROM happening") == []
