"""The way out of messages: a link that knows its reader, and the page behind it."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from structlog.testing import capture_logs

from libs.testing.clients import client
from notify_service.app import create_app
from notify_service.domain.templates import languages
from notify_service.domain.unsubscribe_links import VALID, Reader, UnsubscribeLinks
from tests.notify import crowds
from tests.notify.asking import Person, ended, send
from tests.notify.desks import phone as new_phone
from tests.notify.ways_out import ONE_CLICK, OTHER_KEY, Page, header, link_to, post, somebody, way_out
from tests.notify.world import PUBLIC_URL, World, eventually

Mail = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module", autouse=True)
async def accounts(world: World) -> None:
    """Those of the settings are there once the worker has begun."""
    await eventually(lambda: world.sql("SELECT FROM account WHERE name = 'smtp'"))


@pytest.fixture
def mail(admin: Person) -> Mail:
    """`await mail(address, "news")`: the delivery, once it has ended."""

    async def sent(address: str, category: str, **content: Any) -> Any:
        given = {"subject": "Hello", "text": "Much has happened.", **content}
        made = await send(admin, "smtp", address, channel="email", category=category, content=given)
        return await ended(admin, made["deliveries"][0])

    return sent


@pytest.mark.promise("N59", "N66")
async def test_one_click_ends_a_category_for_an_address(
    world: World, api: httpx2.AsyncClient, admin: Person, mail: Mail
) -> None:
    address = somebody()
    postbox = world.sandbox.postbox.mailbox
    assert (await mail(address, "news"))["state"] == "sent"
    path = way_out(postbox.newest_first(address)[0])
    for method in ("GET", "HEAD"):
        assert (await api.request(method, path)).status_code == 200
    assert (await mail(address, "news"))["state"] == "sent"
    for _ in range(2):
        answer = await api.post(path, data=ONE_CLICK, headers={"Authorization": "Bearer none"})
        assert (answer.status_code, answer.headers.get("set-cookie")) == (200, None)
    refused = await mail(address, "news")
    assert (refused["state"], refused["reason"], refused["attempts"]) == ("suppressed", "suppressed", 0)
    [row] = (await admin.get("/suppressions", address=address))["results"]
    assert (row["channel"], row["category"], row["reason"]) == ("email", "news", "unsubscribe")
    assert [(await mail(address, each))["state"] for each in ("orders", "security")] == ["sent", "sent"]
    always, other, *_ = postbox.newest_first(address)
    assert (header(always, "list-unsubscribe"), header(always, "list-unsubscribe-post")) == (None, None)
    assert way_out(other) != path


@pytest.mark.promise("N59", "N66")
async def test_one_click_switches_a_preference_of_a_user(world: World, api: httpx2.AsyncClient, as_user: Any) -> None:
    ada, grace = await world.register(), await world.register()
    await world.say(ada, grace)
    await world.ended(ada)
    # Mail programs may send either kind of form.
    [found] = world.mails(ada)
    path = way_out(found)
    assert f"Unsubscribe: {PUBLIC_URL}{path}\r\n" in found.text
    assert f'<a href="{PUBLIC_URL}{path}">Unsubscribe</a></p>' in found.html
    answer = await api.post(path, files={name: (None, value) for name, value in ONE_CLICK.items()})
    assert answer.status_code == 200
    me = as_user(ada.user_id)
    assert (await me.get("/preferences"))["email"]["categories"] == {"account": True, "mention": True, "message": False}
    await world.say(ada, grace)
    await world.ask_to_verify(ada)
    rows = await world.ended(ada, 3)
    assert sorted((row["category"], row["state"], row["reason"]) for row in rows) == [
        ("message", "sent", None), ("message", "suppressed", "preference"), ("security", "sent", None),
    ]  # fmt: skip
    assert header(world.mails(ada)[0], "list-unsubscribe") is None
    assert [row["state"] for row in await world.ended(grace, 2)] == ["sent", "sent"]


@pytest.mark.promise("N59", "N66")
async def test_link_of_a_user_ends_it_for_their_address_as_well_until_they_want_it_again(
    world: World, api: httpx2.AsyncClient, admin: Person, as_user: Any, mail: Mail
) -> None:
    ada = await world.register()
    me, address = as_user(ada.user_id), str(ada.email)
    content = {"subject": "News", "text": "Much has happened."}
    to = {"channel": "email", "category": "news", "content": content}

    async def go(*categories: str) -> list[str]:
        """What becomes of a message to the user, and of one to the bare address in each category."""
        made = await send(admin, "smtp", {"user": str(ada.user_id)}, **to)
        found = await ended(admin, made["deliveries"][0])
        return [found["state"], *[(await mail(address, each))["state"] for each in categories]]

    async def suppressed() -> list[tuple[str, str]]:
        found = (await admin.get("/suppressions", address=address))["results"]
        return sorted((each["category"], each["reason"]) for each in found)

    async def want(**categories: bool) -> None:
        answer = await me.call("PATCH", "/preferences", json={"email": {"categories": categories}})
        assert answer.status_code == 200

    assert await go("news", "orders") == ["sent"] * 3
    path = way_out(world.mails(ada)[-1])
    page = Page(await api.post(path, data=ONE_CLICK))
    assert await suppressed() == [("news", "unsubscribe")]
    assert await go("news", "orders") == ["suppressed", "suppressed", "sent"]
    page = await post(api, path, page.forms["Undo"])
    assert (await suppressed(), page.boxes["email.news"]) == ([], True)
    assert await go("news") == ["sent", "sent"]
    # Also where it was switched off already; then the page says how to get it again.
    await want(news=False)
    page = Page(await api.post(path, data=ONE_CLICK))
    assert await suppressed() == [("news", "unsubscribe")]
    assert "Get them again" in page.forms
    await want(orders=True)
    assert await suppressed() == [("news", "unsubscribe")]
    await want(news=True)
    assert await go("news") == ["sent", "sent"]
    # What somebody else has stopped stays so, whoever was first.
    for category in ("news", "orders"):
        assert (await api.post(link_to("email", category, ada.user_id, at=address), data=ONE_CLICK)).status_code == 200
    body = {"channel": "email", "address": address, "category": "news"}
    assert (await admin.call("POST", "/suppressions", json=body)).status_code == 204
    await want(news=True, orders=True)
    assert await suppressed() == [("news", "manual")]
    # A link from before knows the user alone.
    assert (await api.post(link_to("email", "billing", ada.user_id), data=ONE_CLICK)).status_code == 200
    assert await suppressed() == [("news", "manual")]
    assert (await me.get("/preferences"))["email"]["categories"]["billing"] is False


@pytest.mark.promise("N59")
async def test_whoever_is_at_fifty_categories_can_still_leave(
    api: httpx2.AsyncClient, world: World, as_user: Any
) -> None:
    ada = await world.register()
    me = as_user(ada.user_id)
    many = {f"category_{number}": True for number in range(46)}
    assert (await me.call("PATCH", "/preferences", json={"email": {"categories": many}})).status_code == 200
    path = link_to("email", "one_more", ada.user_id)
    assert (await api.post(path, data=ONE_CLICK)).status_code == 200
    assert (await me.get("/preferences"))["email"]["categories"]["one_more"] is False


@pytest.mark.promise("N59")
async def test_link_that_is_none_changes_nothing(api: httpx2.AsyncClient, admin: Person) -> None:
    address = somebody()
    good = link_to("email", "news", address)
    reader = Reader("email", "news", address)
    elsewhere = UnsubscribeLinks(OTHER_KEY, PUBLIC_URL).to(reader, datetime.now(UTC)) or ""
    swapped = good[:20] + ("x" if good[20] != "x" else "y") + good[21:]
    paths = [
        *(good[:-1], good[:-4], f"{good}A", good.replace("/u/", "/u/A"), swapped, elsewhere.removeprefix(PUBLIC_URL)),
        *("/u/x", f"/u/{'A' * 5000}", "/u/%00", link_to("email", "news", address, days=VALID.days + 1)),
        # Of a user who is not, or has gone.
        link_to("email", "news", uuid4()),
    ]
    for path in paths:
        page = Page(await api.get(path))
        assert (page.status, page.forms) == (404, {})
        assert "This link is not valid" in page.words
        assert Page(await api.post(path, data=ONE_CLICK)).status == 404
    for form in ({}, {"List-Unsubscribe": "Two-Click"}, {"on": "email.news"}):
        assert (await api.post(good, data=form)).status_code == 400
    assert (await api.post(good, content=b"x" * 70_000)).status_code == 413
    assert (await api.put(good)).status_code == 405
    assert (await admin.get("/suppressions", address=address))["results"] == []
    assert Page(await api.get(link_to("email", "news", address, days=VALID.days))).status == 200


@pytest.mark.promise("N59")
async def test_page_of_an_address_changes_what_its_owner_may_change(
    api: httpx2.AsyncClient, admin: Person, mail: Mail
) -> None:
    address = somebody()
    path = link_to("email", "news", address)
    body = {"channel": "email", "address": address, "category": "orders"}
    assert (await admin.call("POST", "/suppressions", json=body)).status_code == 204
    page = Page(await api.get(path))
    assert page.boxes == {"email.*": True, "email.news": True}
    assert "orders Switched off by those who send." in page.words
    foreign = ("email.orders", "email.other", "telegram.*", "sms.news", "email", "")
    page = await post(api, path, [(name, each) for name in ("shown", "on") for each in foreign])
    assert page.boxes == {"email.*": True, "email.news": True}
    page = await post(api, path, page.forms["No more messages at all"])
    assert page.boxes == {"email.*": False, "email.news": True}
    assert "You get no more messages about “news” by e-mail." in page.words
    assert (await mail(address, "billing"))["state"] == "suppressed"
    # The link of another category is the same reader's.
    page = await post(api, link_to("email", "billing", address), page.forms["Undo"])
    assert page.boxes == {"email.*": True, "email.billing": True}
    assert (await mail(address, "billing"))["state"] == "sent"
    assert (await mail(address, "orders"))["state"] == "suppressed"


@pytest.mark.promise("N59")
async def test_page_of_a_user_has_every_channel_and_category(
    api: httpx2.AsyncClient, world: World, as_user: Any
) -> None:
    ada = await world.register()
    me = as_user(ada.user_id)
    before = await me.get("/preferences")
    path = link_to("whatsapp", "news", ada.user_id)
    page = Page(await api.get(path))
    channels = ["whatsapp", "email", "inapp", "push", "sms", "telegram", "webpush"]
    categories = ["*", "account", "mention", "message", "news"]
    assert list(page.boxes) == [f"{channel}.{each}" for channel in channels for each in categories]
    assert await me.get("/preferences") == before
    page = await post(api, path, page.forms["Unsubscribe"])
    assert [name for name, is_on in page.boxes.items() if not is_on] == ["whatsapp.news"]
    fields = [each for each in page.forms["Save"] if each != ("on", "sms.mention")]
    page = await post(api, path, [*fields, ("on", "whatsapp.news")])
    assert [name for name, is_on in page.boxes.items() if not is_on] == ["sms.mention"]
    page = await post(api, path, page.forms["Undo"])
    assert [name for name, is_on in page.boxes.items() if not is_on] == ["whatsapp.news"]
    page = await post(api, path, page.forms["No more messages at all"])
    changed = await me.get("/preferences")
    assert [changed[channel]["enabled"] for channel in channels] == [False] * 7
    assert changed["sms"]["categories"] == before["sms"]["categories"]
    page = await post(api, path, page.forms["Undo"])
    page = await post(api, path, page.forms["Get them again"])
    assert "You get messages about “news” over WhatsApp." in page.words
    assert set(page.boxes.values()) == {True}


@pytest.mark.promise("N59")
async def test_content_can_show_its_reader_the_way_out(
    world: World, api: httpx2.AsyncClient, admin: Person, mail: Mail
) -> None:
    address, phone = somebody(), new_phone()
    buttons = [{"title": "No more", "url": "{{unsubscribe_url}}"}]
    await mail(address, "news", text="Leave: {{ unsubscribe_url }} &c.", html="<p>Hello</p>", buttons=buttons)
    found = world.sandbox.postbox.mailbox.newest_first(address)[0]
    assert f"Leave: {PUBLIC_URL}{way_out(found)} &c." in found.text
    assert f'<a href="{PUBLIC_URL}{way_out(found)}">No more</a>' in found.html
    content = {"text": "News. {{unsubscribe_url}}"}
    made = await send(admin, "sms", phone, channel="sms", category="news", content=content)
    assert (await ended(admin, made["deliveries"][0]))["state"] == "sent"
    [text] = world.texts(phone)
    path = text.removeprefix(f"News. {PUBLIC_URL}")
    assert len(path) < 64
    assert (await api.post(path, data=ONE_CLICK)).status_code == 200
    made = await send(admin, "sms", phone, channel="sms", category="news", content=content)
    assert (await ended(admin, made["deliveries"][0]))["state"] == "suppressed"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"to": [{"address": "a@example.test", "variables": {"unsubscribe_url": "https://x.test"}}]}, "to.0.variables"),
        ({"category": "security"}, "content"),
        ({"category": "security", "content": {"subject": "x", "text": "x"}, "fallback": [
            {"channel": "sms", "content": {"text": "{{unsubscribe_url}}"}}]}, "fallback.0.content"),
    ],
)  # fmt: skip
async def test_way_out_that_is_none_is_refused(admin: Person, given: dict[str, Any], field: str) -> None:
    content = {"subject": "x", "text": "{{unsubscribe_url}}"}
    body = {"channel": "email", "to": [{"address": "a@example.test"}], "content": content}
    answer = await admin.call("POST", "/deliveries", json={**body, **given})
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, [field])


@pytest.mark.promise("N66")
async def test_way_out_is_refused_where_nobody_reaches_us(world: World, issue_token: Any) -> None:
    content = {"subject": "x", "text": "{{unsubscribe_url}}"}
    plain = {**content, "text": "x"}
    campaign = {"name": "x", "channel": "email", "content": plain}
    digest = {"window": {"kind": "fixed", "seconds": 60}, "content": {"text": "{{items}} {{unsubscribe_url}}"}}
    mail = {"channel": "email", "to": [{"address": somebody()}], "content": content}
    text = {"channel": "sms", "content": {"text": "{{unsubscribe_url}}"}}
    async with client(create_app(world.settings(public_url=None))) as http:
        me = Person(http, issue_token(roles=["admin"]))
        made = (await me.call("POST", "/campaigns", json=campaign)).json()
        asked: list[tuple[str, str, Any, str]] = [
            ("POST", "/deliveries", mail, "content"),
            ("POST", "/deliveries", {**mail, "content": plain, "fallback": [text]}, "fallback.0.content"),
            ("POST", "/campaigns", {**campaign, "content": content}, "content"),
            ("PATCH", f"/campaigns/{made['id']}", {"content": content}, "content"),
            ("PUT", "/categories/unreachable", {"digest": digest}, "digest.content"),
        ]
        for method, path, body, field in asked:
            answer = await me.call(method, path, json=body)
            assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, [field]), path
        # It was made while somebody could be reached.
        audience = await crowds.audience(me, {"address": somebody()})
        await world.sql("UPDATE campaign SET content = $1, audience_id = $2 WHERE id = $3", json.dumps(content),
                        UUID(audience), UUID(made["id"]))  # fmt: skip
        for step in ("start", "check"):
            answer = await me.call("POST", f"/campaigns/{made['id']}/{step}")
            assert [each["field"] for each in answer.json()["errors"]] == ["content"]
        assert (await me.get(f"/campaigns/{made['id']}"))["state"] == "draft"


@pytest.mark.promise("N59")
async def test_page_speaks_its_readers_language_and_loads_nothing_from_elsewhere(
    api: httpx2.AsyncClient, world: World
) -> None:
    path, ada = link_to("email", "two_words", somebody()), await world.register(language="fr")
    german = {"Accept-Language": "xx, en;q=0.5, de-AT;q=0.9, es;q=0, *;q=0.1"}
    page = Page(await api.get(path, headers=german))
    assert "Sie erhalten per E-Mail Nachrichten zu „two words“." in page.words
    for each in (page, Page(await api.get("/u/x", headers=german))):
        assert each.tags[0] == ("html", {"lang": "de", "dir": "ltr"})
        loaded = [
            value for _, given_ in each.tags for name, value in given_.items() if name in ("href", "src", "action")
        ]
        assert loaded == ["style.css"]
        assert {"script", "style", "iframe", "img"}.isdisjoint(tag for tag, _ in each.tags)
        metas = [given_ for tag, given_ in each.tags if tag == "meta"]
        said = {given_.get("name", given_.get("http-equiv")): given_.get("content") for given_ in metas}
        assert said["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; form-action 'self'")
        assert (said["referrer"], said["robots"]) == ("no-referrer", "noindex, nofollow")
    assert Page(await api.get(link_to("sms", "news", ada.user_id), headers=german)).tags[0][1]["lang"] == "fr"
    style = await api.get("/u/style.css")
    assert (style.headers["content-type"], "://" in style.text) == ("text/css; charset=utf-8", False)


@pytest.mark.parametrize("tag", sorted(languages.TAGS))
def test_page_has_all_words_in_every_language(tag: str) -> None:
    words, english = languages.of(tag).page, languages.of("en").page
    assert words.keys() == english.keys()
    for name, given_ in english.items():
        if isinstance(given_, dict):
            assert words[name].keys() == given_.keys()
        else:
            assert set(re.findall(r"{\w*}", words[name])) == set(re.findall(r"{\w*}", given_))


async def test_links_are_not_logged(api: httpx2.AsyncClient) -> None:
    path = link_to("email", "news", somebody())
    with capture_logs() as logs:
        await api.get(path)
        await api.post(path, data=ONE_CLICK)
        await api.put(path)
        await api.get("/u/forged-forged-forged-forged-forged")
    assert [each["path"] for each in logs if each["event"] == "request"] == ["/u/{token}"] * 4
    assert path.removeprefix("/u/") not in str(logs)
