"""An incoming webhook of Slack."""

from typing import Any

import httpx2
import pytest

from deploy.sandbox.server import Sandbox

HOOK = "/slack/services/T000/B000/parley"


def rich(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": list(elements)}]}


async def test_message_is_taken_and_shown(web: httpx2.AsyncClient) -> None:
    button = {"type": "button", "text": {"type": "plain_text", "text": "Go &amp; see"}, "url": "https://a.test"}
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "News"}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "&lt;script&gt;"}},
        {"type": "divider"},
        {"type": "image", "image_url": "https://a.test/a.png", "alt_text": "A cat"},
        rich({"type": "text", "text": "Hi ", "style": {"bold": True}}, {"type": "link", "url": "https://a.test"}),
        {"type": "actions", "elements": [button]},
    ]
    assert "No message yet" in (await web.get("/slack")).text
    answer = await web.post(HOOK, json={"text": "News", "blocks": blocks})
    assert (answer.status_code, answer.text, answer.headers["content-type"][:10]) == (200, "ok", "text/plain")
    page = (await web.get("/slack")).text
    for words in ("News", "&lt;script&gt;", "A cat", "Hi https://a.test", "Go &amp; see", 'href="https://a.test"'):
        assert words in page
    [effect] = (await web.get("/effects", params={"provider": "slack"})).json()["results"]
    assert (effect["kind"], effect["data"]["blocks"]) == ("delivered", blocks)
    assert (await web.post("/slack/clear")).status_code == 303
    assert "No message yet" in (await web.get("/slack")).text
    assert 'href="/slack"' in (await web.get("/")).text


async def test_form_is_taken_too(web: httpx2.AsyncClient) -> None:
    assert (await web.post(HOOK, data={"payload": '{"text": "Hi"}'})).text == "ok"


@pytest.mark.parametrize(("path", "status", "word"), [("T000/B000/x", 403, "invalid_token"), ("x", 404, "no_service")])
async def test_stranger_is_refused(web: httpx2.AsyncClient, path: str, status: int, word: str) -> None:
    answer = await web.post(f"/slack/services/{path}", json={"text": "x"})
    assert (answer.status_code, answer.text) == (status, word)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("{", "invalid_payload"),
        ("[]", "invalid_payload"),
        ("payload=", "invalid_payload"),
        ("{}", "no_text"),
        ('{"blocks": 7}', "invalid_blocks"),
    ],
)
async def test_what_is_no_message_is_refused(web: httpx2.AsyncClient, body: str, word: str) -> None:
    answer = await web.post(HOOK, content=body)
    assert (answer.status_code, answer.text) == (400, word)


@pytest.mark.parametrize(
    "block",
    [
        7,
        {"type": "marquee"},
        {"type": "section"},
        {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}},
        {"type": "header", "text": {"type": "mrkdwn", "text": "x"}},
        {"type": "header", "text": {"type": "plain_text", "text": "x" * 151}},
        {"type": "image", "image_url": "https://a.test"},
        {"type": "image", "image_url": "ftp://a.test", "alt_text": "x"},
        {"type": "actions", "elements": []},
        {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "x" * 76}}]},
        {"type": "actions", "elements": [{"type": "text"}]},
        {"type": "rich_text", "elements": []},
        {"type": "rich_text", "elements": [{"type": "paragraph", "elements": []}]},
        rich({"type": "text", "text": ""}),
        rich({"type": "text", "text": "x", "style": {"blink": True}}),
        rich({"type": "link", "url": "javascript:x"}),
    ],
)
async def test_block_that_is_none_is_refused(web: httpx2.AsyncClient, block: Any) -> None:
    answer = await web.post(HOOK, json={"text": "x", "blocks": [block]})
    assert (answer.status_code, answer.text) == (400, "invalid_blocks")


async def test_channel_that_is_archived_takes_nothing(web: httpx2.AsyncClient) -> None:
    assert (await web.put("/slack/standing", json={"refusal": "channel_is_archived"})).status_code == 204
    assert (await web.post(HOOK, json={"text": "x"})).status_code == 410
    assert (await web.put("/slack/standing", json={"refusal": "sunny"})).status_code == 422


async def test_five_come_at_once_and_then_one_a_second(web: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    with sandbox.slack.clock.standing():
        answers = [await web.post(HOOK, json={"text": "x"}) for _ in range(6)]
    assert [each.status_code for each in answers] == [200] * 5 + [429]
    pause = int(answers[-1].headers["retry-after"])
    await web.post("/slack/clock", json={"seconds": pause})
    assert (await web.post(HOOK, json={"text": "x"})).status_code == 200
