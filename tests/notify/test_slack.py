"""Messages on their way to a channel of Slack."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from deploy.sandbox.server import Sandbox
from notify_service.domain.adaptation import problems
from notify_service.domain.channels import CannotRender, ErrorClass
from notify_service.domain.channels.http import Answer
from notify_service.domain.channels.slack import CAPABILITY, ERRORS, PROVIDER, check_address, check_content, judge
from notify_service.domain.content import Content
from tests.notify.chats import Account, Outside, message, opened, setup

WEBHOOK = "T000/B000/parley"
HTML = (
    "<p>Dear <b>Ada <i>B</i></b>, <s>no</s></p><blockquote>said <code>x</code></blockquote><pre>a\n  b</pre>"
    "<p><a href='https://a.test/?a=1&amp;b=2'>Go</a></p>"
)


@pytest.fixture
async def outside(sandbox_url: str) -> AsyncIterator[Outside]:
    async with httpx2.AsyncClient(base_url=sandbox_url, trust_env=False) as http:
        await http.delete("/effects")
        found = Outside(http, "slack")
        await found.order("clock", seconds=60)
        await http.put("/slack/standing", json={})
        yield found


@pytest.fixture
async def account(sandbox_url: str) -> AsyncIterator[Account]:
    given = setup(PROVIDER, {"base_url": f"{sandbox_url}/slack"}, {"webhook": WEBHOOK})
    async with opened(PROVIDER, given) as found:
        yield found


@pytest.mark.promise("N21")
async def test_text_arrives_as_it_was_written(account: Account, outside: Outside) -> None:
    text = "*Hi* <!channel> & <@U123> see https://a.test/?x=1&y=<z> ```x```"
    outcome = await account.send("default", text=text)
    assert (outcome.error, outcome.provider_id) == (None, None)
    [seen] = await outside.effects()
    elements = [
        {"type": "text", "text": "*Hi* <!channel> & <@U123> see "},
        {"type": "link", "url": "https://a.test/?x=1&y=", "text": "https://a.test/?x=1&y="},
        {"type": "text", "text": "<z> ```x```"},
    ]
    section = {"type": "rich_text_section", "elements": elements}
    assert seen["blocks"] == [{"type": "rich_text", "elements": [section]}]
    assert seen["text"].startswith("*Hi* &lt;!channel&gt; &amp; &lt;@U123&gt; see")


@pytest.mark.promise("N21", "N28")
async def test_markup_is_rich_text(account: Account, outside: Outside) -> None:
    assert (await account.send("default", html=HTML)).error is None
    [seen] = await outside.effects()
    [block] = seen["blocks"]
    parts = [(part["type"], part["elements"]) for part in block["elements"]]
    words = [("".join(each["text"] for each in elements), kind) for kind, elements in parts]
    assert words == [
        ("Dear Ada B, no\n\n", "rich_text_section"),
        ("said x", "rich_text_quote"),
        ("\n\n", "rich_text_section"),
        ("a\n  b", "rich_text_preformatted"),
        ("\n\nGo", "rich_text_section"),
    ]
    styles = {each["text"]: each.get("style") for _, elements in parts for each in elements}
    assert styles["Ada "] == {"bold": True}
    assert styles["B"] == {"bold": True, "italic": True}
    assert (styles["no"], styles["x"], styles["a\n  b"]) == ({"strike": True}, {"code": True}, None)
    assert parts[-1][1][-1] == {"type": "link", "url": "https://a.test/?a=1&b=2", "text": "Go"}


@pytest.mark.promise("N21")
async def test_subject_picture_and_buttons_are_blocks(account: Account, outside: Outside) -> None:
    await account.send(
        "default",
        subject="A & B",
        text="Hello",
        media={"kind": "image", "url": "https://a.test/a.png", "caption": "A cat"},
        buttons=[{"title": "Open <it>", "url": "https://a.test"}],
    )
    [seen] = await outside.effects()
    header, image, _, actions = seen["blocks"]
    assert header["text"]["text"] == "A &amp; B"
    assert (image["image_url"], image["alt_text"], image["title"]["text"]) == ("https://a.test/a.png", "A cat", "A cat")
    [button] = actions["elements"]
    assert (button["text"]["text"], button["url"]) == ("Open &lt;it&gt;", "https://a.test")
    assert seen["text"] == "A &amp; B"


@pytest.mark.promise("N21", "N28")
async def test_long_text_loses_nothing(account: Account, outside: Outside) -> None:
    text = " ".join(["word"] * 13_000)
    assert (await account.send("default", text=text)).error is None
    [seen] = await outside.effects()
    words = [each["elements"][0]["elements"][0]["text"] for each in seen["blocks"]]
    assert " ".join(words) == text
    assert max(map(len, words)) <= 3000


@pytest.mark.promise("N21", "N44", "N46")
async def test_limit_that_slack_tells_is_told_on(account: Account, outside: Outside, sandbox: Sandbox) -> None:
    with sandbox.slack.clock.standing():
        *sent, last = [await account.send("default", text=str(number)) for number in range(6)]
    assert [each.error for each in sent] == [None] * 5
    assert (last.error, last.code) == (ErrorClass.THROTTLE, "rate_limited")
    assert 1 <= (last.pause_seconds or 0) <= 5


@pytest.mark.promise("N21", "N46")
@pytest.mark.parametrize("word", ["channel_is_archived", "channel_not_found", "action_prohibited", "no_team"])
async def test_channel_that_is_gone_stops_the_account(
    account: Account, outside: Outside, sandbox_url: str, word: str
) -> None:
    async with httpx2.AsyncClient(base_url=sandbox_url, trust_env=False) as http:
        await http.put("/slack/standing", json={"refusal": word})
    outcome = await account.send("default", text="Hi")
    assert (outcome.error, outcome.code) == (ErrorClass.AUTH, word)
    assert await outside.effects() == []


@pytest.mark.promise("N46", "N49")
@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ({"reply": "400 invalid_payload"}, ErrorClass.PERMANENT, "invalid_payload"),
        ({"reply": "400 invalid_blocks"}, ErrorClass.PERMANENT, "invalid_blocks"),
        ({"reply": "403 something new"}, ErrorClass.AUTH, "403"),
        ({"reply": "410 something new"}, ErrorClass.AUTH, "410"),
        ({"reply": "500 rollup_error"}, ErrorClass.AMBIGUOUS, "rollup_error"),
        ({"reply": "503 <html>"}, ErrorClass.AMBIGUOUS, "503"),
        ({"drop": True, "after_data": True, "keep": True}, ErrorClass.AMBIGUOUS, "no_answer"),
    ],
)
async def test_refusal_has_its_meaning(
    account: Account, outside: Outside, fault: dict[str, Any], error: ErrorClass, code: str
) -> None:
    await outside.order("faults", **fault)
    outcome = await account.send("default", text="Hi")
    assert (outcome.error, outcome.code) == (error, code)
    assert len(await outside.effects()) == ("keep" in fault)


@pytest.mark.promise("N46")
@pytest.mark.parametrize("word", sorted(ERRORS))
def test_every_row_of_the_table_is_read(word: str) -> None:
    status = int(word) if word.isdecimal() else 400
    status = 500 if word == "rollup_error" else 429 if word == "rate_limited" else status
    outcome = judge(Answer(status, {}, word.encode()))
    assert (outcome.error, outcome.code) == (ERRORS[word], word)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<html>", ErrorClass.AMBIGUOUS),
        (200, b"", ErrorClass.AMBIGUOUS),
        (200, b"x" * 200_000, ErrorClass.AMBIGUOUS),
        (200, b"ok\n", None),
        (400, b"\xff\xfe", ErrorClass.PERMANENT),
        (302, b"", ErrorClass.AUTH),
        (408, b"", ErrorClass.TRANSIENT),
        (422, b"[]", ErrorClass.PERMANENT),
    ],
)
def test_answer_that_is_none_of_slacks_is_understood(status: int, body: bytes, error: ErrorClass | None) -> None:
    assert judge(Answer(status, {}, body)).error is error


@pytest.mark.promise("N21")
@pytest.mark.parametrize(("webhook", "code"), [("T000/B000/wrong", "invalid_token"), ("T000/B111/x", "no_service")])
async def test_wrong_webhook_blames_the_account_and_is_not_shown(sandbox_url: str, webhook: str, code: str) -> None:
    given = setup(
        PROVIDER, {"base_url": f"{sandbox_url}/slack"}, {"webhook": f"https://hooks.slack.com/services/{webhook}"}
    )
    async with opened(PROVIDER, given) as account:
        outcome = await account.send("default", text="Hi")
        assert (outcome.error, outcome.code) == (ErrorClass.AUTH, code)
        calls = account.channel.render(message("default", text="x"))
        assert webhook not in repr((given, given.secrets, account.channel, account.line, calls))


@pytest.mark.parametrize(
    "webhook",
    ["", "T000", "http://hooks.slack.com/services/T0/B0/x", "T0/B0/secretive/..", "T0/B0/x?y", "https://a.test/x"],
)
def test_webhook_that_is_none_is_refused_and_not_shown(webhook: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PROVIDER.secrets.model_validate({"webhook": webhook})
    assert "secretive" not in str(refused.value)


def test_webhook_has_one_channel(account: Account) -> None:
    assert check_address(" default ") == "default"
    for address in ("", "#general", "C123"):
        with pytest.raises(ValueError, match="one channel"):
            check_address(address)
        with pytest.raises(CannotRender):
            account.channel.render(message(address, text="x"))


@pytest.mark.promise("N8")
@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"text": "x", "buttons": [{"title": "a", "id": "x"}]}, "content.buttons.0.id"),
        ({"text": "x", "buttons": [{"title": "a" * 76, "url": "https://a.test"}]}, "content.buttons.0.title"),
        ({"media": {"kind": "video", "url": "https://a.test"}}, "content.media.kind"),
        ({"text": "x", "choices": {"title": "a", "choices": [{"id": "x", "title": "b"}]}}, "content.choices"),
    ],
)
def test_what_slack_cannot_do_is_named_with_its_field(content: dict[str, Any], field: str) -> None:
    given = Content.model_validate(content)
    assert [each.field for each in (*problems(given, CAPABILITY), *check_content(given))] == [field]


@pytest.mark.parametrize("content", [{"html": "<p> </p>"}, {"text": "x", "buttons": [{"title": "a", "id": "x"}]}])
def test_nothing_is_rendered_of_nothing(account: Account, content: dict[str, Any]) -> None:
    with pytest.raises(CannotRender):
        account.channel.render(message("default", **content))


def test_more_than_slack_takes_at_once_is_several_messages(account: Account) -> None:
    # Values that were put in may make a text longer than any that is accepted.
    given = message("default", text="x")
    assert given.content is not None
    content = given.content.model_copy(update={"text": "y " * 90_000})
    calls = account.channel.render(replace(given, content=content))
    assert [len(json.loads(call.content)["blocks"]) for call in calls] == [50, 10]
