"""What the API says of every provider, and that what is accepted keeps to it."""

from collections.abc import Iterator
from typing import Any

import pytest

from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.content import Content
from notify_service.domain.sending import problems_of
from tests.notify.asking import Person
from tests.notify.world import World, eventually

KINDS = ("image", "audio", "video", "document", "sticker")
URL = "https://example.test/1"
WORDS = {"subject": "Hello", "text": "It is done."}


async def served(person: Person) -> dict[str, Any]:
    return {each["provider"]: each["capability"] for each in (await person.get("/channels"))["results"]}


def refused(provider: str, content: dict[str, Any]) -> set[str]:
    """The fields for which it is."""
    return {each.field for each in problems_of(Content.model_validate(content), PROVIDERS[provider])}


def _answering(count: int, title: str = "Yes") -> list[dict[str, str]]:
    return [{"id": f"b{number}", "title": title} for number in range(count)]


def beyond(able: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Contents that are just too much, with the field that is."""
    most = able["text_max"]
    if able["overflow"] == "refuse" and most:
        yield "content.text", {"text": "a" * (most + 1)}
    for kind in KINDS:
        rule = able["media"].get(kind)
        if rule is None:
            yield "content.media.kind", {"media": {"kind": kind, "url": URL}}
        elif rule["caption_max"] < 4096:
            caption = "a" * (rule["caption_max"] + 1)
            yield "content.media.caption", {"media": {"kind": kind, "url": URL, "caption": caption}}
    yield from _buttons_beyond(able)
    yield from _parts_beyond(able)


def _buttons_beyond(able: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if able["buttons"] < 10:
        yield "content.buttons", {"buttons": _answering(able["buttons"] + 1)}
    if able["buttons"] and able["button_title_max"] < 80:
        yield "content.buttons.0.title", {"buttons": _answering(1, "a" * (able["button_title_max"] + 1))}


def _parts_beyond(able: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "choices" not in able["takes"]:
        yield "content.choices", {"choices": {"title": "Which?", "choices": [{"id": "1", "title": "One"}]}}
    if "reaction" not in able["takes"]:
        yield "content.reaction", {"reaction": {"message_id": "1", "emoji": "+"}}
    if not able["templates"]:
        yield "content.template", {"template": {"name": "hello_world"}}


def within(able: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Contents that are just enough, with the field that would say no."""
    if able["overflow"] == "refuse" and able["text_max"]:
        yield "content.text", {"text": "a" * able["text_max"]}
    for kind, rule in able["media"].items():
        caption = {"caption": "a" * min(rule["caption_max"], 4096)} if rule["caption_max"] else {}
        yield "content.media", {"media": {"kind": kind, "url": URL, **caption}}
    if able["buttons"]:
        most = {"title": "a" * min(able["button_title_max"], 80), "url": URL}
        yield "content.buttons", {"buttons": [most] * min(able["buttons"], 10)}


@pytest.mark.promise("N27")
async def test_what_the_api_says_of_a_provider_is_what_its_contents_are_held_to(as_user: Any) -> None:
    able = await served(as_user())
    assert able.keys() == PROVIDERS.keys()
    looked_at = 0
    for provider, each in able.items():
        for field, content in beyond(each):
            assert field in refused(provider, {**WORDS, **content}), (provider, field)
            looked_at += 1
        for field, content in within(each):
            wrong = {name for name in refused(provider, {**WORDS, **content}) if name.startswith(field)}
            # One that opens an address beside others may be too much for a provider's own rules.
            assert not wrong or (provider, field) == ("whatsapp", "content.buttons"), (provider, wrong)
    assert looked_at > 5 * len(able)


@pytest.mark.promise("N27")
async def test_provider_that_is_not_for_bulk_takes_one_recipient_and_no_campaign(admin: Person, world: World) -> None:
    able = await served(admin)
    assert {name for name, each in able.items() if not each["bulk"]} >= {"slack", "discord"}
    base = f"http://127.0.0.1:{world.sandbox.http_port}/slack"
    given = {"name": "room", "provider": "slack", "config": {"base_url": base}}
    made = await admin.call("POST", "/accounts", json={**given, "secrets": {"webhook": "T000/B000/parley"}})
    assert made.status_code == 201, made.text
    body = {"channel": "slack", "account": "room", "content": WORDS}
    many = await admin.call("POST", "/deliveries", json={**body, "to": [{"address": "default"}] * 2})
    assert (many.status_code, [each["field"] for each in many.json()["errors"]]) == (422, ["to"])
    one = await admin.call("POST", "/deliveries", json={**body, "to": [{"address": "default"}]})
    assert one.status_code == 202
    campaign = await admin.call("POST", "/campaigns", json={**body, "name": "Spring"})
    assert (campaign.status_code, [each["field"] for each in campaign.json()["errors"]]) == (422, ["channel"])
    follow = {"channel": "slack", "account": "room", "after_seconds": 60, "until": "sent"}
    phones = [{"address": f"+4915112345{number}"} for number in range(100, 102)]
    later = {"channel": "sms", "content": {"text": "It is done."}, "to": phones, "fallback": [follow]}
    refusal = (await admin.call("POST", "/deliveries", json=later)).json()
    assert [each["field"] for each in refusal["errors"]] == ["fallback.0.channel"]

    async def gone() -> bool:
        return bool((await admin.get("/accounts/room"))["waiting"] == 0)

    await eventually(gone)
    assert (await admin.call("DELETE", "/accounts/room")).status_code == 204


CRAFTED = [
    "a@" + "\ufdfa" * 60,
    "a@" + ".".join(["\ufdfa" * 60] * 4),
    "a@[" + "(" * 200,
    "a." * 150 + "@b.test",
    "a@" + "a." * 150 + "test",
]


@pytest.mark.parametrize("address", CRAFTED, ids=range(len(CRAFTED)))
async def test_address_that_was_made_to_be_slow_is_refused(admin: Person, address: str) -> None:
    body = {"channel": "email", "to": [{"address": address}], "content": WORDS}
    answer = await admin.call("POST", "/deliveries", json=body)
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, ["to.0.address"])
