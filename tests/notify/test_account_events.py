"""What providers tell of accounts, of their templates, and of people who leave, come back or move."""

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import httpx2
import pytest

from deploy.sandbox import whatsapp_hooks as hooks
from deploy.sandbox.whatsapp_state import text_template
from tests.notify.asking import TOKEN, MakeBot, Person, ended, send
from tests.notify.crowds import campaign, over, step
from tests.notify.desks import WhatsAppDesk, phone
from tests.notify.numbers import Number
from tests.notify.world import World, eventually

SECRET = "s3cret-s3cret-s3cret"
AT = 1_795_000_000
_updates = count(1)


@pytest.fixture
async def number(admin: Person, api: httpx2.AsyncClient, world: World) -> Number:
    found = Number(admin, api, WhatsAppDesk(world.sandbox), f"wa-{secrets.token_hex(4)}")
    for index in range(3):
        kept = text_template(f"more_{index}", "{{1}} and {{2}}", status="PENDING")
        found.business.templates[kept.name, kept.language] = kept
    await found.set_up()

    async def synced() -> bool:
        return (await found.templates())["synced_at"] is not None

    await eventually(synced)
    return found


async def told(admin: Person, account: str, check: Callable[[Any], bool]) -> Any:
    async def look() -> Any:
        shown = await admin.get(f"/accounts/{account}")
        return shown if check(shown) else None

    return await eventually(look)


@pytest.mark.promise("N12")
async def test_templates_are_known_from_the_beginning_and_when_they_are_asked_for(number: Number) -> None:
    shown = await number.templates(limit=2)
    assert [each["name"] for each in shown["results"]] == ["hello_world", "more_0"]
    following = (await number.admin.call("GET", shown["next"].removeprefix("/api/v1"))).json()
    assert [each["name"] for each in following["results"]] == ["more_1", "more_2"]
    rest = await number.templates(limit=100)
    assert rest["results"][-1] | {"updated_at": None} == {
        "name": "order_update",
        "language": "en_US",
        "status": "APPROVED",
        "category": "UTILITY",
        "header": None,
        "body": 2,
        "buttons": [0],
        "beyond": None,
        "updated_at": None,
    }
    number.business.templates["late", "en_US"] = text_template("late", "{{1}}")
    del number.business.templates["more_2", "en_US"]
    assert (await number.admin.call("POST", f"/accounts/{number.name}/templates/sync")).status_code == 202

    async def known() -> bool:
        return (await number.status_of("late"), await number.status_of("more_2")) == ("APPROVED", None)

    await eventually(known)


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"name": "nobody"}, ["name"]),
    ({"name": "hello_world", "language": "de"}, ["language"]),
    ({"name": "more_0", "body": ["a", "b"]}, ["name"]),
    ({"name": "order_update", "body": ["a"], "buttons": ["7"]}, ["body"]),
    ({"name": "order_update", "body": ["a", "b"]}, ["buttons"]),
    ({"name": "hello_world"}, []),
]


@pytest.mark.promise("N12")
async def test_template_that_would_fail_is_refused_with_its_field(number: Number) -> None:
    async def refused(path: str, **body: Any) -> list[str]:
        answer = await number.admin.call("POST", "/deliveries", json=body)
        return [each["field"].removeprefix(f"{path}content.template.") for each in answer.json().get("errors", ())]

    mail = {"channel": "email", "to": [{"address": "ada@example.test"}], "content": {"subject": "x", "text": "x"}}
    for template, fields in WRONG:
        message = {"channel": "whatsapp", "account": number.name, "content": {"template": template}}
        assert await refused("", **message, to=[{"address": phone()}]) == fields
        assert await refused("fallback.0.", **mail, fallback=[message]) == fields


async def test_provider_that_tells_nothing_leaves_it_to_itself_and_says_why(
    admin: Person, api: httpx2.AsyncClient, world: World, bot: str, as_user: Any
) -> None:
    found = Number(admin, api, WhatsAppDesk(world.sandbox), f"wa-{secrets.token_hex(4)}")
    await found.set_up(business_account_id=None)

    async def failed() -> Any:
        return (await found.templates())["fault"]

    assert await eventually(failed) == "no_business_account"
    assert (await found.templates())["synced_at"] is None
    content = {"template": {"name": "nobody_knows"}}
    made = await found.send(phone(), content=content)
    assert (await ended(admin, made["deliveries"][0]))["error_code"] == "132001"
    assert (await admin.call("GET", f"/accounts/{bot}/templates")).status_code == 404
    other = as_user(roles=["support"])
    for method, path in (("GET", "templates"), ("POST", "templates/sync")):
        assert (await other.call(method, f"/accounts/{found.name}/{path}")).status_code == 403


@pytest.mark.promise("N12")
async def test_template_that_is_paused_holds_what_was_sent_with_it_until_it_is_approved_again(
    number: Number, world: World
) -> None:
    people, later = [phone() for _ in range(5)], datetime.now(UTC) + timedelta(days=1)
    made, forced = [await number.send(*some, send_at=later.isoformat()) for some in (people[:3], people[3:])]
    path, other = (f"/deliveries/batches/{each['id']}" for each in (made, forced))
    await number.change("hello_world", "PAUSED", AT)
    standing = await number.admin.get(path)
    assert (standing["held"], standing["hold_reason"]) == (True, "template")
    # Somebody may know better.
    resumed = (await number.admin.call("POST", f"{other}/resume")).json()
    assert (resumed["held"], resumed["hold_reason"]) == (False, None)
    await world.sql("UPDATE delivery SET next_at = now() WHERE batch_id = $1::text::uuid", made["id"])
    # Another template is no reason.
    await number.change("order_update", "PAUSED", AT + 30)
    await number.change("order_update", "APPROVED", AT + 45)
    standing = await number.admin.get(path)
    assert (standing["held"], standing["states"]) == (True, {"queued": 3})
    await number.change("hello_world", "APPROVED", AT + 60)
    standing = await number.admin.get(path)
    assert (standing["held"], standing["hold_reason"]) == (False, None)

    async def gone() -> bool:
        return bool((await number.admin.get(path))["states"] == {"sent": 3})

    await eventually(gone)
    assert [len(number.desk.chats(each)) for each in people] == [1] * 3 + [0] * 2


@pytest.mark.promise("N12")
async def test_campaign_goes_on_with_its_template_unless_somebody_has_paused_it_too(
    number: Number, admin: Person
) -> None:
    await admin.call("PATCH", f"/accounts/{number.name}", json={"daily_limit": 0})
    given = {"channel": "whatsapp", "account": number.name, "content": {"template": {"name": "hello_world"}}}
    goes, stays = [await campaign(admin, {"address": phone()}, **given) for _ in range(2)]

    async def has_become(made: str, state: str, fault: str | None) -> bool:
        found = await admin.get(f"/campaigns/{made}")
        return (found["state"], found["fault"]) == (state, fault)

    for made in (goes, stays):
        await step(admin, made, "start")
    await number.change("hello_world", "PAUSED", AT)
    for made in (goes, stays):
        await eventually(partial(has_become, made, "paused", "template"))
    assert (await step(admin, stays, "pause"))["fault"] is None
    assert (await admin.call("POST", f"/campaigns/{stays}/pause")).status_code == 409
    await number.change("hello_world", "APPROVED", AT + 60)
    await eventually(partial(has_become, goes, "running", None))
    await admin.call("PATCH", f"/accounts/{number.name}", json={"daily_limit": None})
    assert (await over(admin, goes))["counts"] == {"sent": 1}
    assert await has_become(stays, "paused", None)
    assert (await step(admin, stays, "resume"))["state"] == "running"
    assert (await over(admin, stays))["counts"] == {"sent": 1}


@pytest.mark.promise("N40")
async def test_account_that_its_provider_closes_is_refused_and_its_limit_is_known(number: Number) -> None:
    number.business.tier = 2000
    quality = hooks.quality(number.business, number.desk.number, "FLAGGED", AT)
    await number.tell(quality, hooks.account(number.business, "VERIFIED_ACCOUNT", AT))
    shown = await told(number.admin, number.name, lambda each: len(each["told"]) == 2)
    assert shown["told"]["limit"]["recipients_per_day"] == 2000
    assert (shown["told"]["account"]["event"], shown["state"]) == ("VERIFIED_ACCOUNT", "ok")
    number.business.tier = 250
    older = hooks.quality(number.business, number.desk.number, "FLAGGED", AT - 60)
    await number.tell(older, hooks.account(number.business, "DISABLED_UPDATE", AT + 60))
    shown = await told(number.admin, number.name, lambda each: each["state"] == "refused")
    assert shown["fault"] == "disabled_update"
    assert shown["told"]["limit"]["recipients_per_day"] == 2000


Update = Callable[..., Awaitable[None]]


@pytest.fixture
async def tells(api: httpx2.AsyncClient, make_bot: MakeBot) -> tuple[str, Update]:
    """A bot, and what Telegram tells it."""
    name = await make_bot(secrets={"token": TOKEN, "webhook_secret": SECRET})

    async def tell(**update: Any) -> None:
        headers = {"X-Telegram-Bot-Api-Secret-Token": SECRET}
        body = {"update_id": next(_updates), **update}
        assert (await api.post(f"/hooks/telegram/{name}", json=body, headers=headers)).status_code == 200

    return name, tell


def member(chat: str, old: str, new: str) -> dict[str, Any]:
    standing = {"chat": {"id": int(chat), "type": "private"}, "date": AT, "from": {"id": int(chat), "is_bot": False}}
    return {"my_chat_member": {**standing, "old_chat_member": {"status": old}, "new_chat_member": {"status": new}}}


async def suppressed(admin: Person, address: str) -> list[tuple[str, str]]:
    found = (await admin.get("/suppressions", address=address))["results"]
    return [(each["category"], each["reason"]) for each in found]


@pytest.mark.promise("N14")
async def test_who_blocks_the_bot_gets_nothing_until_they_come_back(
    admin: Person, tells: tuple[str, Update], chat: str
) -> None:
    bot, tell = tells

    async def becomes(*wanted: tuple[str, str]) -> None:
        async def check() -> bool:
            return await suppressed(admin, chat) == list(wanted)

        await eventually(check)

    await tell(**member(chat, "member", "kicked"))
    await becomes(("*", "provider"))
    [made] = (await send(admin, bot, chat))["deliveries"]
    assert (await ended(admin, made))["state"] == "suppressed"
    await tell(**member(chat, "kicked", "member"))
    await becomes()
    [made] = (await send(admin, bot, chat))["deliveries"]
    assert (await ended(admin, made))["state"] == "sent"
    # What staff has set, nobody but staff takes back.
    body = {"channel": "telegram", "address": chat}
    assert (await admin.call("POST", "/suppressions", json=body)).status_code == 204
    for old, new in (("member", "kicked"), ("kicked", "member")):
        await tell(**member(chat, old, new))
    await tell(message={"message_id": 1, "date": AT, "chat": {"id": int(chat), "type": "private"}, "text": "Hello"})

    async def heard() -> Any:
        return (await admin.get(f"/accounts/{bot}/threads"))["results"]

    await eventually(heard)
    assert await suppressed(admin, chat) == [("*", "manual")]


async def test_who_wants_no_marketing_at_whatsapp_gets_none_until_they_do(number: Number) -> None:
    person = number.desk.whatsapp.person(phone())
    for wants, expected in ((False, [("marketing", "provider")]), (True, [])):
        person.wants_marketing = wants
        await number.tell(hooks.preference(number.business, number.desk.number, person, AT + wants))

        async def check(wanted: Any = expected) -> bool:
            return all([await suppressed(number.admin, each) == wanted for each in (person.user_id, person.phone)])

        await eventually(check)


@pytest.mark.promise("N67")
async def test_who_is_suppressed_by_phone_or_id_gets_nothing_by_the_other(number: Number) -> None:
    people = [number.desk.whatsapp.person(phone()) for _ in range(2)]
    for at, person in enumerate(people):
        await number.tell(hooks.message(number.business, number.desk.writes(person.phone)))
        left_out = {"channel": "whatsapp", "address": (person.phone, person.user_id)[at], "category": "news"}
        assert (await number.admin.call("POST", "/suppressions", json=left_out)).status_code == 204

    async def heard() -> bool:
        return len((await number.admin.get(f"/accounts/{number.name}/threads"))["results"]) == len(people)

    await eventually(heard)
    addresses = [each for person in people for each in (person.phone, person.user_id)]
    for category, state in (("news", "suppressed"), ("orders", "sent")):
        made = await number.send(*addresses, category=category)
        assert [(await ended(number.admin, each))["state"] for each in made["deliveries"]] == [state] * len(addresses)


async def test_group_that_moves_takes_its_thread_along(admin: Person, tells: tuple[str, Update], chat: str) -> None:
    bot, tell = tells
    old, new = -int(chat), -1_000_000_000_000 - int(chat)
    group = {"id": old, "type": "group"}
    await tell(message={"message_id": 1, "date": AT, "chat": group, "text": "Hello"})
    await tell(message={"message_id": 2, "date": AT, "chat": group, "migrate_to_chat_id": new})

    async def moved() -> bool:
        threads = (await admin.get(f"/accounts/{bot}/threads"))["results"]
        return [each["peer"] for each in threads] == [str(new)]

    await eventually(moved)
