"""A webhook of Discord."""

from typing import Any

import httpx2
import pytest

from deploy.sandbox.server import Sandbox

HOOK = "/discord/webhooks/1/parley"


async def post(web: httpx2.AsyncClient, **body: Any) -> httpx2.Response:
    return await web.post(HOOK, params={"wait": "true"}, json=body)


async def test_message_is_taken_and_shown(web: httpx2.AsyncClient) -> None:
    embed = {"title": "News", "url": "https://a.test", "description": "<b>", "image": {"url": "https://a.test/a.png"}}
    answer = await post(web, content="Hi @everyone", embeds=[embed])
    assert (answer.status_code, answer.json()["content"], answer.json()["mention_everyone"]) == (
        200,
        "Hi @everyone",
        True,
    )
    page = (await web.get("/discord")).text
    for words in ("Hi @everyone", "&lt;b&gt;", 'href="https://a.test"', "https://a.test/a.png"):
        assert words in page
    quiet = await post(web, content="Hi @everyone", allowed_mentions={"parse": []})
    assert quiet.json()["mention_everyone"] is False
    assert (await web.post(HOOK, json={"content": "x"})).status_code == 204
    assert (await web.post("/discord/clear")).status_code == 303
    assert "No message yet" in (await web.get("/discord")).text


@pytest.mark.parametrize(("path", "status", "code"), [("1/x", 401, 50027), ("2/parley", 404, 10015), ("x", 404, 10015)])
async def test_stranger_is_refused(web: httpx2.AsyncClient, path: str, status: int, code: int) -> None:
    answer = await web.post(f"/discord/webhooks/{path}", json={"content": "x"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 50006),
        ({"content": "x" * 2001}, 50035),
        ({"content": 7}, 50035),
        ({"embeds": [{}] * 11}, 50035),
        ({"embeds": [7]}, 50035),
        ({"embeds": [{"title": "x" * 257}]}, 50035),
        ({"embeds": [{"description": "x" * 4096}, {"description": "x" * 2000}]}, 50035),
    ],
)
async def test_what_is_no_message_is_refused(web: httpx2.AsyncClient, body: dict[str, Any], code: int) -> None:
    answer = await post(web, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_body_that_is_none_is_refused(web: httpx2.AsyncClient) -> None:
    assert (await web.post(HOOK, content="{")).json()["code"] == 50109


async def test_answers_tell_what_is_left(web: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    with sandbox.discord.clock.standing():
        answers = [await post(web, content="x") for _ in range(6)]
    assert [each.status_code for each in answers] == [200] * 5 + [429]
    assert [int(each.headers["x-ratelimit-remaining"]) for each in answers] == [4, 3, 2, 1, 0, 0]
    last = answers[-1]
    assert last.headers["x-ratelimit-scope"] == "user"
    assert 0 < last.json()["retry_after"] <= 2
    assert int(last.headers["retry-after"]) >= last.json()["retry_after"]
    await web.post("/discord/clock", json={"seconds": 2})
    assert (await post(web, content="x")).status_code == 200


async def test_deleted_webhook_is_unknown_and_who_goes_on_is_banned(web: httpx2.AsyncClient) -> None:
    assert (await web.put("/discord/standing", json={"deleted": True, "invalid_most": 2})).status_code == 204
    assert (await post(web, content="x")).status_code == 404
    for _ in range(2):
        assert (await web.post("/discord/webhooks/1/x", json={})).status_code == 404
    await web.put("/discord/standing", json={"invalid_most": 2})
    for _ in range(2):
        assert (await web.post("/discord/webhooks/1/x", json={})).status_code == 401
    banned = await post(web, content="x")
    assert (banned.status_code, banned.headers["retry-after"], banned.text[:4]) == (429, "600", "<h1>")
    await web.post("/discord/clock", json={"seconds": 601})
    assert (await post(web, content="x")).status_code == 200
