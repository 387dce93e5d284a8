"""Browsers and phones of users: who is told where, and who is not any more."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from libs.contracts.accounts import Profile, UserDeleted
from tests.notify.asking import Person, ended
from tests.notify.crowds import campaign, over, step
from tests.notify.world import World, eventually

CONTENT = {"subject": "Parcel", "text": "It is here."}


@dataclass
class Devices:
    """Browsers and phones, of an account of each kind that is the first of its channel."""

    admin: Person
    http: httpx2.AsyncClient
    accounts: dict[str, str] = field(default_factory=dict)
    key: str = ""

    async def another(self, channel: str) -> Any:
        """An account."""
        config: dict[str, Any] = {"subject": "mailto:ops@example.test", "services": ["127.0.0.1"]}
        own: dict[str, Any] = {}
        if channel == "push":
            config = {"base_url": f"{self.http.base_url}/fcm/"}
            own = {"service_account": (await self.http.get("/fcm/service-account.json")).text}
        provider = "fcm" if channel == "push" else channel
        name = f"{provider}-{uuid4().hex[:20]}"
        body = {"name": name, "provider": provider, "rank": 0, "config": config, "secrets": own}
        answer = await self.admin.call("POST", "/accounts", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def browser(self) -> dict[str, Any]:
        answer = await self.http.post("/webpush/subscriptions", json={"application_server_key": self.key})
        return dict(answer.json())

    async def phone(self) -> str:
        return str((await self.http.post("/fcm/devices")).json()["token"])

    async def new(self, channel: str) -> Any:
        return await (self.browser() if channel == "webpush" else self.phone())

    async def end(self, address: Any) -> None:
        path = "/fcm/devices" if isinstance(address, str) else "/webpush/subscriptions"
        assert (await self.http.delete(f"{path}/{_token(address)}")).status_code == 204

    async def shown(self, address: Any) -> list[Any]:
        """What it shows, newest first."""
        path = "/fcm" if isinstance(address, str) else "/webpush"
        found = (await self.http.get(f"{path}/messages", params={"to": _token(address)})).json()["results"]
        return [each["message"] if isinstance(address, str) else json.loads(each["text"]) for each in found]


def _token(address: Any) -> str:
    return address if isinstance(address, str) else str(address["endpoint"].rpartition("/")[2])


@pytest.fixture
async def devices(world: World, admin: Person) -> AsyncIterator[Devices]:
    sandbox = f"http://127.0.0.1:{world.sandbox.http_port}"
    async with httpx2.AsyncClient(base_url=sandbox, trust_env=False) as http:
        made = Devices(admin, http)
        for channel in ("webpush", "push"):
            account = await made.another(channel)
            made.accounts[channel] = account["name"]
            made.key = account["config"].get("public_key", made.key)
        yield made
        await world.sql("UPDATE account SET enabled = false WHERE channel IN ('push', 'webpush') AND rank = 0")


async def register(me: Person, channel: str, address: Any, status: int = 201, **given: Any) -> Any:
    answer = await me.call("POST", "/push/devices", json={"channel": channel, "address": address, **given})
    assert answer.status_code == status, answer.text
    return answer.json()


async def registered(me: Person) -> list[Any]:
    return list((await me.get("/push/devices"))["results"])


async def tell(admin: Person, channel: str, *people: Profile, status: int = 202, **given: Any) -> Any:
    to = [{"user": str(person.user_id)} for person in people]
    body = {"channel": channel, "to": to, "content": CONTENT, **given}
    answer = await admin.call("POST", "/deliveries", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.promise("N24", "N25", "N72")
async def test_user_is_told_on_each_device(world: World, admin: Person, as_user: Any, devices: Devices) -> None:
    ada, grace = world.profile(), world.profile()
    me, other = as_user(ada.user_id), as_user(grace.user_id)
    assert await me.get("/push/key") == {"account": devices.accounts["webpush"], "public_key": devices.key}
    first, second, theirs = [await devices.browser() for _ in range(3)]
    made = await register(me, "webpush", first, name="Firefox on Linux")
    await register(me, "webpush", json.dumps(second))
    await register(other, "webpush", theirs)
    taken = (await tell(admin, "webpush", grace, ada))["deliveries"]
    assert [each["recipient"] for each in taken] == [0, 1, 1]
    done = [await ended(admin, each) for each in taken]
    assert {(each["state"], each["account"]) for each in done} == {("sent", made["account"])}
    assert [len(await devices.shown(each)) for each in (first, second, theirs)] == [1, 1, 1]
    # Whoever has an address can take its messages: nobody is shown one.
    assert first["endpoint"] not in json.dumps([made, await registered(me), *done])
    assert made["address"] == f"…{first['endpoint'][-6:]}"


@pytest.mark.promise("N72")
async def test_device_is_registered_once(as_user: Any, devices: Devices) -> None:
    me = as_user()
    address, phone = await devices.browser(), await devices.phone()
    made = await register(me, "webpush", address)
    await register(me, "push", phone)
    again = await register(me, "webpush", {**address, "expirationTime": 7}, status=200, name="Kitchen")
    assert (again["id"], again["created_at"], again["name"]) == (made["id"], made["created_at"], "Kitchen")
    assert [each["channel"] for each in await registered(me)] == ["webpush", "push"]


@pytest.mark.promise("N72")
async def test_of_many_devices_the_latest_stay(as_user: Any, devices: Devices) -> None:
    me, other = as_user(), as_user()
    kept = await register(other, "push", await devices.phone())
    first = await register(me, "push", await devices.phone())
    phones = [await devices.phone() for _ in range(24)]
    await asyncio.gather(*(register(me, "push", phone) for phone in phones))
    shown = {each["id"] for each in await registered(me)}
    assert (len(shown), first["id"] in shown) == (20, False)
    assert [each["id"] for each in await registered(other)] == [kept["id"]]


@pytest.mark.promise("N72")
async def test_device_that_changes_hands_shows_nothing_of_its_former_user(
    world: World, admin: Person, as_user: Any, devices: Devices
) -> None:
    ada, grace = world.profile(), world.profile()
    me, next_one = as_user(ada.user_id), as_user(grace.user_id)
    handed_on, signed_out = await devices.browser(), await devices.browser()
    await register(me, "webpush", handed_on)
    removed = await register(me, "webpush", signed_out)
    waiting = await tell(admin, "webpush", ada, send_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    theirs = await register(next_one, "webpush", handed_on)
    assert (await next_one.call("DELETE", f"/push/devices/{removed['id']}")).status_code == 404
    assert (await me.call("DELETE", f"/push/devices/{theirs['id']}")).status_code == 404
    assert (await me.call("DELETE", f"/push/devices/{removed['id']}")).status_code == 204
    assert await registered(me) == []
    await world.sql("UPDATE delivery SET next_at = now() WHERE batch_id = $1", waiting["id"])
    done = [await ended(admin, each) for each in waiting["deliveries"]]
    assert [(each["state"], each["reason"]) for each in done] == [("suppressed", "no_device")] * 2
    [fresh] = (await tell(admin, "webpush", grace))["deliveries"]
    assert (await ended(admin, fresh))["state"] == "sent"
    assert [len(await devices.shown(each)) for each in (handed_on, signed_out)] == [1, 0]


@pytest.mark.promise("N24", "N25", "N72")
@pytest.mark.parametrize("channel", ["webpush", "push"])
async def test_dead_device_goes_and_may_come_back(
    world: World, admin: Person, as_user: Any, devices: Devices, channel: str
) -> None:
    ada = world.profile()
    me = as_user(ada.user_id)
    dead, alive = await devices.new(channel), await devices.new(channel)
    await register(me, channel, dead)
    kept = await register(me, channel, alive)
    await devices.end(dead)
    for each in (await tell(admin, channel, ada))["deliveries"]:
        await ended(admin, each)
    assert [each["id"] for each in await registered(me)] == [kept["id"]]
    plain = dead if isinstance(dead, str) else json.dumps(dead)
    await admin.call("POST", "/suppressions", json={"channel": channel, "address": plain, "category": "news"})
    await register(me, channel, dead)
    found = await world.sql("SELECT category, reason FROM suppression WHERE address LIKE $1", f"%{_token(dead)}%")
    assert [(row["category"], row["reason"]) for row in found] == [("news", "manual")]


@pytest.mark.promise("N72")
async def test_what_is_no_device_is_refused(world: World, admin: Person, as_user: Any, devices: Devices) -> None:
    me = as_user()
    browser = await devices.browser()
    for given, wrong in (
        ({"channel": "webpush", "address": {"endpoint": "https://push.test/x"}}, "address"),
        ({"channel": "webpush", "address": await devices.phone()}, "address"),
        ({"channel": "webpush", "address": {**browser, "endpoint": "https://push.test/ü"}}, "address"),
        ({"channel": "webpush", "address": {**browser, "endpoint": "https://push.test/x"}}, "address"),
        ({"channel": "push", "address": "short"}, "address"),
        ({"channel": "webpush", "address": browser, "account": devices.accounts["push"]}, "account"),
        ({"channel": "email", "address": "ada@example.test"}, "channel"),
    ):
        answer = await me.call("POST", "/push/devices", json=given)
        assert (answer.status_code, answer.json()["errors"][0]["field"].split(".")[0]) == (422, wrong)
    refused = await tell(admin, "webpush", world.profile(), status=422)
    assert [each["field"] for each in refused["errors"]] == ["to.0.user"]
    told = {"user": str((await world.register()).user_id), "addresses": {"webpush": json.dumps(browser)}}
    body = {"channel": "email", "to": [told], "content": CONTENT, "fallback": [{"channel": "webpush"}]}
    answer = await admin.call("POST", "/deliveries", json=body)
    assert [each["field"] for each in answer.json()["errors"]] == ["to.0.addresses.webpush"]


@pytest.mark.promise("N72")
async def test_without_an_account_nobody_subscribes(world: World, as_user: Any, devices: Devices) -> None:
    off = "UPDATE account SET enabled = false WHERE channel = 'webpush' AND enabled RETURNING name"
    names = [row["name"] for row in await world.sql(off)]
    answer = await as_user().call("GET", "/push/key")
    await world.sql("UPDATE account SET enabled = true WHERE name = ANY($1)", names)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_push_key")


@pytest.mark.promise("N72", "A54")
async def test_devices_go_with_their_user_and_their_account(
    world: World, admin: Person, as_user: Any, devices: Devices
) -> None:
    ada = world.profile()
    me, other = as_user(ada.user_id), as_user()
    await register(me, "push", await devices.phone())
    await register(other, "webpush", await devices.browser())
    await world.auth.emit(UserDeleted(user_id=ada.user_id))
    assert (await admin.call("DELETE", f"/accounts/{devices.accounts['webpush']}")).status_code == 204
    assert await registered(other) == []

    async def is_gone() -> bool:
        return not await world.sql("SELECT 1 FROM device WHERE user_id = $1", ada.user_id)

    await eventually(is_gone)


@pytest.mark.promise("N24", "N25", "N73")
async def test_message_of_chat_is_shown_at_once_and_once_for_each_conversation(
    world: World, as_user: Any, devices: Devices
) -> None:
    ada, grace = await world.register(), await world.register()
    browser, phone = await devices.browser(), await devices.phone()
    await register(as_user(ada.user_id), "webpush", browser)
    await register(as_user(ada.user_id), "push", phone)
    room = {"conversation_id": uuid4(), "conversation_type": "group", "conversation_name": "Tea"}
    first = await world.say(ada, grace, excerpt="{{name}}?\nAt five.", mentioned=[ada.user_id], **room)
    await world.ended(ada, 3)
    [seen] = await devices.shown(browser)
    told = {"category": "mention", "conversation_id": str(first.conversation_id), "message_id": str(first.message_id)}
    assert (seen["title"], seen["body"], seen["data"]) == ("Grace Hopper \u00b7 Tea", "{{name}}?\nAt five.", told)
    [seen] = await devices.shown(phone)
    assert (seen["notification"]["title"], seen["data"].items() >= told.items()) == ("Grace Hopper \u00b7 Tea", True)
    await world.say(ada, excerpt="Six!", **room)
    await world.say(ada, excerpt="Hi.")
    await world.ended(ada, 9)
    shown = {(each["title"], each["body"]) for each in await devices.shown(browser)}
    assert shown == {("Grace Hopper", "Hi."), ("Grace Hopper \u00b7 Tea", "Six!")}
    tags = [each["android"]["notification"]["tag"] for each in await devices.shown(phone)]
    assert (len(tags), tags.count(first.conversation_id.hex)) == (3, 2)
    assert [row["channel"] for row in await world.ended(grace)] == ["email"]


@pytest.mark.promise("N73")
async def test_messages_of_chat_are_switched_off_for_each_kind_of_device(
    world: World, as_user: Any, devices: Devices
) -> None:
    ada = await world.register()
    me = as_user(ada.user_id)
    browser, phone = await devices.browser(), await devices.phone()
    await register(me, "webpush", browser)
    await register(me, "push", phone)
    off = {"enabled": False}
    await me.call("PATCH", "/preferences", json={"email": off, "webpush": {"categories": {"message": False}}})
    await world.say(ada)
    states = {row["channel"]: (row["state"], row["reason"]) for row in await world.ended(ada, 3)}
    no = ("suppressed", "preference")
    assert states == {"email": no, "webpush": no, "push": ("sent", None)}
    assert (len(await devices.shown(browser)), len(await devices.shown(phone))) == (0, 1)


@pytest.mark.promise("N24", "N25")
async def test_content_names_what_it_takes_the_place_of(
    world: World, admin: Person, as_user: Any, devices: Devices
) -> None:
    ada = world.profile()
    browser = await devices.browser()
    await register(as_user(ada.user_id), "webpush", browser)
    for text in ("one", "two"):
        content = {"text": text, "collapse": "score"}
        [made] = (await tell(admin, "webpush", ada, content=content))["deliveries"]
        assert (await ended(admin, made))["state"] == "sent"
    assert [(each["body"], each["tag"]) for each in await devices.shown(browser)] == [("two", "score")]


async def looked_at(world: World, batch: str) -> list[Any]:
    """All deliveries of a batch, once each has ended and nothing of it is waited for. Of what was sent the time is over
    at once; what has failed for good has none."""
    over = "UPDATE delivery SET follow_at = now() WHERE batch_id = $1 AND state = 'sent' AND follow_at > now()"

    async def check() -> list[Any]:
        await world.sql(over, batch)
        rows = await world.sql("SELECT * FROM delivery WHERE batch_id = $1 ORDER BY step, id", batch)
        is_open = any(row["follow_at"] or row["state"] in ("queued", "claimed", "sending", "retry") for row in rows)
        return [] if is_open else rows

    return list(await eventually(check))


@pytest.mark.promise("N72")
@pytest.mark.parametrize("alive", [0, 1])
async def test_next_channel_is_asked_once_and_only_where_no_device_was_reached(
    world: World, admin: Person, as_user: Any, devices: Devices, alive: int
) -> None:
    ada = await world.register()
    phones = [await devices.phone() for _ in range(3)]
    for phone in phones:
        await register(as_user(ada.user_id), "push", phone)
    for phone in phones[alive:]:
        await devices.end(phone)
    fallback = [{"channel": "email", "after_seconds": 3600}]
    made = await tell(admin, "push", ada, fallback=fallback)
    rows = await looked_at(world, made["id"])
    assert [row["channel"] for row in rows] == ["push"] * 3 + ["email"] * (1 - alive)
    assert len(world.mails(ada)) == 1 - alive


@pytest.mark.promise("N72")
async def test_next_channel_reaches_every_device(world: World, admin: Person, as_user: Any, devices: Devices) -> None:
    ada, grace = await world.register(), await world.register()
    phones = [await devices.phone() for _ in range(2)]
    for phone in phones:
        await register(as_user(ada.user_id), "push", phone)
    for each in (ada, grace):
        world.break_mail(each, reply="550 5.1.1 nobody")
    made = await tell(admin, "email", ada, grace, fallback=[{"channel": "push"}, {"channel": "webpush"}])
    rows = await looked_at(world, made["id"])
    found = {(row["user_id"], row["channel"], row["state"], row["reason"]) for row in rows if row["step"]}
    assert found == {
        (ada.user_id, "push", "sent", None),
        (grace.user_id, "push", "suppressed", "no_address"),
        (grace.user_id, "webpush", "suppressed", "no_address"),
    }
    assert [len(await devices.shown(each)) for each in phones] == [1, 1]


@pytest.mark.promise("N65", "N72")
async def test_campaign_reaches_each_user_on_the_latest_device(
    world: World, admin: Person, as_user: Any, devices: Devices
) -> None:
    ada, grace, alan, joan = [world.profile() for _ in range(4)]
    early, latest = await devices.phone(), await devices.phone()
    await register(as_user(ada.user_id), "push", early)
    await register(as_user(alan.user_id), "push", await devices.phone())
    await as_user(alan.user_id).call("PATCH", "/preferences", json={"push": {"enabled": False}})
    other = (await devices.another("push"))["name"]
    # Joan has a phone, but of another account than the campaign's.
    await register(as_user(joan.user_id), "push", await devices.phone(), account=other)
    to = [{"user": str(each.user_id)} for each in (ada, grace, alan, joan)]
    to.append({"address": await devices.phone()})
    given = {"channel": "push", "account": devices.accounts["push"], "content": {"text": "Spring!"}}
    made = await campaign(admin, *to, **given)
    # Who has registered since the list was made is reached.
    await register(as_user(ada.user_id), "push", latest, account=devices.accounts["push"])
    path = f"/campaigns/{made}"
    forecast = (await admin.call("POST", f"{path}/check")).json()
    counts = {name: forecast[name] for name in ("total", "valid", "no_address", "switched_off")}
    assert counts == {"total": 5, "valid": 2, "no_address": 2, "switched_off": 1}
    preview = (await admin.call("POST", f"{path}/preview", json={"positions": [1, 2]})).json()["results"]
    assert [(each["address"], each["reason"]) for each in preview] == [(f"…{latest[-6:]}", None), ("", "no_address")]
    await step(admin, made, "start")
    await over(admin, made)
    shown = (await admin.get(f"{path}/recipients"))["results"]
    found = sorted((each["state"], each["reason"] or "") for each in shown)
    no_address = ("suppressed", "no_address")
    assert found == [("sent", ""), ("sent", ""), no_address, no_address, ("suppressed", "preference")]
    assert [len(await devices.shown(each)) for each in (early, latest)] == [0, 1]
    assert latest not in (await admin.call("GET", f"{path}/recipients.csv")).text
