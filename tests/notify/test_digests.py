"""Messages that are collected and said as one."""

import asyncio
import re
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.clock import Clock
from libs.db import Database
from notify_service.domain import digests
from notify_service.domain.digest_times import Daily, Weekly
from notify_service.domain.quiet import instant, zone_of
from tests.notify.asking import Decide, Person, ended, send
from tests.notify.chats import Outside
from tests.notify.world import World, eventually

FIXED = {"window": {"kind": "fixed", "seconds": 3600}}
LOOK_BACK = {"window": {"kind": "look_back", "seconds": 3600}}
BERLIN = "Europe/Berlin"


async def say(person: Person, account: str, to: Any, *words: str, **body: Any) -> list[Any]:
    """A message for each of the words, one after the other."""
    made = [await send(person, account, to, content={"text": each}, **body) for each in words]
    return [each["deliveries"][0] for each in made]


async def texts(telegram: Outside, chat: str, many: int = 1) -> list[str]:
    async def check() -> Any:
        effects = await telegram.effects(chat)
        return effects if len(effects) >= many else None

    return [each["text"] for each in await eventually(check)]


@pytest.mark.promise("N57")
async def test_messages_of_a_category_are_said_as_one(
    admin: Person, bot: str, chat: str, telegram: Outside, world: World, decide: Decide
) -> None:
    category = await decide(digest=FIXED)
    made = await say(admin, bot, chat, "One", "Two", "Three", "Four", category=category)
    assert [each["state"] for each in made] == ["collected"] * 4
    waiting = [await admin.get(f"/deliveries/{each['id']}") for each in made]
    assert len({each["digest_id"] for each in waiting}) == len({each["send_at"] for each in waiting}) == 1
    assert (await admin.call("DELETE", f"/accounts/{bot}")).json()["code"] == "account_in_use"
    # What is taken back is not said.
    assert (await admin.call("POST", f"/deliveries/{made[1]['id']}/cancel")).status_code == 204
    assert (await admin.get(f"/deliveries/{made[1]['id']}"))["digest_id"] is None
    await world.close_digests(category)
    assert await texts(telegram, chat) == ["One\n\nThree\n\nFour"]
    found = [await admin.get(f"/deliveries/{each['id']}") for each in made]
    assert [each["state"] for each in found] == ["digested", "cancelled", "digested", "digested"]
    said = await ended(admin, {"id": waiting[0]["digest_id"]})
    assert (said["state"], said["category"], said["address"], said["account"]) == ("sent", category, chat, bot)
    late = await admin.call("POST", f"/deliveries/{made[0]['id']}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "too_late")


@pytest.mark.promise("N57")
async def test_first_message_goes_at_once_where_nothing_was_sent_lately(
    admin: Person, bot: str, chat: str, telegram: Outside, world: World, decide: Decide
) -> None:
    category = await decide(digest=LOOK_BACK)
    made = await say(admin, bot, chat, "One", "Two", "Three", category=category)
    assert [each["state"] for each in made] == ["queued", "collected", "collected"]
    await world.close_digests(category)
    assert await texts(telegram, chat, 2) == ["One", "Two\n\nThree"]
    # The digest was just now, so this one waits; alone, it goes as it came.
    [alone] = await say(admin, bot, chat, "Four", category=category)
    assert alone["state"] == "collected"
    await world.close_digests(category)
    assert (await ended(admin, alone))["state"] == "sent"
    assert (await texts(telegram, chat, 3))[2] == "Four"
    await world.close_digests(category)
    # Nothing has come since.
    [again] = await say(admin, bot, chat, "Five", category=category)
    assert again["state"] == "queued"


@pytest.mark.promise("N57")
async def test_digests_are_kept_apart_counted_and_worded_by_their_rule(
    admin: Person, bot: str, chat: str, telegram: Outside, world: World, decide: Decide
) -> None:
    rule = {**FIXED, "key": "thread", "most_items": 2, "content": {"text": "{{count}} of {{subject}}:\n{{items}}"}}
    category = await decide(digest=rule)
    for thread, number in (("a", 1), ("b", 2), ("a", 3), ("a", 4), ("a", 5), ("b", 6)):
        to = {"address": chat, "variables": {"thread": thread, "number": f"{number} {{{{x}}}}"}}
        content = {"subject": f"Thread {thread}", "html": "<p>No. {{number}}</p>"}
        await send(admin, bot, to, category=category, content=content)
    await world.close_digests(category)
    assert sorted(await texts(telegram, chat, 2)) == [
        "2 of Thread b (+1):\nThread b\nNo. 2 {{x}}\n\nThread b\nNo. 6 {{x}}",
        "4 of Thread a (+3):\nThread a\nNo. 1 {{x}}\n\nThread a\nNo. 3 {{x}}\n\n+2",
    ]


@pytest.mark.promise("N57")
async def test_what_has_hurry_or_is_more_than_words_goes_by_itself(
    admin: Person, bot: str, chat: str, decide: Decide
) -> None:
    category = await decide(digest=FIXED)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    button = {"title": "Pay", "url": "https://example.com/pay"}
    for body in (
        {"priority": "high"},
        {"send_at": later},
        {"expires_at": later},
        {"fallback": [{"channel": "email"}], "content": {"subject": "x", "text": "x"}},
        {"content": {"text": "x", "buttons": [button]}},
    ):
        [made] = (await send(admin, bot, chat, category=category, **body))["deliveries"]
        assert made["state"] == "queued", body


@pytest.mark.promise("N57")
async def test_digest_comes_at_its_hour_and_is_not_sent_to_who_wants_none(
    admin: Person, world: World, decide: Decide, as_user: Any
) -> None:
    # Half a day away there, and hours away where it is read in UTC.
    hour = f"{datetime.now(zone_of('Asia/Tokyo')) + timedelta(hours=12):%H}:00"
    category = await decide(digest={"window": {"kind": "daily", "at": hour}})
    ada, grace = await world.register(timezone="Asia/Tokyo"), await world.register()
    for profile in (ada, grace):
        for subject in ("Invoice 7", "Invoice 8"):
            content = {"subject": subject, "text": f"{subject} is due.\nNo more: {{{{unsubscribe_url}}}}"}
            to = {"user": str(profile.user_id)}
            await send(admin, "smtp", to, channel="email", category=category, content=content)
    [first, _] = await world.deliveries(ada)
    assert f"{first['next_at'].astimezone(zone_of('Asia/Tokyo')):%H:%M:%S}" == f"{hour}:00"
    off = {"email": {"categories": {category: False}}}
    await as_user(grace.user_id).call("PATCH", "/preferences", json=off)
    await world.close_digests(category)
    await world.ended(ada, 3)
    [mail] = world.mails(ada)
    assert mail.subject == "Invoice 7 (+1)"
    assert "Invoice 7\nInvoice 7 is due.\n\nInvoice 8\nInvoice 8 is due." in mail.text.replace("\r\n", "\n")
    assert "No more" not in mail.text
    states = {(row["state"], row["reason"]) for row in await world.ended(grace, 3)}
    assert states == {("digested", None), ("suppressed", "preference")}
    assert world.mails(grace) == []


@pytest.mark.promise("N57")
async def test_mails_about_messages_of_chat_become_one(world: World, decide: Decide) -> None:
    await decide("message", digest={**FIXED, "most_items": 3})
    ada = await world.register(language="de-AT")
    tea = {"conversation_type": "group", "conversation_name": "Tea club", "conversation_id": uuid4()}
    await world.say(ada, excerpt="Tea?\nAt <five>", **tea)
    await world.say(ada, excerpt="Are you there?", sender_name="Alan")
    await world.say(ada, excerpt="With cake", sender_name="Alan", **tea)
    await world.say(ada, excerpt="And scones", **tea)
    await world.heard()
    await world.close_digests("message")
    rows = await world.ended(ada, 5)
    assert sorted(row["state"] for row in rows) == ["digested"] * 4 + ["sent"]
    [mail] = world.mails(ada)
    assert mail.subject == "4 neue Nachrichten"
    listed = "> Tea club\n> Grace Hopper: Tea? At <five>\n> Alan: With cake\n>\n> Alan\n> Are you there?\n"
    assert listed in mail.text.replace("\r\n", "\n")
    assert "von denen 1 hier nicht gezeigt werden" in mail.text
    assert "At &lt;five&gt;" in mail.html
    assert len({row["digest_id"] for row in rows if row["state"] == "digested"}) == 1


@pytest.mark.promise("N57")
async def test_digests_of_chat_can_be_one_a_conversation(world: World, decide: Decide) -> None:
    await decide("message", digest={**FIXED, "key": "conversation"})
    ada, conversations = await world.register(), (uuid4(), uuid4())
    for conversation_id in (*conversations, *conversations):
        await world.say(ada, conversation_id=conversation_id)
    await world.heard()
    await world.close_digests("message")
    rows = await world.ended(ada, 6)
    assert sorted(row["state"] for row in rows) == ["digested"] * 4 + ["sent"] * 2


@pytest.mark.promise("N57")
async def test_nothing_is_lost_and_nothing_said_twice_while_workers_race_and_die(
    admin: Person, world: World, decide: Decide
) -> None:
    category = await decide(digest={**FIXED, "most_items": 50})
    addresses = [f"{uuid4().hex}@example.test" for _ in range(3)]
    over = asyncio.Event()

    async def work(patience: float) -> None:
        database = Database(world.database_url, service="notify")
        while not over.is_set():
            # Those that no other has in hand: who waits for several may be waited for.
            free = "SELECT id FROM digest WHERE category = $1 FOR UPDATE SKIP LOCKED"
            await world.sql(f"UPDATE digest SET closes_at = now() WHERE id IN ({free})", category)
            try:
                async with asyncio.timeout(patience):
                    await digests.work(database, Clock())
            except TimeoutError:
                # Died in the middle of it.
                continue
        await database.close()

    async def ask(number: int) -> Any:
        content = {"subject": "x", "text": f"No. {number}."}
        made = await send(admin, "smtp", *addresses, channel="email", category=category, content=content)
        return made["deliveries"]

    working = [asyncio.create_task(work(patience)) for patience in (5, 5, 0.02)]
    made = [each for some in await asyncio.gather(*map(ask, range(25))) for each in some]
    over.set()
    await asyncio.gather(*working)
    await world.close_digests(category)
    assert {(await ended(admin, each))["state"] for each in made} <= {"digested", "sent"}

    def said(address: str) -> list[int]:
        mails = world.sandbox.postbox.mailbox.newest_first(address)
        return sorted(int(number) for mail in mails for number in re.findall(r"No\. (\d+)\.", mail.text or ""))

    for address in addresses:
        await eventually(partial(lambda to: len(said(to)) >= 25, address))
        assert said(address) == list(range(25))


async def test_rules_are_for_administrators_and_what_is_always_sent_has_none(
    admin: Person, as_user: Any, decide: Decide
) -> None:
    rule = {"throttle": {"most": 3, "seconds": 60}, "digest": {**LOOK_BACK, "most_items": 20}}
    category = await decide(**rule)
    found = await admin.get(f"/categories/{category}")
    assert (found["name"], found["throttle"], found["digest"]["window"]) == (
        category,
        rule["throttle"],
        LOOK_BACK["window"],
    )
    named = await decide(throttle=rule["throttle"])
    first = await admin.get("/categories", limit=1)
    second = await admin.get("/categories", limit=1, cursor=parse_qs(urlsplit(first["next"]).query)["cursor"][0])
    assert [each["name"] for page in (first, second) for each in page["results"]] == sorted([category, named])
    for method, path in (("GET", ""), ("GET", f"/{category}"), ("PUT", f"/{category}"), ("DELETE", f"/{category}")):
        refused = await as_user().call(method, f"/categories{path}", json=rule)
        assert refused.status_code == 403, (method, path)
    critical = await admin.call("PUT", "/categories/security", json=rule)
    assert (critical.status_code, critical.json()["code"]) == (422, "always_sent")
    for wrong in (
        {},
        {"throttle": {"most": 0, "seconds": 60}},
        {"throttle": {"most": 1, "seconds": 8 * 86_400}},
        {"digest": {"window": {"kind": "daily", "at": "24:00"}}},
        {"digest": {"window": {"kind": "hourly"}}},
        {"digest": {**FIXED, "most_items": 51}},
        {"digest": {**FIXED, "content": {"text": "{{name}}"}}},
    ):
        assert (await admin.call("PUT", f"/categories/{category}", json=wrong)).status_code == 422, wrong
    assert (await admin.call("DELETE", "/categories/nothing")).status_code == 404


async def test_what_is_collected_goes_at_once_when_its_rule_does(
    admin: Person, bot: str, chat: str, telegram: Outside, decide: Decide
) -> None:
    category = await decide(digest=FIXED)
    made = await say(admin, bot, chat, "One", "Two", category=category)
    assert (await admin.call("DELETE", f"/categories/{category}")).status_code == 204
    assert [(await ended(admin, each))["state"] for each in made] == ["digested"] * 2
    assert await texts(telegram, chat) == ["One\n\nTwo"]
    [free] = await say(admin, bot, chat, "Three", category=category)
    assert free["state"] == "queued"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.promise("N57")
@pytest.mark.parametrize(
    ("clock", "weekday", "zone", "now", "closes"),
    [
        ("08:00", None, BERLIN, "2026-01-10T06:59:59", "2026-01-10T07:00:00"),
        ("08:00", None, BERLIN, "2026-01-10T07:00:00", "2026-01-11T07:00:00"),
        ("08:00", None, "Asia/Kolkata", "2026-01-10T02:30:00", "2026-01-11T02:30:00"),
        ("08:00", None, "Nowhere/AtAll", "2026-01-10T02:30:00", "2026-01-10T08:00:00"),
        # The clock goes from 2 to 3: what it never shows comes as it is put forward.
        ("02:30", None, BERLIN, "2026-03-28T23:00:00", "2026-03-29T01:00:00"),
        ("02:30", None, BERLIN, "2026-03-29T01:00:00", "2026-03-30T00:30:00"),
        ("08:00", None, BERLIN, "2026-03-28T07:00:00", "2026-03-29T06:00:00"),
        # It shows 2 to 3 twice: the first 2:30 counts, and the second one does not.
        ("02:30", None, BERLIN, "2026-10-24T23:00:00", "2026-10-25T00:30:00"),
        ("02:30", None, BERLIN, "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        ("08:00", "monday", BERLIN, "2026-01-10T07:00:00", "2026-01-12T07:00:00"),
        ("08:00", "saturday", BERLIN, "2026-01-10T06:00:00", "2026-01-10T07:00:00"),
        ("08:00", "saturday", BERLIN, "2026-01-10T07:00:00", "2026-01-17T07:00:00"),
        ("02:30", "sunday", BERLIN, "2026-03-22T12:00:00", "2026-03-29T01:00:00"),
        # Monday there is Sunday here.
        ("08:00", "monday", "Pacific/Auckland", "2026-01-11T12:00:00", "2026-01-11T19:00:00"),
    ],
)
def test_digest_closes_by_the_clock_of_the_place(clock: str, weekday: Any, zone: str, now: str, closes: str) -> None:
    window = Weekly(kind="weekly", at=clock, weekday=weekday) if weekday else Daily(kind="daily", at=clock)
    assert window.closes(at(now), zone) == at(closes)


ZONES = st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
CLOCKS = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))
MOMENTS = st.integers(0, 5 * 365 * 86_400).map(lambda seconds: at("2024-01-01T00:00:00") + timedelta(seconds=seconds))


@pytest.mark.promise("N57")
@given(CLOCKS, ZONES, MOMENTS)
def test_every_day_has_one_close(clock: time, zone: str, now: datetime) -> None:
    window = Daily(kind="daily", at=f"{clock:%H:%M}")
    closes = window.closes(now, zone)
    assert now < closes <= now + timedelta(hours=26)
    following = window.closes(closes, zone)
    days: list[date] = [each.astimezone(zone_of(zone)).date() for each in (closes, following)]
    assert days[1] - days[0] == timedelta(days=1)
    assert closes == instant(days[0], clock, zone_of(zone))
