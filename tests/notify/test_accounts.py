"""Sending accounts: set up, limited, refused, put right."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from libs.testing.clients import client
from notify_service.app import create_app
from tests.notify.asking import TOKEN, MakeBot, Person, ended, send
from tests.notify.chats import Outside, new_chat
from tests.notify.world import World, eventually


async def refused(admin: Person, method: str, path: str, **body: Any) -> tuple[int, str, list[str]]:
    answer = await admin.call(method, path, json=body)
    given = answer.json()
    return answer.status_code, given["code"], [each["field"] for each in given.get("errors", ())]


async def test_account_is_set_up_shown_changed_and_removed(admin: Person, make_bot: MakeBot) -> None:
    name = await make_bot(rank=7, rate=2.5, daily_limit=10)
    shown = await admin.get(f"/accounts/{name}")
    assert (shown["state"], shown["channel"], shown["rank"], shown["rate"], shown["waiting"]) == (
        "ok",
        "telegram",
        7,
        2.5,
        0,
    )
    assert shown["quota"] == {"limit": 10, "hours": 24, "used": 0, "left": 10, "more_at": None}
    assert "parley" not in str(shown["config"])
    assert TOKEN not in str(shown)
    changed = (await admin.call("PATCH", f"/accounts/{name}", json={"rate": None, "enabled": False})).json()
    assert (changed["rate"], changed["state"], changed["rank"]) == (None, "off", 7)
    assert name in {each["name"] for each in (await admin.get("/accounts"))["results"]}
    assert (await admin.call("DELETE", f"/accounts/{name}")).status_code == 204
    assert (await admin.call("GET", f"/accounts/{name}")).status_code == 404


async def test_secrets_are_encrypted_and_changes_are_audited(admin: Person, bot: str, world: World) -> None:
    [row] = await world.sql("SELECT secrets FROM account WHERE name = $1", bot)
    assert TOKEN not in row["secrets"]
    await admin.call("PATCH", f"/accounts/{bot}", json={"secrets": {"token": TOKEN}, "rank": 3})
    rows = await world.sql("SELECT data::text AS data FROM outbox WHERE type = 'Audited' ORDER BY id")
    told = [row["data"] for row in rows if bot in row["data"]]
    assert any("account.created" in each for each in told)
    assert any("account.changed" in each and '"rank"' in each for each in told)
    assert not any(TOKEN in each for each in told)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "Bad Name", "provider": "telegram"}, (422, "validation_error", ["name"])),
        ({"name": "x", "provider": "pigeon"}, (422, "validation_error", ["provider"])),
        ({"name": "x", "provider": "telegram"}, (422, "validation_error", ["secrets.token"])),
        (
            {"name": "x", "provider": "telegram", "secrets": {"token": "tell-tale"}},
            (422, "validation_error", ["secrets.token"]),
        ),
        (
            {"name": "x", "provider": "telegram", "secrets": {"token": TOKEN}, "config": {"lines": 0}},
            (422, "validation_error", ["config.lines"]),
        ),
        ({"name": "smtp", "provider": "telegram", "secrets": {"token": TOKEN}}, (409, "account_exists", [])),
        ({"name": "x", "provider": "telegram", "rate": 0}, (422, "validation_error", ["rate"])),
    ],
)
async def test_account_that_makes_none_is_refused_with_its_field(
    admin: Person, body: dict[str, Any], expected: tuple[int, str, list[str]]
) -> None:
    assert await refused(admin, "POST", "/accounts", **body) == expected
    assert "tell-tale" not in (await admin.call("POST", "/accounts", json=body)).text


async def test_account_of_the_settings_has_its_limits_changed_and_nothing_else(admin: Person) -> None:
    assert (await refused(admin, "PATCH", "/accounts/sms", config={}))[:2] == (409, "account_is_fixed")
    assert (await refused(admin, "DELETE", "/accounts/sms"))[:2] == (409, "account_is_fixed")
    changed = await admin.call("PATCH", "/accounts/sms", json={"rank": 50})
    assert changed.json()["rank"] == 50


async def test_accounts_of_the_settings_are_there_before_any_worker(own_world: World, issue_token: Any) -> None:
    world = own_world
    async with client(create_app(world.settings())) as http:
        admin = Person(http, issue_token(roles=["admin"]))
        shown = {each["name"]: each["state"] for each in (await admin.get("/accounts"))["results"]}
        assert shown == {"inapp": "ok", "smtp": "ok", "sms": "ok"}
        content = {"subject": "Early", "text": "Early"}
        early = await send(admin, "smtp", f"{uuid4().hex}@example.test", channel="email", content=content)
        # A worker has said something of one since, which is not for those who only look to take back.
        await admin.call("PATCH", "/accounts/sms", json={"rank": 50})
        await world.sql("UPDATE account SET fault = 'key_refused' WHERE name = 'sms'")
        async with client(create_app(world.settings(sms_url=None))):
            sms = await admin.get("/accounts/sms")
        assert (sms["state"], sms["rank"]) == ("refused", 50)
        async with world.working():
            assert (await ended(admin, early["deliveries"][0]))["state"] == "sent"
            assert (await admin.get("/accounts/sms"))["state"] == "ok"


async def test_processes_that_begin_at_once_make_each_account_once(own_world: World) -> None:
    async def begin(running: AsyncExitStack) -> None:
        await running.enter_async_context(client(create_app(own_world.settings())))

    async def accounts() -> Any:
        return [row["name"] for row in await own_world.sql("SELECT name FROM account ORDER BY name")]

    async with own_world.working(), AsyncExitStack() as running:
        await asyncio.gather(*(begin(running) for _ in range(4)))
        assert await accounts() == ["inapp", "sms", "smtp"]


async def test_others_see_no_accounts_and_everybody_the_channels(as_user: Any) -> None:
    me = as_user(roles=["user", "support", "moderator"])
    for method, path in (
        ("GET", "/accounts"),
        ("POST", "/accounts"),
        ("GET", "/accounts/smtp"),
        ("GET", "/suppressions"),
    ):
        body = {"name": "x", "provider": "telegram"} if method == "POST" else None
        assert (await me.call(method, path, json=body)).status_code == 403
    channels = {each["provider"]: each for each in (await me.get("/channels"))["results"]}
    assert channels["telegram"]["capability"]["text_max"] == 4096
    assert "token" in channels["telegram"]["secrets"]["properties"]


@pytest.mark.promise("N40")
async def test_refused_account_says_so_keeps_what_waits_and_goes_on_when_put_right(
    admin: Person, make_bot: MakeBot, chat: str, telegram: Outside
) -> None:
    name = await make_bot(secrets={"token": "1000001:wrong"})
    [waiting] = (await send(admin, name, chat))["deliveries"]

    async def refused_account() -> Any:
        shown = await admin.get(f"/accounts/{name}")
        return shown if shown["state"] == "refused" else None

    shown = await eventually(refused_account)
    assert (shown["fault"], shown["waiting"]) == ("401", 1)
    assert (await admin.call("DELETE", f"/accounts/{name}")).json()["code"] == "account_in_use"
    answer = await admin.call("PATCH", f"/accounts/{name}", json={"secrets": {"token": TOKEN}})
    assert (answer.json()["state"], answer.json()["fault"]) == ("ok", None)
    found = await ended(admin, waiting)
    # What the account was refused for has cost the message no attempt.
    assert (found["state"], found["attempts"]) == ("sent", 1)
    assert len(await telegram.effects(chat)) == 1


@pytest.mark.promise("N45")
async def test_day_that_is_used_up_holds_what_is_left_and_says_until_when(
    admin: Person, make_bot: MakeBot, telegram: Outside, chat: str
) -> None:
    name = await make_bot(daily_limit=2)
    made = await send(admin, name, *[str((await telegram.order("chats", id=new_chat()))["id"]) for _ in range(3)])

    async def held() -> Any:
        states = (await admin.get(f"/deliveries/batches/{made['id']}"))["states"]
        return states if states == {"sent": 2, "queued": 1} else None

    await eventually(held)
    quota = (await admin.get(f"/accounts/{name}"))["quota"]
    assert (quota["limit"], quota["used"], quota["left"]) == (2, 2, 0)
    assert quota["more_at"] is not None
    await admin.call("PATCH", f"/accounts/{name}", json={"daily_limit": 3})

    async def gone() -> bool:
        return bool((await admin.get(f"/deliveries/batches/{made['id']}"))["states"] == {"sent": 3})

    await eventually(gone)


@pytest.mark.promise("N45")
async def test_what_the_provider_refused_is_given_back(
    admin: Person, make_bot: MakeBot, telegram: Outside, chat: str
) -> None:
    name = await make_bot(daily_limit=1)
    [lost] = (await send(admin, name, str(new_chat())))["deliveries"]
    assert (await ended(admin, lost))["state"] == "failed"
    assert (await admin.get(f"/accounts/{name}"))["quota"]["used"] == 0
    [sent] = (await send(admin, name, chat))["deliveries"]
    assert (await ended(admin, sent))["state"] == "sent"
