"""What people of Telegram write and do, on its way to us."""

import base64
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from deploy.sandbox.server import Options, Sandbox
from deploy.sandbox.smtp import SmtpOptions
from notify_service.domain.channels import Effect, ErrorClass, Setup, telegram_bot
from notify_service.domain.channels.http import Refused
from notify_service.domain.channels.inbound import Event
from notify_service.domain.channels.telegram import PROVIDER
from notify_service.domain.channels.telegram_inbound import parse, verify
from tests.notify.chats import Outside, new_chat, opened, setup
from tests.notify.world import eventually
from tests.sandbox.receiver import Receiver, receiving

TOKEN, SECRET = "1000001:parley", "s3cret-s3cret-s3cret"
IN = {"status": "member"}


@pytest.fixture(scope="module")
async def own_sandbox() -> AsyncIterator[Sandbox]:
    """Where a webhook is set, nobody else can poll."""
    async with Sandbox(Options(smtp=SmtpOptions("a", "b"), http_port=0, smtp_port=0)) as running:
        yield running


@pytest.fixture
async def bot(own_sandbox: Sandbox) -> Setup:
    url = f"http://127.0.0.1:{own_sandbox.http_port}/telegram"
    found = setup(PROVIDER, {"base_url": url}, {"token": TOKEN, "webhook_secret": SECRET})
    await telegram_bot.unsubscribe(found)
    await _drain(found)
    return found


@pytest.fixture
async def outside(own_sandbox: Sandbox) -> AsyncIterator[Outside]:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{own_sandbox.http_port}", trust_env=False) as http:
        yield Outside(http, "telegram")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


async def _drain(bot: Setup) -> None:
    cursor = None
    while True:
        found, cursor = await telegram_bot.poll(bot, cursor)
        if not found:
            return


def update(**given: Any) -> bytes:
    return json.dumps({"update_id": 7, **given}).encode()


def one(kind: str = "message", **given: Any) -> Event:
    chat = {"id": 11, "type": "private"}
    [event] = parse(update(**{kind: {"message_id": 5, "date": 1_700_000_000, "chat": chat, **given}}))
    return event


@pytest.mark.promise("N14", "N31", "N39")
async def test_polling_goes_on_where_it_was_stored(bot: Setup, outside: Outside) -> None:
    chat = (await outside.order("chats", id=new_chat(), payload="abc"))["id"]
    for text in ("One", "Two"):
        await outside.order(f"chats/{chat}/messages", content={"text": text})
    first, cursor = await telegram_bot.poll(bot, None)
    # Killed before it has stored anything: the same again, with the same keys.
    again, _ = await telegram_bot.poll(bot, None)
    assert [each.text for each in first] == ["/start abc", "One", "Two"]
    assert first == again
    # Killed after it has stored, before it has told: nothing is lost, nothing comes twice.
    await outside.order(f"chats/{chat}/messages", content={"text": "Three"})
    more, cursor = await telegram_bot.poll(bot, cursor)
    assert [each.text for each in more] == ["Three"]
    assert await telegram_bot.poll(bot, cursor) == ([], cursor)
    assert len({each.dedupe_key for each in (*first, *more)}) == 4


@pytest.mark.promise("N14")
async def test_link_says_who_has_come(bot: Setup, outside: Outside) -> None:
    assert (await telegram_bot.look(bot))["username"] == "parley_bot"
    chat = new_chat()
    await outside.order("chats", id=chat, name="Ada", payload="user-42_x")
    [event], _ = await telegram_bot.poll(bot, None)
    assert (event.kind, event.peer, event.provider_id) == ("message", str(chat), f"{chat}:1")
    assert (event.data["start"], event.data["name"], event.data["from"]) == ("user-42_x", "Ada", str(chat))
    assert event.at is not None


@pytest.mark.promise("N14", "N29", "N31")
async def test_webhook_is_verified_and_repeats_itself(bot: Setup, outside: Outside, receiver: Receiver) -> None:
    await telegram_bot.subscribe(bot, receiver.url)
    assert (await telegram_bot.subscription(bot))["url"] == receiver.url
    with pytest.raises(Refused) as refused:
        await telegram_bot.poll(bot, None)
    assert refused.value.outcome.code == "409"
    await outside.order("callbacks", copies=3, reverse=True, delay_ms=50)
    chat = (await outside.order("chats", id=new_chat()))["id"]
    await outside.order(f"chats/{chat}/messages", content={"text": "Hello"})
    await eventually(lambda: len(receiver.heard) == 6)
    await outside.order("callbacks")
    assert all(verify(body, dict(headers), bot.secrets) for body, headers in receiver.heard)
    events = [event for body, _ in receiver.heard for event in parse(body)]
    assert len({each.dedupe_key for each in events}) == 2
    assert {each.text for each in events} == {"/start", "Hello"}


@pytest.mark.promise("N29")
def test_forged_update_is_not_verified(bot: Setup) -> None:
    body = update()
    name = "x-telegram-bot-api-secret-token"
    assert verify(body, {name: SECRET}, bot.secrets)
    for given in ({}, {name: ""}, {name: SECRET[:-1]}, {name: f"{SECRET}x"}, {name: "\u00fc\u4e2d"}):
        assert not verify(body, given, bot.secrets)
    without = setup(PROVIDER, {}, {"token": TOKEN})
    assert not verify(body, {name: ""}, without.secrets)


@pytest.mark.promise("N14")
async def test_pressed_button_is_told_and_answered(bot: Setup, outside: Outside) -> None:
    chat = (await outside.order("chats", id=new_chat()))["id"]
    async with opened(PROVIDER, bot) as account:
        sent = await account.send(str(chat), text="?", buttons=[{"title": "Yes", "id": "yes"}])
    pressed = await outside.order(f"chats/{chat}/presses", message_id=2, data="yes")
    (_, event), _ = await telegram_bot.poll(bot, None)
    assert (event.kind, event.peer, event.text) == ("message", str(chat), None)
    assert (event.data["choice"], event.data["query"], event.data["reply_to"]) == (
        "yes",
        pressed["id"],
        sent.provider_id,
    )
    await telegram_bot.answer_press(bot, event.data["query"], "Noted")
    assert {"query": pressed["id"], "text": "Noted"} in await outside.effects()
    with pytest.raises(Refused) as refused:
        await telegram_bot.answer_press(bot, event.data["query"])
    assert refused.value.outcome.error is ErrorClass.PERMANENT


@pytest.mark.promise("N14")
async def test_who_blocks_the_bot_and_comes_back_is_told(bot: Setup, outside: Outside) -> None:
    chat = (await outside.order("chats", id=new_chat()))["id"]
    await outside.order(f"chats/{chat}/standing", do="block")
    await outside.order(f"chats/{chat}/standing", do="admit")
    (_, blocked, back), _ = await telegram_bot.poll(bot, None)
    assert (blocked.kind, blocked.peer, blocked.code, blocked.effect) == (
        "account",
        str(chat),
        "blocked",
        Effect.SUPPRESS,
    )
    assert (back.kind, back.peer, back.code, back.effect) == ("account", str(chat), "unblocked", None)


async def test_group_that_moves_says_where(bot: Setup, outside: Outside) -> None:
    group = -new_chat()
    await outside.order("chats", id=group, kind="group", name="Friends")
    await outside.order(f"chats/{group}/standing", do="migrate")
    [event], _ = await telegram_bot.poll(bot, None)
    moved = {"to": str(group - 1_000_000_000_000)}
    assert (event.kind, event.peer, event.code, event.data) == ("account", str(group), "migrated", moved)


@pytest.mark.promise("N14")
async def test_file_is_fetched_up_to_a_size(bot: Setup, outside: Outside) -> None:
    chat, content = (await outside.order("chats", id=new_chat()))["id"], secrets.token_bytes(3000)
    document = {"file_name": "a.pdf", "mime_type": "application/pdf"}
    file = base64.b64encode(content).decode()
    await outside.order(f"chats/{chat}/messages", content={"document": document, "caption": "Look"}, file=file)
    (_, event), _ = await telegram_bot.poll(bot, None)
    assert event.text == "Look"
    [item] = (event.media or {})["items"]
    assert (item["kind"], item["type"], item["filename"], item["bytes"]) == (
        "document",
        "application/pdf",
        "a.pdf",
        3000,
    )
    assert await telegram_bot.download(bot, item["id"], most_bytes=3000) == content
    for file_id, most, code in ((item["id"], 2999, "too_large"), ("nothing", 10, "400")):
        with pytest.raises(Refused) as refused:
            await telegram_bot.download(bot, file_id, most_bytes=most)
        assert refused.value.outcome.code == code


async def test_wrong_token_is_said_without_it(own_sandbox: Sandbox) -> None:
    url = f"http://127.0.0.1:{own_sandbox.http_port}/telegram"
    with pytest.raises(Refused) as refused:
        await telegram_bot.look(setup(PROVIDER, {"base_url": url}, {"token": "1:wrong"}))
    assert refused.value.outcome.error is ErrorClass.AUTH
    with pytest.raises(Refused) as refused:
        await telegram_bot.look(setup(PROVIDER, {"base_url": "http://127.0.0.1:9"}, {"token": "1:wrong"}))
    assert refused.value.outcome.error is ErrorClass.UNREACHABLE
    assert refused.value.__cause__ is None
    with pytest.raises(Refused) as refused:
        await telegram_bot.subscribe(setup(PROVIDER, {"base_url": url}, {"token": TOKEN}), "https://a.test")
    assert refused.value.outcome.code == "no_webhook_secret"


@pytest.mark.parametrize(
    ("content", "item"),
    [
        (
            {"photo": [{"file_id": "s"}, {"file_id": "l", "file_size": 9}]},
            {"id": "l", "kind": "image", "type": "image/jpeg", "bytes": 9},
        ),
        ({"voice": {"file_id": "v", "mime_type": "audio/ogg"}}, {"id": "v", "kind": "audio", "type": "audio/ogg"}),
        ({"video_note": {"file_id": "n"}}, {"id": "n", "kind": "video"}),
        ({"sticker": {"file_id": "s"}}, {"id": "s", "kind": "sticker"}),
    ],
)  # fmt: skip
def test_every_kind_of_file_is_named(content: dict[str, Any], item: dict[str, Any]) -> None:
    assert one(**content).media == {"items": [item]}


def test_place_contact_answer_and_change_are_kept() -> None:
    location, contact = {"latitude": 1.5, "longitude": 2}, {"phone_number": "+491511234567", "first_name": "Bob"}
    event = one(location=location, contact=contact, reply_to_message={"message_id": 3}, text="x")
    assert event.data == {"kind": "private", "reply_to": "11:3", "location": location, "contact": contact}
    changed = one("edited_message", text="y", edit_date=1_700_000_100)
    assert (changed.provider_id, changed.data["edited"]) == ("11:5", True)
    assert changed.at is not None
    assert changed.at.timestamp() == 1_700_000_100


@pytest.mark.parametrize("text", ["/start", "/start@parley_bot", "/started", "/start a b", "/start \u00fc"])
def test_only_a_start_is_one(text: str) -> None:
    assert one(text=text).data.get("start") == ("" if text in ("/start", "/start@parley_bot") else None)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"7", b"{}", b'{"update_id": "7"}', b'{"update_id": true}', b"[" * 100_000, b'{"update_id": 1e99}'],
)
def test_what_is_no_update_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no update"):
        parse(raw)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"poll": {"id": 1}},
        {"message": 7},
        {"message": {"chat": {"id": "11"}, "message_id": 5}},
        {"message": {"chat": 11, "message_id": 5}},
        {"callback_query": {"id": "1"}},
        {"my_chat_member": {"chat": {"id": 11}}},
        {"my_chat_member": {"chat": {"id": 11}, "old_chat_member": IN, "new_chat_member": {"status": "administrator"}}},
    ],
)  # fmt: skip
def test_update_that_says_nothing_to_us_is_passed(given: dict[str, Any]) -> None:
    assert parse(update(**given)) == []


def test_strange_values_are_left_out() -> None:
    event = one(
        text="a\x00b\ud800", date="soon", photo=[7], document=[], location={"latitude": float("nan"), "longitude": 1},
        contact=7, reply_to_message={"message_id": "3"}, **{"from": {"id": "x", "first_name": ["x"]}},
    )  # fmt: skip
    assert (event.text, event.at, event.media, event.data) == ("ab", None, None, {"kind": "private"})
