"""Telegram, as its bots and people see it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from deploy.sandbox.server import Sandbox
from tests.notify.world import eventually
from tests.sandbox.receiver import Receiver, receiving

BOT = "/telegram/bot1000001:parley"
ADA, GROUP = 11, -22


@pytest.fixture
async def ada(web: httpx2.AsyncClient) -> int:
    await web.post("/telegram/chats", json={"id": ADA})
    return ADA


@pytest.fixture
async def group(web: httpx2.AsyncClient) -> int:
    await web.post("/telegram/chats", json={"id": GROUP, "kind": "group", "name": "Friends"})
    return GROUP


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def call(web: httpx2.AsyncClient, method: str, **body: Any) -> tuple[int, Any]:
    answer = await web.post(f"{BOT}/{method}", json=body)
    said = answer.json()
    assert said["ok"] is (answer.status_code == 200)
    if said["ok"]:
        return 200, said["result"]
    assert said["error_code"] == answer.status_code
    return answer.status_code, said["description"]


async def test_message_is_taken_and_shown(web: httpx2.AsyncClient, ada: int) -> None:
    status, message = await call(web, "sendMessage", chat_id=ada, text="<b>Hi</b> &amp; bye", parse_mode="HTML")
    assert (status, message["text"], message["chat"]["id"], message["from"]["is_bot"]) == (200, "Hi & bye", ada, True)
    [effect] = (await web.get("/effects", params={"provider": "telegram"})).json()["results"]
    assert (effect["kind"], effect["recipients"]) == ("delivered", [str(ada)])
    [chat] = (await web.get("/telegram/chats")).json()["results"]
    assert [each["text"] for each in chat["messages"]] == ["/start", "Hi & bye"]
    assert (await web.get(f"{BOT}/sendMessage", params={"chat_id": ada, "text": "by query"})).status_code == 200


@pytest.mark.parametrize(("token", "status"), [("1000001:wrong", 401), ("parley", 404), ("1:ü", 404)])
async def test_stranger_is_refused(web: httpx2.AsyncClient, ada: int, token: str, status: int) -> None:
    answer = await web.post(f"/telegram/bot{token}/sendMessage", json={"chat_id": ada, "text": "x"})
    assert (answer.status_code, answer.json()["ok"]) == (status, False)
    assert (await web.get(f"/telegram/file/bot{token}/files/x")).status_code == status


@pytest.mark.parametrize(
    ("method", "body", "words"),
    [
        ("sendMessage", {"chat_id": 12, "text": "x"}, "chat not found"),
        ("sendMessage", {"chat_id": ADA, "text": " "}, "message text is empty"),
        ("sendMessage", {"chat_id": ADA, "text": 7}, "text must be of type String"),
        ("sendMessage", {"chat_id": ADA, "text": "\U0001f600" * 2049}, "message is too long"),
        ("sendMessage", {"chat_id": ADA, "text": "<p>x</p>", "parse_mode": "HTML"}, "can't parse entities"),
        ("sendMessage", {"chat_id": ADA, "text": "<b>x", "parse_mode": "HTML"}, "can't parse entities"),
        ("sendMessage", {"chat_id": ADA, "text": "x</b>", "parse_mode": "HTML"}, "can't parse entities"),
        ("sendMessage", {"chat_id": ADA, "text": "x", "parse_mode": "X"}, "unsupported parse_mode"),
        ("sendPhoto", {"chat_id": ADA, "photo": "ftp://a.test"}, "wrong file identifier/HTTP URL specified"),
        ("sendPhoto", {"chat_id": ADA, "photo": "https://a.test", "caption": "x" * 1025}, "caption is too long"),
        ("sendDocument", {"chat_id": ADA, "document": "https://a.test/a.docx"}, "wrong type of the web page content"),
        ("sendMessage", {"chat_id": ADA, "text": "x", "reply_markup": {}}, "object expected as reply markup"),
        ("sendMessage", {"chat_id": ADA, "text": "x", "reply_parameters": {"message_id": 9}}, "replied not found"),
        ("setMessageReaction", {"chat_id": ADA, "message_id": 9}, "message to react not found"),
        ("setMessageReaction", {"chat_id": ADA, "message_id": 1, "reaction": [{"emoji": "x"}]}, "REACTION_INVALID"),
        ("answerCallbackQuery", {"callback_query_id": "1"}, "query is too old"),
        ("getFile", {"file_id": "1"}, "invalid file_id"),
        ("setWebhook", {"url": "http://a.test/hook"}, "An HTTPS URL must be provided"),
        ("setWebhook", {"url": "https://a.test/hook", "secret_token": "a b"}, "unallowed characters"),
    ],
)
async def test_what_telegram_refuses_is_refused(
    web: httpx2.AsyncClient, ada: int, method: str, body: dict[str, Any], words: str
) -> None:
    status, said = await call(web, method, **body)
    assert status == 400
    assert said.startswith("Bad Request: ")
    assert words in said


@pytest.mark.parametrize(
    ("button", "words"),
    [
        ({"text": "a", "callback_data": "x" * 65}, "BUTTON_DATA_INVALID"),
        ({"text": "a"}, "BUTTON_DATA_INVALID"),
        ({"text": "a", "url": "javascript:x"}, "BUTTON_URL_INVALID"),
        ({"url": "https://a.test"}, "must be non-empty"),
    ],
)
async def test_button_that_is_none_is_refused(
    web: httpx2.AsyncClient, ada: int, button: dict[str, str], words: str
) -> None:
    status, said = await call(web, "sendMessage", chat_id=ada, text="x", reply_markup={"inline_keyboard": [[button]]})
    assert status == 400
    assert words in said


@pytest.mark.parametrize(("method", "body"), [("nothing", "{}"), ("sendMessage", "["), ("sendMessage", "[]")])
async def test_request_that_is_none_is_refused(web: httpx2.AsyncClient, method: str, body: str) -> None:
    answer = await web.post(f"{BOT}/{method}", content=body)
    assert answer.status_code == (404 if method == "nothing" else 400)


async def test_person_gets_a_few_at_once_and_then_one_a_second(
    web: httpx2.AsyncClient, sandbox: Sandbox, ada: int
) -> None:
    with sandbox.telegram.chats.clock.standing():
        found = [await call(web, "sendMessage", chat_id=ada, text="x") for _ in range(4)]
        answer = await web.post(f"{BOT}/sendMessage", json={"chat_id": ada, "text": "x"})
    assert [status for status, _ in found] == [200, 200, 200, 429]
    seconds = answer.json()["parameters"]["retry_after"]
    assert answer.json()["description"] == f"Too Many Requests: retry after {seconds}"
    await web.post("/telegram/clock", json={"seconds": seconds})
    assert (await call(web, "sendMessage", chat_id=ada, text="x"))[0] == 200


async def test_group_gets_twenty_a_minute(web: httpx2.AsyncClient, sandbox: Sandbox, group: int) -> None:
    with sandbox.telegram.chats.clock.standing():
        found = [await call(web, "sendMessage", chat_id=group, text="x") for _ in range(21)]
    assert [status for status, _ in found] == [200] * 20 + [429]
    await web.post("/telegram/clock", json={"seconds": 60})
    assert (await call(web, "sendMessage", chat_id=group, text="x"))[0] == 200


async def test_bot_sends_thirty_a_second(web: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    for number in range(1, 12):
        sandbox.telegram.start(number, "Ada")
    with sandbox.telegram.chats.clock.standing():
        found = [(await call(web, "sendMessage", chat_id=1 + number // 3, text="x"))[0] for number in range(31)]
    assert found == [200] * 30 + [429]


@pytest.mark.parametrize(("do", "words"), [("block", "blocked by the user"), ("deactivate", "deactivated")])
async def test_who_shuts_the_bot_out_gets_nothing(web: httpx2.AsyncClient, ada: int, do: str, words: str) -> None:
    assert (await web.post(f"/telegram/chats/{ada}/standing", json={"do": do})).status_code == 204
    status, said = await call(web, "sendMessage", chat_id=ada, text="x")
    assert (status, words in said) == (403, True)
    await web.post("/telegram/chats", json={"id": ada})
    assert (await call(web, "sendMessage", chat_id=ada, text="x"))[0] == 200


async def test_group_that_is_upgraded_names_its_new_id(web: httpx2.AsyncClient, group: int) -> None:
    await web.post(f"/telegram/chats/{group}/standing", json={"do": "migrate"})
    answer = await web.post(f"{BOT}/sendMessage", json={"chat_id": group, "text": "x"})
    moved = answer.json()["parameters"]["migrate_to_chat_id"]
    assert (await call(web, "sendMessage", chat_id=moved, text="x"))[0] == 200


async def test_channel_has_a_name(web: httpx2.AsyncClient) -> None:
    await web.post("/telegram/chats", json={"id": -5, "kind": "channel", "name": "News", "username": "NewsToday"})
    assert (await call(web, "sendMessage", chat_id="@newstoday", text="x"))[0] == 200


async def test_updates_wait_until_a_later_poll_confirms_them(web: httpx2.AsyncClient, ada: int) -> None:
    await web.post(f"/telegram/chats/{ada}/messages", json={"content": {"text": "Hello"}})
    _, first = await call(web, "getUpdates")
    assert [each["message"]["text"] for each in first] == ["/start", "Hello"]
    assert (await call(web, "getUpdates"))[1] == first
    assert (await call(web, "getUpdates", offset=first[0]["update_id"] + 1))[1] == first[1:]
    assert (await call(web, "getUpdates", offset=first[1]["update_id"] + 1, timeout=0))[1] == []
    await web.post(f"/telegram/chats/{ada}/messages", json={"content": {"text": "Later"}})
    assert len((await call(web, "getUpdates", limit=1, timeout=5, allowed_updates=["message"]))[1]) == 1
    await web.post(f"/telegram/chats/{ada}/edits", json={"message_id": 2, "text": "Changed"})
    assert len((await call(web, "getUpdates"))[1]) == 1


async def test_webhook_is_told_with_its_secret(web: httpx2.AsyncClient, ada: int, receiver: Receiver) -> None:
    await call(web, "setWebhook", url=receiver.url, secret_token="s3cret")
    status, said = await call(web, "getUpdates")
    assert (status, "webhook is active" in said) == (409, True)
    await web.post(f"/telegram/chats/{ada}/messages", json={"content": {"text": "Hello"}})
    await eventually(lambda: len(receiver.heard) == 2)
    assert [json.loads(body)["message"]["text"] for body, _ in receiver.heard] == ["/start", "Hello"]
    assert {headers["x-telegram-bot-api-secret-token"] for _, headers in receiver.heard} == {"s3cret"}
    _, webhook = await call(web, "getWebhookInfo")
    assert (webhook["url"], webhook["pending_update_count"]) == (receiver.url, 0)
    await call(web, "deleteWebhook")
    assert (await call(web, "getUpdates"))[0] == 200


async def test_webhook_is_told_twice_and_backwards_on_order(
    web: httpx2.AsyncClient, ada: int, receiver: Receiver
) -> None:
    await call(web, "deleteWebhook", drop_pending_updates=True)
    await web.put("/telegram/callbacks", json={"copies": 2, "reverse": True, "delay_ms": 1})
    for text in ("One", "Two"):
        await web.post(f"/telegram/chats/{ada}/messages", json={"content": {"text": text}})
    # Both wait for somebody to be told.
    await call(web, "setWebhook", url=receiver.url)
    await eventually(lambda: len(receiver.heard) == 4)
    assert [json.loads(body)["message"]["text"] for body, _ in receiver.heard] == ["Two", "Two", "One", "One"]


async def test_page_shows_a_chat_and_its_buttons_work(web: httpx2.AsyncClient) -> None:
    assert "No chat yet" in (await web.get("/telegram")).text
    started = await web.post("/telegram/start", data={"name": "<Ada>", "payload": "abc"})
    page = started.headers["location"]
    chat = int(page.rpartition("/")[2])
    keys = [[{"text": "Yes", "callback_data": "y"}, {"text": "See", "url": "https://a.test"}]]
    await call(web, "sendMessage", chat_id=chat, text="<script>", reply_markup={"inline_keyboard": keys})
    shown = (await web.get(page)).text
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "<button>Yes</button>" in shown
    assert 'href="https://a.test"' in shown
    await web.post(f"{page}/press", data={"message": "2", "data": "y"})
    await web.post(f"{page}/write", data={"text": "Hello"})
    await web.post(f"{page}/stand", data={"do": "block"})
    assert (await web.post(f"{page}/stand", data={"do": "sing"})).status_code == 422
    _, updates = await call(web, "getUpdates")
    kinds = [next(name for name in update if name != "update_id") for update in updates]
    assert kinds == ["message", "callback_query", "message", "my_chat_member"]
    assert updates[0]["message"]["text"] == "/start abc"
    assert "&lt;Ada&gt;" in (await web.get("/telegram")).text
    assert (await web.get("/telegram/with/404")).status_code == 404
    assert "blocked" in (await web.get(page)).text


async def test_foreign_page_presses_nothing(web: httpx2.AsyncClient, ada: int) -> None:
    answer = await web.post(
        f"/telegram/with/{ada}/write", data={"text": "x"}, headers={"Origin": "https://evil.example"}
    )
    assert answer.status_code == 403
