"""Messages on their way to chats of Telegram."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from deploy.sandbox.server import Sandbox
from notify_service.domain.adaptation import problems
from notify_service.domain.channels import CannotRender, Effect, ErrorClass
from notify_service.domain.channels.http import Answer
from notify_service.domain.channels.telegram import CAPABILITY, PROVIDER, check_address, check_content
from notify_service.domain.channels.telegram_errors import REFUSALS, judge
from notify_service.domain.content import Content
from notify_service.domain.limits import Limits
from tests.notify.chats import Account, Outside, message, new_chat, opened, setup

TOKEN = "1000001:parley"
HTML = "<p>Dear <b>Ada &amp; Bob</b>,</p><p>see <a href='https://a.test/?a=1&b=2'>this</a>.</p><p onclick='x()'>Bye</p>"
LONG = {"id": "x" * 65, "title": "b"}


@pytest.fixture
async def outside(sandbox_url: str) -> AsyncIterator[Outside]:
    async with httpx2.AsyncClient(base_url=sandbox_url, trust_env=False) as http:
        found = Outside(http, "telegram")
        # Whatever was sent before, nobody's limit is used up.
        await found.order("clock", seconds=120)
        yield found


@pytest.fixture
async def bot(sandbox_url: str) -> AsyncIterator[Account]:
    given = setup(PROVIDER, {"base_url": f"{sandbox_url}/telegram"}, {"token": TOKEN})
    async with opened(PROVIDER, given) as account:
        yield account


@pytest.fixture
async def chat(outside: Outside) -> str:
    """Somebody who has pressed Start."""
    return str((await outside.order("chats", id=new_chat()))["id"])


@pytest.fixture
async def group(outside: Outside) -> str:
    return str((await outside.order("chats", id=-new_chat(), kind="group", name="Friends"))["id"])


@pytest.mark.promise("N14")
async def test_text_arrives_as_it_was_written(bot: Account, outside: Outside, chat: str) -> None:
    outcome = await bot.send(chat, text="*Hi* <b>Ada</b> & _all_ [x](https://a.test)", subject="News")
    [seen] = await outside.effects(chat)
    assert seen["text"] == "News\n\n*Hi* <b>Ada</b> & _all_ [x](https://a.test)"
    assert (outcome.error, outcome.provider_id) == (None, f"{chat}:{seen['message']}")


@pytest.mark.promise("N14", "N28")
async def test_markup_is_what_telegram_reads(bot: Account, outside: Outside, chat: str) -> None:
    rendered = bot.channel.render(message(chat, html=HTML))
    assert json.loads(rendered[0].content) == {
        "chat_id": int(chat),
        "parse_mode": "HTML",
        "text": 'Dear <b>Ada &amp; Bob</b>,\n\nsee <a href="https://a.test/?a=1&amp;b=2">this</a>.\n\nBye',
    }
    assert (await bot.send(chat, html=HTML, subject="1 <i> 2")).error is None
    [seen] = await outside.effects(chat)
    assert seen["text"] == "1 <i> 2\n\nDear Ada & Bob,\n\nsee this.\n\nBye"


@pytest.mark.promise("N14", "N28")
@pytest.mark.parametrize("markup", [False, True])
async def test_long_text_arrives_in_pieces_that_lose_nothing(
    bot: Account, outside: Outside, chat: str, markup: bool
) -> None:
    words = " ".join(["\U0001f600" * 3] * 1500)
    given: dict[str, Any] = {"html": f"<b>{words}</b>"} if markup else {"text": words}
    buttons = [{"title": "More", "url": "https://a.test"}]
    outcome = await bot.send(chat, **given, buttons=buttons)
    seen = await outside.effects(chat)
    assert outcome.error is None
    assert outcome.provider_id == f"{chat}:{seen[0]['message']}"
    assert " ".join(each["text"] for each in seen) == words
    assert all(len(each["text"].encode("utf-16-le")) <= 2 * 4096 for each in seen)
    assert ["reply_markup" in each for each in seen] == [False, False, True]


@pytest.mark.promise("N14")
async def test_part_that_comes_too_soon_waits_for_its_turn(bot: Account, outside: Outside, chat: str) -> None:
    await outside.order("faults", match=f"sendMessage {chat}", reply="429 Too Many Requests: retry after 0", times=2)
    first = await bot.send(chat, text="x " * 3000)
    assert (first.error, first.code) == (ErrorClass.THROTTLE, "429")
    assert (await bot.send(chat, text="y")).error is ErrorClass.THROTTLE
    # Two parts fill what may come at once; the third of a message is asked to wait, and does.
    outcome = await bot.send(chat, text="x " * 7000)
    assert outcome.error is None
    assert len(await outside.effects(chat)) == 4


@pytest.mark.promise("N14")
@pytest.mark.parametrize(
    ("media", "method", "name"),
    [
        ({"kind": "image", "url": "https://a.test/a.jpg"}, "sendPhoto", "photo"),
        ({"kind": "video", "url": "https://a.test/a.mp4"}, "sendVideo", "video"),
        ({"kind": "document", "url": "https://a.test/a.pdf"}, "sendDocument", "document"),
        ({"kind": "audio", "url": "https://a.test/a.mp3"}, "sendAudio", "audio"),
        ({"kind": "audio", "url": "https://a.test/a.ogg?x=1"}, "sendVoice", "voice"),
        ({"kind": "sticker", "url": "https://a.test/a.webp"}, "sendSticker", "sticker"),
    ],
)
async def test_file_arrives_by_its_address(
    bot: Account, outside: Outside, chat: str, media: dict[str, str], method: str, name: str
) -> None:
    assert (await bot.send(chat, media=media)).error is None
    [seen] = await outside.effects(chat)
    assert (seen["method"], seen[name]["url"]) == (method, media["url"])


@pytest.mark.promise("N14", "N28")
async def test_words_go_below_a_picture_where_they_fit(bot: Account, outside: Outside, chat: str) -> None:
    picture = {"kind": "image", "url": "https://a.test/a.jpg"}
    await bot.send(chat, media=picture, html="<i>Look</i>")
    await bot.send(chat, media=picture, text="x" * 1025, buttons=[{"title": "Yes", "id": "y"}])
    short, photo, text = await outside.effects(chat)
    assert short["caption"] == "Look"
    assert ("caption" in photo, "reply_markup" in photo) == (False, False)
    assert (text["text"], "reply_markup" in text) == ("x" * 1025, True)


@pytest.mark.promise("N14")
async def test_buttons_lead_somewhere_or_answer(bot: Account, outside: Outside, chat: str) -> None:
    buttons = [{"title": "Open", "url": "https://a.test"}, {"title": "Yes", "id": "yes"}]
    choices = {"title": "Pick", "choices": [{"id": "a", "title": "A"}, {"id": "b", "title": "B"}]}
    await bot.send(chat, text="?", buttons=buttons, choices=choices)
    [seen] = await outside.effects(chat)
    rows = seen["reply_markup"]["inline_keyboard"]
    assert rows == [
        [{"text": "Open", "url": "https://a.test"}],
        [{"text": "Yes", "callback_data": "yes"}],
        [{"text": "A", "callback_data": "a"}],
        [{"text": "B", "callback_data": "b"}],
    ]


@pytest.mark.promise("N14")
async def test_answer_names_its_message_and_a_reaction_is_none(bot: Account, outside: Outside, chat: str) -> None:
    first = await bot.send(chat, text="One")
    await bot.send(chat, text="Two", reply_to=first.provider_id)
    await bot.send(chat, text="Three", reply_to=f"{chat}:999")
    reaction = {"message_id": first.provider_id, "emoji": "\U0001f44d"}
    assert (await bot.send(chat, reaction=reaction)).error is None
    assert (await bot.send(chat, reaction={**reaction, "emoji": ""})).error is None
    one, two, three, given, taken = await outside.effects(chat)
    assert (two["reply_to"], "reply_to" in three) == (one["message"], False)
    assert (given["emoji"], taken["emoji"]) == (["\U0001f44d"], [])


@pytest.mark.promise("N14", "N46")
@pytest.mark.parametrize(
    ("do", "code", "effect"),
    [("block", "blocked", Effect.SUPPRESS), ("deactivate", "deactivated", Effect.SUPPRESS)],
)
async def test_who_does_not_want_us_is_left_alone(
    bot: Account, outside: Outside, chat: str, do: str, code: str, effect: Effect
) -> None:
    await outside.order(f"chats/{chat}/standing", do=do)
    outcome = await bot.send(chat, text="Hi")
    assert (outcome.error, outcome.code, outcome.effect) == (ErrorClass.PERMANENT, code, effect)
    assert await outside.effects(chat) == []


@pytest.mark.promise("N46")
async def test_stranger_cannot_be_written_to(bot: Account) -> None:
    outcome = await bot.send(str(new_chat()), text="Hi")
    assert (outcome.error, outcome.code, outcome.effect) == (ErrorClass.PERMANENT, "chat_not_found", None)


@pytest.mark.promise("N14")
async def test_group_that_became_a_supergroup_gets_its_message_once(bot: Account, outside: Outside, group: str) -> None:
    await outside.order(f"chats/{group}/standing", do="migrate")
    moved = str(-1_000_000_000_000 + int(group))
    for text in ("One", "Two"):
        outcome = await bot.send(group, text=text)
        assert (outcome.error, str(outcome.provider_id).split(":")[0]) == (None, moved)
    assert [each["text"] for each in await outside.effects(moved)] == ["One", "Two"]


@pytest.mark.promise("N43", "N46")
async def test_full_group_waits_alone(bot: Account, sandbox: Sandbox, group: str, chat: str) -> None:
    with sandbox.telegram.chats.clock.standing():
        outcomes = [await bot.send(group, text=str(number)) for number in range(21)]
    assert [each.error for each in outcomes] == [None] * 20 + [ErrorClass.RECIPIENT]
    assert 0 < (outcomes[-1].pause_seconds or 0) <= 60
    assert (await bot.send(chat, text="Hi")).error is None


@pytest.mark.promise("N46")
async def test_person_who_gets_too_much_slows_down_the_bot(bot: Account, sandbox: Sandbox, chat: str) -> None:
    with sandbox.telegram.chats.clock.standing():
        *sent, last = [await bot.send(chat, text=str(number)) for number in range(4)]
    assert [each.error for each in sent] == [None] * 3
    assert (last.error, last.code) == (ErrorClass.THROTTLE, "429")
    assert 1 <= (last.pause_seconds or 0) <= 3


@pytest.mark.promise("N43")
def test_groups_are_slower_than_people() -> None:
    now = 1000.0
    limits = Limits(CAPABILITY.rates, lambda: now)
    for address in ("1", "-1", "@news"):
        limits.take(address)
    assert 1.0 <= limits.wait_for("1") < 1.1
    assert 3.0 <= limits.wait_for("-1") == limits.wait_for("@news") < 3.1
    assert limits.wait_for("2") == 0


@pytest.mark.promise("N46", "N49")
@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ({"reply": "500 Internal Server Error"}, ErrorClass.AMBIGUOUS, "500"),
        ({"reply": "502 Bad Gateway"}, ErrorClass.AMBIGUOUS, "502"),
        ({"drop": True, "after_data": True, "keep": True}, ErrorClass.AMBIGUOUS, "no_answer"),
        ({"reply": "401 Unauthorized"}, ErrorClass.AUTH, "401"),
        ({"reply": "404 Not Found"}, ErrorClass.AUTH, "404"),
        ({"reply": "400 Bad Request: something new"}, ErrorClass.PERMANENT, "400"),
        ({"reply": "403 Forbidden: something new"}, ErrorClass.PERMANENT, "403"),
        ({"reply": "413 Request Entity Too Large"}, ErrorClass.PERMANENT, "413"),
    ],
)
async def test_refusal_has_its_meaning(
    bot: Account, outside: Outside, chat: str, fault: dict[str, Any], error: ErrorClass, code: str
) -> None:
    await outside.order("faults", match=chat, **fault)
    outcome = await bot.send(chat, text="Hi")
    assert (outcome.error, outcome.code, outcome.effect) == (error, code, None)
    assert len(await outside.effects(chat)) == ("keep" in fault)


@pytest.mark.promise("N46", "N49")
async def test_message_that_stops_half_way_is_neither_sent_nor_unsent(
    bot: Account, outside: Outside, chat: str
) -> None:
    picture = {"kind": "image", "url": "https://a.test/a.jpg"}
    await outside.order("faults", match=f"sendMessage {chat}", reply="400 Bad Request: message is too long")
    outcome = await bot.send(chat, media=picture, text="x" * 2000)
    assert (outcome.error, outcome.code) == (ErrorClass.AMBIGUOUS, "partly_sent")


@pytest.mark.promise("N46")
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.words)
def test_every_row_of_the_table_is_read(refusal: Any) -> None:
    said = f"Bad Request: {refusal.words.upper()} for 491511234567"
    body = json.dumps({"ok": False, "error_code": refusal.status, "description": said})
    outcome = judge(Answer(refusal.status, {}, body.encode()))
    assert (outcome.error, outcome.code, outcome.effect) == (refusal.error, refusal.code, refusal.effect)
    assert CAPABILITY.errors[refusal.code] is refusal.error


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (200, b"<html>welcome</html>", ErrorClass.AMBIGUOUS, "bad_answer"),
        (200, b"[" * 100_000, ErrorClass.AMBIGUOUS, "bad_answer"),
        (200, b'{"ok": "yes"}', ErrorClass.AMBIGUOUS, "bad_answer"),
        (200, b"\xff\xfe", ErrorClass.AMBIGUOUS, "bad_answer"),
        (200, b'{"ok": true, "result": {"message_id": "7", "chat": 3}}', None, None),
        (200, b'{"ok": true, "result": {"message_id": 7, "chat": {"id": true}}}', None, None),
        (429, b'{"ok": false, "error_code": 429}', ErrorClass.THROTTLE, "429"),
        (429, b'{"ok": false, "parameters": {"retry_after": "soon"}}', ErrorClass.THROTTLE, "429"),
        (429, b'{"ok": false, "parameters": {"retry_after": NaN}}', ErrorClass.THROTTLE, "429"),
        (429, b'{"ok": false, "parameters": [1]}', ErrorClass.THROTTLE, "429"),
        (400, b'{"ok": false, "error_code": "x", "description": 7}', ErrorClass.PERMANENT, "400"),
        (302, b"", ErrorClass.AUTH, "302"),
        (503, b"<html>", ErrorClass.AMBIGUOUS, "503"),
    ],
)
def test_answer_that_is_none_of_telegrams_is_understood(
    status: int, body: bytes, error: ErrorClass | None, code: str | None
) -> None:
    outcome = judge(Answer(status, {}, body))
    assert (outcome.error, outcome.code, outcome.provider_id, outcome.pause_seconds) == (error, code, None, None)


def test_pause_is_bounded() -> None:
    body = b'{"ok": false, "error_code": 429, "parameters": {"retry_after": 1e12}}'
    assert judge(Answer(429, {}, body)).pause_seconds == 3600


@pytest.mark.promise("N46")
@pytest.mark.parametrize("token", ["1000001:wrong", "7:x"])
async def test_wrong_token_blames_the_account(sandbox_url: str, chat: str, token: str) -> None:
    given = setup(PROVIDER, {"base_url": f"{sandbox_url}/telegram"}, {"token": token})
    async with opened(PROVIDER, given) as account:
        outcome = await account.send(chat, text="Hi")
        assert (outcome.error, outcome.code) == (ErrorClass.AUTH, "401")
        shown = repr(
            (given, given.secrets, account.channel, account.line, account.channel.render(message(chat, text="x")))
        )
        assert token not in shown


@pytest.mark.parametrize("token", ["", "x", "1:", "1:a/../b", "1:a b", "1:secretive\n"])
def test_token_that_is_none_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PROVIDER.secrets.model_validate({"token": token})
    assert "secretive" not in str(refused.value)


@pytest.mark.parametrize("address", ["", "0", "abc", "@ab", "1.5", "+49151123", "-", "12345678901234567", "1/../2"])
def test_address_that_is_no_chat_is_refused(bot: Account, address: str) -> None:
    with pytest.raises(ValueError, match="chat"):
        check_address(address)
    with pytest.raises(CannotRender):
        bot.channel.render(message(address, text="Hi"))


def test_address_has_one_form() -> None:
    assert [check_address(each) for each in (" 12 ", "-1001234567890", "@NewsToday")] == [
        "12",
        "-1001234567890",
        "@newstoday",
    ]


@pytest.mark.promise("N8")
@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"text": "x", "buttons": [{"title": "a", "id": "x" * 65}]}, "content.buttons.0.id"),
        ({"text": "x", "buttons": [{"title": "a" * 65, "id": "x"}]}, "content.buttons.0.title"),
        ({"text": "x", "choices": {"title": "a", "choices": [LONG]}}, "content.choices.choices.0.id"),
        ({"text": "x", "reply_to": "abc"}, "content.reply_to"),
        ({"reaction": {"message_id": "abc", "emoji": ""}}, "content.reaction.message_id"),
        ({"text": "x", "template": {"name": "hello"}}, "content.template"),
        ({"media": {"kind": "image", "url": "https://a.test", "caption": "\U0001f600" * 513}}, "content.media.caption"),
        ({"media": {"kind": "sticker", "url": "https://a.test", "caption": "x"}}, "content.media.caption"),
    ],
)  # fmt: skip
def test_what_telegram_cannot_do_is_named_with_its_field(content: dict[str, Any], field: str) -> None:
    given = Content.model_validate(content)
    assert [each.field for each in (*problems(given, CAPABILITY), *check_content(given))] == [field]


@pytest.mark.parametrize("content", [{"html": "<p> </p>"}, {"text": " \n"}, {"text": "x", "reply_to": "abc"}])
def test_nothing_is_rendered_of_nothing(bot: Account, content: dict[str, Any]) -> None:
    with pytest.raises(CannotRender):
        bot.channel.render(message("12", **content))
