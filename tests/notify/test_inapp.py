"""The inbox as a channel: what programs, campaigns and fallbacks put there, and what becomes of it when it is read."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from libs.clock import Clock
from libs.contracts.accounts import Profile, UserDeleted
from libs.db import Database
from libs.errors import Unavailable
from libs.keys import KeyRing
from libs.lanes import Lanes
from libs.tasks import background
from libs.testing.clients import client
from libs.testing.clock import FakeClock
from libs.tokens import ServiceTokens
from notify_service.app import create_app
from notify_service.domain import erasure
from notify_service.domain.drafts import Draft
from notify_service.domain.inboxes import Inboxes
from tests.notify.asking import Decide, Person, ended, send
from tests.notify.crowds import campaign, over, recipients, step
from tests.notify.world import World, eventually, kill

WELCOME = "Welcome to Parley"
HELLO = {"subject": "Hello", "text": "It is done."}


async def tell(sender: Person, *to: Any, **body: Any) -> Any:
    return await send(sender, "inapp", *to, channel="inapp", **{"content": HELLO, **body})


async def inbox(me: Person, **query: Any) -> list[Any]:
    found = (await me.get("/notifications", **query))["results"]
    return [each for each in found if each["title"] != WELCOME]


async def news(heard: Callable[[], Awaitable[Any]]) -> Any:
    """The next word of a notification, but for the welcome."""
    while True:
        told = await heard()
        if told["notification"] and told["notification"]["title"] != WELCOME:
            return told


@pytest.fixture
async def ada(world: World) -> Profile:
    return await world.register()


@pytest.fixture
def her(ada: Profile, as_user: Any) -> Person:
    person: Person = as_user(ada.user_id)
    return person


@pytest.mark.promise("N26")
async def test_what_is_sent_is_in_the_inbox_and_heard_at_once(
    ada: Profile, her: Person, admin: Person, world: World
) -> None:
    content = {
        "subject": "Order {{number}}",
        "html": "<p>It is <b>on its way</b>.</p>",
        "media": {"kind": "image", "url": "https://shop.example.test/7.png"},
        "buttons": [
            {"title": "Follow it", "url": "https://shop.example.test/7"},
            {"title": "Help", "url": "https://shop.example.test/help"},
        ],
        "data": {"order": "7"},
    }
    before = await her.unread()
    async with world.listening(ada.user_id) as heard:
        # By an id in another form, it is the same user.
        to = {"address": str(ada.user_id).upper(), "variables": {"number": "7"}}
        made = await tell(admin, to, content=content, category="orders")
        told = await news(heard)
    (shown,) = await inbox(her)
    assert (told["notification"], told["unread_count"]) == (shown, before + 1)
    assert shown["id"] == made["deliveries"][0]["id"]
    assert (shown["title"], shown["category"], shown["data"]) == ("Order 7", "orders", {"order": "7"})
    assert shown["message"] == "It is on its way.\n\nHelp: https://shop.example.test/help"
    assert shown["action_url"] == "https://shop.example.test/7"
    assert shown["image_url"] == "https://shop.example.test/7.png"
    found = await ended(admin, made["deliveries"][0])
    assert (found["state"], found["address"], found["read_at"]) == ("delivered", str(ada.user_id), None)
    assert found["sent_at"] == found["delivered_at"] is not None
    assert [(each["decision"], each["error_class"]) for each in found["log"]] == [("delivered", None)]
    # To its reader it is a delivery like any other.
    assert [each["id"] for each in (await her.get("/deliveries"))["results"]] == [shown["id"]]


@pytest.mark.promise("N8")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"content": {"text": "x"}}, "content.subject"),
        ({"content": {"subject": "x", "media": {"kind": "image", "url": "https://a.test/a"}}}, "content.text"),
        ({"content": {**HELLO, "media": {"kind": "audio", "url": "https://a.test/a"}}}, "content.media.kind"),
        ({"content": {**HELLO, "buttons": [{"title": "Yes", "id": "yes"}]}}, "content.buttons.0.id"),
        ({"content": {**HELLO, "template": {"name": "x"}}}, "content.template"),
        ({"to": [{"address": "ada"}]}, "to.0.address"),
        ({"to": [{"address": str(uuid4())}]}, "to.0.address"),
        ({"to": [{"user": str(uuid4())}]}, "to.0.user"),
    ],
)
async def test_what_an_inbox_cannot_carry_is_refused(
    admin: Person, ada: Profile, body: dict[str, Any], field: str
) -> None:
    given = {"channel": "inapp", "to": [{"user": str(ada.user_id)}], "content": HELLO, **body}
    answer = await admin.call("POST", "/deliveries", json=given)
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, [field])


async def test_channel_is_there_without_settings_and_is_the_only_one(admin: Person) -> None:
    (shown,) = [each for each in (await admin.get("/channels"))["results"] if each["channel"] == "inapp"]
    capability = shown["capability"]
    assert (capability["address"], capability["receipts"], capability["bulk"]) == ("user", ["delivered", "read"], True)
    assert "inapp" in [each["name"] for each in (await admin.get("/accounts"))["results"]]
    body = {"name": "another", "provider": "inapp", "config": {}, "secrets": {}}
    answer = await admin.call("POST", "/accounts", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "provider")


@pytest.mark.promise("N26")
async def test_reading_by_any_way_reads_the_delivery(
    ada: Profile, her: Person, admin: Person, api: httpx2.AsyncClient, key_ring: KeyRing, as_user: Any
) -> None:
    made = (await tell(admin, *[{"user": str(ada.user_id)}] * 5))["deliveries"]
    for each in made:
        await ended(admin, each)
    ids = [each["id"] for each in made]
    await her.call("PATCH", f"/notifications/{ids[0]}", json={"is_clicked": True, "is_dismissed": True})
    assert (await admin.get(f"/deliveries/{ids[0]}"))["state"] == "delivered"
    await her.call("PATCH", f"/notifications/{ids[0]}", json={"is_read": True})
    token = ServiceTokens(key_ring, "chat", Clock()).token_for("notify")
    body = {"user_id": str(ada.user_id), "notification_id": ids[1]}
    await api.post("/internal/notifications/read", json=body, headers={"X-Service-Authorization": f"Bearer {token}"})
    await her.call("DELETE", f"/notifications/{ids[2]}")
    # Somebody else's word counts for nothing.
    await as_user().call("PATCH", f"/notifications/{ids[3]}", json={"is_read": True})
    states = [(await admin.get(f"/deliveries/{each}"))["state"] for each in ids]
    assert states == ["read", "read", "read", "delivered", "delivered"]
    await her.call("POST", "/notifications/mark_all_read")
    await her.call("PATCH", f"/notifications/{ids[3]}", json={"is_read": False})
    found = [await admin.get(f"/deliveries/{each}") for each in ids]
    assert {each["state"] for each in found} == {"read"}
    assert all(each["read_at"] >= each["sent_at"] for each in found)


@pytest.mark.promise("N26")
async def test_reading_at_the_moment_when_it_comes_reads_the_delivery(
    ada: Profile, her: Person, admin: Person, world: World
) -> None:
    async with world.listening(ada.user_id) as heard:
        made = (await tell(admin, *[{"user": str(ada.user_id)}] * 10))["deliveries"]
        coming = {each["id"] for each in made}
        while coming:
            told = (await news(heard))["notification"]
            if not told["is_read"]:
                coming.remove(told["id"])
                await her.call("PATCH", f"/notifications/{told['id']}", json={"is_read": True})
    assert {(await ended(admin, each))["state"] for each in made} == {"read"}


@asynccontextmanager
async def inboxes_of(world: World) -> AsyncIterator[tuple[Inboxes, list[Any]]]:
    """While auth is away, and the ids of what was shown."""

    async def away(_users: Any) -> Any:
        raise Unavailable

    told: list[Any] = []
    database = Database(world.database_url, service="notify")
    lanes = Lanes("notify", world.database_url, 1)
    inboxes = Inboxes(database, lanes, away, lambda created: told.append(created.id), clock=Clock())
    async with background(inboxes.run()):
        yield inboxes, told
    await lanes.close()
    await database.close()


def draft_for(user_id: UUID, **given: Any) -> Draft:
    return Draft(id=uuid4(), user_id=user_id, category="news", title="Hello", message="x", **given)


@pytest.mark.promise("N26")
async def test_who_is_not_known_holds_up_nobody_while_auth_is_away(ada: Profile, world: World) -> None:
    async with inboxes_of(world) as (inboxes, told):
        drafts = [draft_for(user) for user in (ada.user_id, uuid4(), ada.user_id)]
        made = await asyncio.gather(*map(inboxes.create, drafts))
        assert [getattr(each, "id", each) for each in made] == [drafts[0].id, "user_not_known", drafts[2].id]
        await inboxes.create(drafts[0])
    assert told == [drafts[0].id, drafts[2].id]


@pytest.mark.promise("N26")
async def test_what_cannot_be_stored_keeps_nothing_else_out(ada: Profile, world: World) -> None:
    async with inboxes_of(world) as (inboxes, told):
        drafts = [draft_for(ada.user_id, data={"word": word}) for word in ("one", "\x00", "two")]
        made = await asyncio.gather(*map(inboxes.create, drafts), return_exceptions=True)
        assert [getattr(each, "id", None) for each in made] == [drafts[0].id, None, drafts[2].id]
        assert isinstance(made[1], Exception)
    assert told == [drafts[0].id, drafts[2].id]


@pytest.mark.promise("N57")
async def test_digest_comes_into_the_inbox_above_what_came_while_it_waited(
    ada: Profile, her: Person, admin: Person, world: World, decide: Decide
) -> None:
    category = await decide(digest={"window": {"kind": "fixed", "seconds": 3600}})
    for text in ("One.", "Two."):
        await tell(admin, {"user": str(ada.user_id)}, category=category, content={**HELLO, "text": text})
    await her.notify("Meanwhile")
    await world.close_digests(category)
    found = await eventually(lambda: _two(her))
    assert [each["title"] for each in found] == ["Hello (+1)", "Meanwhile"]
    assert found[0]["message"] == "Hello\nOne.\n\nHello\nTwo."


async def _two(me: Person) -> Any:
    found = await inbox(me)
    return found if len(found) == 2 else None


@pytest.mark.promise("N51")
async def test_mail_follows_where_nobody_has_read_it_in_time(world: World, admin: Person, as_user: Any) -> None:
    readers = [await world.register(heard=False) for _ in range(3)]
    await world.heard()
    fallback = {"channel": "email", "after_seconds": 3600}
    made = [
        await tell(admin, {"user": str(each.user_id)}, fallback=[{**fallback, "until": until}])
        for each, until in zip(readers, ("read", "read", "delivered"), strict=True)
    ]
    for batch in made:
        await ended(admin, batch["deliveries"][0])
    await as_user(readers[0].user_id).call("POST", "/notifications/mark_all_read")
    # The hour is over.
    await world.sql("UPDATE delivery SET follow_at = now() WHERE user_id = ANY($1)", [each.user_id for each in readers])

    async def followed() -> bool:
        states = [(await admin.get(f"/deliveries/batches/{batch['id']}"))["states"] for batch in made]
        return states == [{"read": 1}, {"delivered": 1, "sent": 1}, {"delivered": 1}]

    await eventually(followed)
    query = "SELECT follow_at FROM delivery WHERE user_id = $1"
    for each in (readers[0], readers[2]):
        await eventually(lambda each=each: _looked_at(world, query, each))
    assert [len(world.mails(each)) for each in readers] == [0, 1, 0]


async def _looked_at(world: World, query: str, reader: Profile) -> bool:
    return [row["follow_at"] for row in await world.sql(query, reader.user_id)] == [None]


@pytest.mark.promise("N55", "N56")
async def test_what_is_switched_off_stays_out_and_quiet_hours_do_not_matter(
    ada: Profile, her: Person, admin: Person, world: World
) -> None:
    off = {"inapp": {"categories": {"news": False, "message": False}}}
    await her.call("PATCH", "/preferences", json={**off, "quiet_hours": {"start": "00:00", "end": "23:59"}})
    news = await tell(admin, {"address": str(ada.user_id)}, category="news")
    found = await ended(admin, news["deliveries"][0])
    assert (found["state"], found["reason"]) == ("suppressed", "preference")
    orders = await tell(admin, {"user": str(ada.user_id)}, category="orders")
    assert (await ended(admin, orders["deliveries"][0]))["state"] == "delivered"
    before = await her.unread()
    await world.say(ada)
    await world.heard()
    assert await her.unread() == before
    assert [each["category"] for each in await inbox(her, is_read=False)] == ["orders"]
    # Mails have a switch of their own; these wait for the end of the night.
    assert "email" in [row["channel"] for row in await world.deliveries(ada)]


@pytest.mark.promise("N62")
async def test_campaign_goes_to_inboxes_and_counts_who_has_read_it(
    ada: Profile, her: Person, admin: Person, world: World
) -> None:
    grace, nobody = await world.register(), uuid4()
    content = {"subject": "Spring", "text": "It is spring, {{name}}. {{unsubscribe_url}}"}
    made = await campaign(admin, {"user": str(grace.user_id)}, channel="inapp", content=content, category="news",
                          defaults={"name": "all"})  # fmt: skip
    to = (await admin.get(f"/campaigns/{made}"))["audience"]
    rows = f"user,address\nAda,{ada.user_id}\nGrace,{str(grace.user_id).upper()}\nNo,{nobody}\nBad,ada\n"
    answer = await admin.call(
        "PUT", f"/audiences/{to}/file", content=rows.encode(), headers={"Content-Type": "text/csv"}
    )
    assert (answer.status_code, answer.json()["audience"]["valid"]) == (200, 3), answer.text
    await step(admin, made, "start")
    assert (await over(admin, made))["counts"] == {"delivered": 2, "failed": 1}
    by_address = await recipients(admin, made)
    assert by_address[str(nobody)]["error_code"] == "no_such_user"
    (shown,) = await inbox(her, category="news")
    assert "https://parley.example.test/u/" in shown["message"]
    await her.call("PATCH", f"/notifications/{shown['id']}", json={"is_read": True})

    async def counted() -> bool:
        counts = (await admin.get(f"/campaigns/{made}"))["counts"]
        return bool(counts == {"delivered": 1, "read": 1, "failed": 1})

    await eventually(counted)


@pytest.mark.promise("A54")
async def test_of_somebody_who_is_erased_nothing_stays(
    ada: Profile, her: Person, admin: Person, world: World, clock: FakeClock
) -> None:
    made = await tell(admin, {"address": str(ada.user_id)}, content={"subject": "Hello", "text": "a whispered word"})
    await ended(admin, made["deliveries"][0])
    await her.notify("Later", scheduled_at="2999-01-01T00:00:00Z")
    del world.auth.profiles[ada.user_id]
    await world.auth.emit(UserDeleted(user_id=ada.user_id))
    await world.heard()
    database = Database(world.database_url, service="notify")

    async def gone() -> bool:
        await erasure.work(database, clock)
        counts = [
            await world.sql(f"SELECT 1 FROM {table} WHERE user_id = $1", ada.user_id)
            for table in ("delivery", "notification")
        ]
        return counts == [[], []]

    await eventually(gone)
    await database.close()


@pytest.mark.promise("N26")
async def test_everybody_is_told_once_wherever_the_worker_is_killed(own_world: World, issue_token: Any) -> None:
    world = own_world
    readers = [world.profile() for _ in range(10)]
    async with client(create_app(world.settings())) as http:
        me = Person(http, issue_token(roles=["admin"]))
        worker = await world.start()
        await eventually(lambda: world.sql("SELECT 1 FROM account WHERE name = 'inapp'"), 60)
        made = await tell(me, *({"user": str(each.user_id)} for each in readers * 20))
        await eventually(lambda: world.sql("SELECT 1 FROM notification LIMIT 1"), 60)
        await kill(worker)
        async with world.working():

            async def all_there() -> bool:
                return bool((await me.get(f"/deliveries/batches/{made['id']}"))["states"] == {"delivered": 200})

            await eventually(all_there, 60)
    rows = await world.sql("SELECT id, user_id FROM notification")
    assert {str(row["id"]) for row in rows} == {each["id"] for each in made["deliveries"]}
    assert Counter(row["user_id"] for row in rows) == dict.fromkeys((each.user_id for each in readers), 20)
