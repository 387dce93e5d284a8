"""Messages that somebody asks to be sent: accepted as a whole, and followed to their end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from deploy.sandbox import whatsapp_hooks as hooks
from libs.testing.clients import client
from notify_service.app import create_app
from tests.notify.asking import OPEN, MakeBot, Person, ended, send
from tests.notify.chats import Outside, new_chat
from tests.notify.desks import WhatsAppDesk, phone
from tests.notify.numbers import Number
from tests.notify.world import World, eventually


async def errors_of(person: Person, **body: Any) -> list[str]:
    given = {"channel": "telegram", "to": [{"address": "1"}], "content": {"text": "Hello"}, **body}
    answer = await person.call("POST", "/deliveries", json=given)
    assert answer.status_code == 422, answer.text
    return [each["field"] for each in answer.json()["errors"]]


@pytest.mark.promise("N1", "N70")
async def test_message_is_accepted_sent_and_followed(
    admin: Person, bot: str, chat: str, telegram: Outside, as_user: Any
) -> None:
    content = {"text": "Hello {{name}}"}
    made = await send(admin, bot, {"address": chat, "variables": {"name": "{{x}} & <b>Ada</b>"}}, content=content)
    found = await ended(admin, made["deliveries"][0])
    assert (found["state"], found["account"], found["attempts"]) == ("sent", bot, 1)
    assert [each["decision"] for each in found["log"]] == ["sent"]
    assert found["log"][0]["milliseconds"] is not None
    assert [each["text"] for each in await telegram.effects(chat)] == ["Hello {{x}} & <b>Ada</b>"]
    standing = await admin.get(f"/deliveries/batches/{made['id']}")
    assert (standing["states"], standing["held"]) == ({"sent": 1}, False)
    stranger = as_user(roles=["admin"])
    for path in (f"/deliveries/{found['id']}", f"/deliveries/batches/{made['id']}"):
        assert (await stranger.call("GET", path)).status_code == 404
    assert (await stranger.call("POST", f"/deliveries/batches/{made['id']}/cancel")).status_code == 404


async def test_only_administrators_and_whom_the_settings_name_may_send(
    as_user: Any, world: World, issue_token: Any, bot: str, chat: str
) -> None:
    body = {"channel": "telegram", "to": [{"address": chat}], "content": {"text": "x"}}
    refused = await as_user(roles=["user", "support"]).call("POST", "/deliveries", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "may_not_send")
    sender = uuid4()
    async with client(create_app(world.settings(senders=[sender]))) as http:
        named = Person(http, issue_token(sender))
        assert (await named.call("POST", "/deliveries", json=body)).status_code == 202
        assert (await named.call("GET", "/accounts")).status_code == 403


@pytest.mark.promise("N4")
async def test_ten_thousand_are_accepted_at_once_or_not_at_all(admin: Person, bot: str) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    to = [str(number) for number in range(1, 10_001)]
    made = await send(admin, bot, *to, send_at=later)
    assert len({each["id"] for each in made["deliveries"]}) == 10_000
    assert (await admin.get(f"/deliveries/batches/{made['id']}"))["states"] == {"queued": 10_000}
    page = await admin.get(f"/deliveries/batches/{made['id']}/deliveries", limit=3)
    assert [each["address"] for each in page["results"]] == ["10000", "9999", "9998"]
    assert await errors_of(admin, account=bot, to=[{"address": "1"}] * 10_001) == ["to"]
    wrong = [{"address": "1"}, {"address": "not a chat"}, {"address": "2"}]
    assert await errors_of(admin, account=bot, to=wrong) == ["to.1.address"]
    cancelled = await admin.call("POST", f"/deliveries/batches/{made['id']}/cancel")
    assert cancelled.json() == {"cancelled": 10_000}


@pytest.mark.promise("N8")
@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"channel": "smoke"}, ["channel"]),
        ({"account": "nobody"}, ["account"]),
        ({"account": "smtp"}, ["account"]),
        ({"content": {"subject": "x"}}, ["content"]),
        ({"content": {"text": "{{name"}}, ["content.text"]),
        ({"content": {"template": {"name": "hello"}}}, ["content.template"]),
        ({"content": {"text": "{{a}} {{b}}"}}, ["to.0.variables.a", "to.0.variables.b"]),
        ({"to": []}, ["to"]),
        ({"to": [{}]}, ["to.0"]),
        ({"to": [{"user": "01a20343-0000-7000-8000-000000000000"}]}, ["to.0.user"]),
        ({"priority": "now"}, ["priority"]),
        ({"category": "No Such"}, ["category"]),
        ({"send_at": "2030-01-01T00:00:00"}, ["send_at"]),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, ["expires_at"]),
        ({"send_at": "2030-01-02T00:00:00Z", "expires_at": "2030-01-01T00:00:00Z"}, [""]),
        ({"fallback": [{"channel": "smoke"}]}, ["fallback.0.channel"]),
        (
            {"fallback": [{"channel": "telegram", "content": {"template": {"name": "x"}}}]},
            ["fallback.0.content.template"],
        ),
        ({"surprise": 1}, ["surprise"]),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_its_field(
    admin: Person, bot: str, body: dict[str, Any], fields: list[str]
) -> None:
    assert await errors_of(admin, **{"account": bot, **body}) == fields


@pytest.mark.promise("N2")
async def test_repeated_request_sends_nothing_twice(admin: Person, bot: str, chat: str, telegram: Outside) -> None:
    key = {"headers": {"Idempotency-Key": uuid4().hex}}
    first, again = await asyncio.gather(send(admin, bot, chat, **key), send(admin, bot, chat, **key))
    assert first == again
    await ended(admin, first["deliveries"][0])
    assert len(await telegram.effects(chat)) == 1


@pytest.mark.promise("N3")
async def test_one_occasion_reaches_an_address_once(admin: Person, bot: str, chat: str, telegram: Outside) -> None:
    to = {"address": chat, "dedupe_key": "invoice-7"}
    made = await asyncio.gather(*(send(admin, bot, to, category="billing") for _ in range(4)))
    states = [each["deliveries"][0]["state"] for each in made]
    assert sorted(states) == ["duplicate"] * 3 + ["queued"]
    await ended(admin, made[states.index("queued")]["deliveries"][0])
    twice = await send(admin, bot, {**to, "dedupe_key": "b"}, {**to, "dedupe_key": "b"}, category="other")
    assert [each["state"] for each in twice["deliveries"]] == ["queued", "duplicate"]
    await ended(admin, twice["deliveries"][0])
    assert len(await telegram.effects(chat)) == 2


@pytest.mark.promise("N5")
async def test_what_has_not_left_can_be_taken_back(admin: Person, bot: str, chat: str, telegram: Outside) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    [planned] = (await send(admin, bot, chat, send_at=later))["deliveries"]
    assert (await admin.call("POST", f"/deliveries/{planned['id']}/cancel")).status_code == 204
    assert (await admin.get(f"/deliveries/{planned['id']}"))["state"] == "cancelled"
    [sent] = (await send(admin, bot, chat))["deliveries"]
    await ended(admin, sent)
    late = await admin.call("POST", f"/deliveries/{sent['id']}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "too_late")
    assert len(await telegram.effects(chat)) == 1


@pytest.mark.promise("N5")
async def test_message_leaves_at_its_time(admin: Person, bot: str, chat: str, world: World) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    [planned] = (await send(admin, bot, chat, send_at=soon.isoformat()))["deliveries"]
    found = await ended(admin, planned)
    assert found["state"] == "sent"
    assert datetime.fromisoformat(found["sent_at"]) >= soon


@pytest.mark.promise("N6")
async def test_message_that_is_too_late_never_leaves(admin: Person, bot: str, chat: str, telegram: Outside) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    [late] = (await send(admin, bot, chat, expires_at=past))["deliveries"]
    assert (await ended(admin, late))["state"] == "expired"
    assert await telegram.effects(chat) == []


@pytest.mark.promise("N67")
async def test_suppressed_address_gets_nothing_until_it_is_freed(
    admin: Person, bot: str, chat: str, telegram: Outside
) -> None:
    entry = {"channel": "telegram", "address": chat, "category": "news"}
    assert (await admin.call("POST", "/suppressions", json=entry)).status_code == 204
    [held] = (await send(admin, bot, chat, category="news"))["deliveries"]
    [free] = (await send(admin, bot, chat, category="billing"))["deliveries"]
    assert [(each["state"], each["reason"]) for each in (await ended(admin, held), await ended(admin, free))] == [
        ("suppressed", "suppressed"),
        ("sent", None),
    ]
    [listed] = (await admin.get("/suppressions", address=chat))["results"]
    assert (listed["category"], listed["reason"]) == ("news", "manual")
    assert (await admin.call("DELETE", f"/suppressions/{listed['id']}")).status_code == 204
    assert (await admin.call("DELETE", f"/suppressions/{listed['id']}")).status_code == 404
    [again] = (await send(admin, bot, chat, category="news"))["deliveries"]
    assert (await ended(admin, again))["state"] == "sent"


@pytest.mark.promise("N67", "N46")
async def test_dead_address_is_suppressed_by_what_its_provider_says(
    admin: Person, bot: str, chat: str, telegram: Outside
) -> None:
    await telegram.order(f"chats/{chat}/standing", do="block")
    [refused] = (await send(admin, bot, chat))["deliveries"]
    assert (await ended(admin, refused))["state"] == "failed"
    [listed] = (await admin.get("/suppressions", address=chat))["results"]
    assert (listed["category"], listed["reason"]) == ("*", "provider")
    [held] = (await send(admin, bot, chat))["deliveries"]
    assert (await ended(admin, held))["state"] == "suppressed"


@pytest.mark.promise("N51")
async def test_next_channel_tries_when_the_first_has_failed(
    admin: Person, make_bot: MakeBot, chat: str, telegram: Outside
) -> None:
    first, second = await make_bot(), await make_bot()
    nobody = str(new_chat())
    fallback = {"channel": "telegram", "account": second, "content": {"text": "Second"}, "after_seconds": 3600}
    to = {"address": nobody, "addresses": {"telegram": chat}}
    made = await send(admin, first, to, fallback=[fallback])
    path = f"/deliveries/batches/{made['id']}/deliveries"

    async def check() -> Any:
        rows = (await admin.get(path))["results"]
        return rows if len(rows) == 2 and not {row["state"] for row in rows} & OPEN else None

    rows = await eventually(check)
    assert [(row["account"], row["state"]) for row in rows] == [(second, "sent"), (first, "failed")]
    assert [each["text"] for each in await telegram.effects(chat)] == ["Second"]


@pytest.mark.promise("N51")
async def test_next_channel_tries_once_whatever_is_heard_of_the_first_later(
    admin: Person, api: httpx2.AsyncClient, bot: str, chat: str, telegram: Outside, *, world: World
) -> None:
    number = Number(admin, api, WhatsAppDesk(world.sandbox), f"wa-{uuid4().hex[:8]}")
    await number.set_up()
    to, content = phone(), {"text": "Second"}
    fallback = {"channel": "telegram", "account": bot, "content": content, "after_seconds": 1, "until": "delivered"}
    made = await number.send({"address": to, "addresses": {"telegram": chat}}, fallback=[fallback])

    async def both() -> bool:
        return bool((await admin.get(f"/deliveries/batches/{made['id']}"))["states"].get("sent") == 2)

    await eventually(both)
    [said] = number.desk.chats(to)
    error = {"code": 131026, "title": "Message undeliverable"}
    await number.tell(hooks.status(number.business, said, "failed", at=said.at + 1, error=error))

    async def failed() -> bool:
        states = (await admin.get(f"/deliveries/batches/{made['id']}"))["states"]
        return bool(states == {"failed": 1, "sent": 1})

    await eventually(failed)
    rows = await world.sql("SELECT follow_at FROM delivery WHERE batch_id = $1::text::uuid", made["id"])
    assert [row["follow_at"] for row in rows] == [None, None]
    assert len(await telegram.effects(chat)) == 1


@pytest.mark.promise("N51")
async def test_next_channel_stays_silent_when_the_first_was_good_enough(
    admin: Person, make_bot: MakeBot, chat: str, telegram: Outside, world: World
) -> None:
    first, second = await make_bot(), await make_bot()
    fallback = {"channel": "telegram", "account": second, "after_seconds": 3600, "until": "sent"}
    made = await send(admin, first, {"address": chat, "addresses": {"telegram": chat}}, fallback=[fallback])
    hour_is_over = "UPDATE delivery SET follow_at = now() WHERE batch_id = $1"
    await ended(admin, made["deliveries"][0])
    await world.sql(hour_is_over, made["id"])

    async def followed() -> bool:
        query = "SELECT follow_at FROM delivery WHERE batch_id = $1"
        return [row["follow_at"] for row in await world.sql(query, made["id"])] == [None]

    await eventually(followed)
    assert len(await telegram.effects(chat)) == 1
    # Nobody reads for this bot, so a message that must be read goes on.
    unread = {**fallback, "until": "read"}
    made = await send(admin, first, {"address": chat, "addresses": {"telegram": chat}}, fallback=[unread])
    await ended(admin, made["deliveries"][0])
    await world.sql(hour_is_over, made["id"])

    async def both() -> bool:
        states = (await admin.get(f"/deliveries/batches/{made['id']}"))["states"]
        return bool(states == {"sent": 2})

    await eventually(both)
