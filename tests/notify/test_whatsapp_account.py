"""What else is asked of WhatsApp: files, templates, how a number fares, and that a message was read."""

import base64
import hashlib
from typing import Any

import pytest

from deploy.local.ports import free_port
from deploy.sandbox.server import Sandbox
from deploy.sandbox.whatsapp_state import Template as Kept
from deploy.sandbox.whatsapp_state import text_template
from notify_service.domain.channels import ErrorClass
from notify_service.domain.channels.http import Refused
from notify_service.domain.channels.whatsapp_graph import Health, health, limit_of, look, mark_read
from notify_service.domain.channels.whatsapp_media import digest_of, download, upload
from notify_service.domain.channels.whatsapp_templates import (
    Template,
    check_template,
    fetch_templates,
    parse_templates,
)
from notify_service.domain.content import Approved
from tests.notify.desks import WhatsAppDesk, phone
from tests.sandbox.receiver import receiving

PICTURE = b"\x89PNG of no one"
LINK = "https://files.example/a.png"


@pytest.fixture
def desk(sandbox: Sandbox) -> WhatsAppDesk:
    return WhatsAppDesk(sandbox)


@pytest.mark.promise("N11")
async def test_uploaded_file_is_shown_by_its_id_and_given_to_nobody_else(desk: WhatsAppDesk) -> None:
    setup, ada = desk.setup(), phone()
    desk.writes(ada)
    url = await upload(setup, PICTURE, mime="image/png", filename="a.png")
    assert url.startswith(f"{desk.url}/whatsapp/v25.0/")
    assert (await desk.send(ada, media={"kind": "image", "url": url, "caption": "Look."})).error is None
    [chat] = desk.chats(ada)
    assert chat.content == {"id": url.rpartition("/")[2], "caption": "Look."}
    assert (await desk.send(ada, media={"kind": "image", "url": f"{url}1"})).code == "100"


async def test_file_that_was_sent_to_us_is_fetched_whole_and_as_announced(desk: WhatsAppDesk) -> None:
    stored = desk.whatsapp.store(desk.number.id, "image/png", PICTURE)
    setup, digest = desk.setup(), hashlib.sha256(PICTURE).hexdigest()
    found = await download(setup, stored.id, most_bytes=len(PICTURE), sha256=digest)
    assert (found.content, found.mime, found.sha256) == (PICTURE, "image/png", digest)
    assert "of no one" not in repr(found)


async def test_file_that_is_too_large_or_another_is_refused(desk: WhatsAppDesk) -> None:
    stored = desk.whatsapp.store(desk.number.id, "image/png", PICTURE)
    for claimed, most, announced, code in (
        (None, 3, None, "too_large"),
        (3, 3, None, "too_large"),
        (101, 100, None, "too_large"),
        (None, 100, "0" * 64, "other_content"),
    ):
        stored.claimed_size = claimed
        with pytest.raises(Refused, match=code):
            await download(desk.setup(), stored.id, most_bytes=most, sha256=announced)
    with pytest.raises(Refused, match="100"):
        await download(desk.setup(), "123", most_bytes=100)
    with pytest.raises(Refused, match="bad_id"):
        await download(desk.setup(), "../me", most_bytes=100)


async def test_token_goes_only_where_the_api_keeps_its_files(desk: WhatsAppDesk) -> None:
    stored = desk.whatsapp.store(desk.number.id, "image/png", PICTURE)
    async with receiving() as stranger:
        for url in (
            stranger.url,
            "https://fbsbx.com.example.com/",
            "http://lookaside.fbsbx.com/",
            "file:///etc/passwd",
        ):
            stored.elsewhere = url
            with pytest.raises(Refused, match="bad_answer"):
                await download(desk.setup(), stored.id, most_bytes=100)
        assert stranger.heard == []


def test_digest_is_read_in_either_form() -> None:
    digest = hashlib.sha256(PICTURE)
    assert digest_of(digest.hexdigest()) == digest_of(base64.b64encode(digest.digest()).decode()) == digest.hexdigest()
    assert [digest_of(each) for each in (None, 7, "", "abc", "YWJj", "\u00fc")] == [None] * 6


@pytest.mark.promise("N11")
async def test_author_sees_that_a_message_was_read(desk: WhatsAppDesk) -> None:
    ada = phone()
    first, second = desk.writes(ada), desk.writes(ada)
    await mark_read(desk.setup(), second.id, typing=True)
    assert (first.statuses, second.statuses) == (["read"], ["read"])
    with pytest.raises(Refused, match="131009"):
        await mark_read(desk.setup(), "wamid.unknown")


async def test_number_tells_how_it_fares(desk: WhatsAppDesk) -> None:
    desk.business.tier, desk.number.quality = 2_000, "YELLOW"
    fares = await look(desk.setup())
    assert fares == Health("15550783881", "Parley", "YELLOW", "CONNECTED", "STANDARD", 2_000, unlimited=False)
    desk.business.tier = None
    assert (await look(desk.setup())).unlimited


@pytest.mark.promise("N46")
async def test_call_that_fails_says_why(desk: WhatsAppDesk) -> None:
    with pytest.raises(Refused) as refused:
        await look(desk.setup(token="wrong"))
    assert (refused.value.outcome.error, refused.value.outcome.code) == (ErrorClass.AUTH, "190")
    with pytest.raises(Refused) as away:
        await look(desk.setup(base_url=f"http://127.0.0.1:{free_port()}"))
    assert away.value.outcome.error is ErrorClass.UNREACHABLE
    with pytest.raises(Refused, match="no_business_account"):
        await fetch_templates(desk.setup(business_account_id=None))


def test_number_that_tells_nothing_is_unknown() -> None:
    assert health({}) == Health("UNKNOWN", "UNKNOWN", "UNKNOWN", "UNKNOWN", "UNKNOWN", None, unlimited=False)
    tiers = ("TIER_250", "TIER_100K", "TIER_UNLIMITED", "TIER_9", 2000, -1, True, None)
    assert [limit_of(each) for each in tiers] == [250, 100_000, None, None, 2000, None, None, None]


@pytest.mark.promise("N12")
async def test_all_templates_are_listed_page_by_page(desk: WhatsAppDesk) -> None:
    for index in range(230):
        kept = text_template(f"more_{index}", "{{1}} and {{2}} and {{1}}", status="PAUSED", category="MARKETING")
        desk.business.templates[kept.name, "de"] = kept
    found = await fetch_templates(desk.setup())
    assert len(found) == 232
    assert found[0] == Template("hello_world", "en_US", "APPROVED", "UTILITY")
    assert found[1] == Template("order_update", "en_US", "APPROVED", "UTILITY", body=2, buttons=(0,))
    assert found[-1] == Template("more_229", "en_US", "PAUSED", "MARKETING", body=2)


def parsed(*components: Any, **more: Any) -> Template:
    kept = Kept("t", "en_US", list(components), **more)
    [found] = parse_templates({"data": [kept.as_json()]})
    return found


def test_template_says_what_it_needs() -> None:
    title = {"type": "HEADER", "format": "TEXT", "text": "Dear {{1}}"}
    buttons = [{"type": "QUICK_REPLY", "text": "Yes"}, {"type": "URL", "url": "https://a.test/{{1}}"}]
    found = parsed(title, {"type": "BODY", "text": "Hi"}, {"type": "BUTTONS", "buttons": buttons})
    assert (found.header, found.body, found.buttons, found.beyond) == ("text", 0, (1,), None)
    assert parsed({"type": "HEADER", "format": "VIDEO"}).header == "video"
    assert parsed({"type": "BUTTONS", "buttons": [{"type": "OTP"}]}).buttons == (0,)
    assert "copies a code" in str(parsed({"type": "BUTTONS", "buttons": [{"type": "COPY_CODE"}]}).beyond)
    named = parsed({"type": "BODY", "text": "Hi {{name}}"}, parameter_format="NAMED")
    assert (named.body, "have names" in str(named.beyond)) == (1, True)
    assert parsed({"type": "BODY", "text": "Hi"}, parameter_format="NAMED").beyond is None


def test_what_is_no_template_is_passed_over() -> None:
    strange: list[Any] = [None, 7, {}, {"name": "a"}, {"name": 1, "language": "en", "status": "x", "category": "y"}]
    assert parse_templates({"data": strange}) == []
    assert parse_templates({"data": "no"}) == parse_templates({}) == []
    bare = {"name": "a", "language": "en", "status": "APPROVED", "category": "UTILITY", "components": "no"}
    assert parse_templates({"data": [bare]}) == [Template("a", "en", "APPROVED", "UTILITY")]


KNOWN = [
    Template("order", "en_US", "APPROVED", "UTILITY", header="image", body=2, buttons=(0,)),
    Template("order", "de", "APPROVED", "UTILITY"),
    Template("paused", "en_US", "PAUSED", "UTILITY"),
    Template("late", "en_US", "APPROVED", "UTILITY", buttons=(1,)),
    Template("named", "en_US", "APPROVED", "UTILITY", beyond="Its values have names; number them."),
]
IMAGE = {"kind": "image", "url": LINK}


@pytest.mark.promise("N12", "N8")
@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ({"name": "order", "header": IMAGE, "body": ["a", "b"], "buttons": ["c"]}, []),
        ({"name": "order", "language": "de"}, []),
        ({"name": "none"}, ["name"]),
        ({"name": "order", "language": "fr"}, ["language"]),
        ({"name": "paused"}, ["name"]),
        ({"name": "named"}, ["name"]),
        ({"name": "order"}, ["body", "header", "buttons"]),
        ({"name": "order", "header": "Text", "body": ["a"], "buttons": ["c", "d"]}, ["body", "header", "buttons"]),
        ({"name": "order", "language": "de", "header": {**IMAGE, "kind": "video"}}, ["header"]),
        ({"name": "late", "buttons": ["c"]}, ["buttons"]),
    ],
)
def test_template_that_would_be_refused_is_refused_before(template: dict[str, Any], fields: list[str]) -> None:
    found = check_template(Approved.model_validate(template), KNOWN)
    assert [problem.field for problem in found] == [f"content.template.{field}" for field in fields]
