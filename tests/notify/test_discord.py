"""Messages on their way to a channel of Discord."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from deploy.sandbox.server import Options, Sandbox
from deploy.sandbox.smtp import SmtpOptions
from libs.testing.clock import StillClock
from notify_service.domain.adaptation import problems
from notify_service.domain.channels import CannotRender, ErrorClass
from notify_service.domain.channels.discord import CAPABILITY, ERRORS, PROVIDER, check_address, escaped, judge
from notify_service.domain.channels.http import Answer
from notify_service.domain.content import Content
from tests.notify.chats import Account, Outside, message, opened, setup
from tests.notify.world import SMTP_PASSWORD, SMTP_USER

WEBHOOK = "1/parley"
HTML = (
    "<p>Dear <b>Ada </b>and <i><b>Bob</b></i>, <u>1</u><s>2</s></p><blockquote>said<br>twice</blockquote>"
    "<pre>a *b*\n  c</pre><p><a href='https://a.test/(x)'>Go [there]</a> <code>x_y</code></p>"
)


@pytest.fixture
async def http(sandbox_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=sandbox_url, trust_env=False) as found:
        yield found


@pytest.fixture
async def outside(http: httpx2.AsyncClient) -> Outside:
    await http.delete("/effects")
    await http.put("/discord/standing", json={})
    found = Outside(http, "discord")
    await found.order("clock", seconds=1000)
    return found


@pytest.fixture
async def account(sandbox_url: str) -> AsyncIterator[Account]:
    given = setup(PROVIDER, {"base_url": f"{sandbox_url}/discord"}, {"webhook": WEBHOOK})
    async with opened(PROVIDER, given) as found:
        yield found


@pytest.mark.promise("N22")
async def test_text_is_read_as_it_was_written_and_mentions_nobody(account: Account, outside: Outside) -> None:
    outcome = await account.send("default", text="*Hi* @everyone <@1> `x`\n# 1 https://a.test/a_b_c\n-2 [x](y)")
    [seen] = await outside.effects()
    assert seen["content"] == ("\\*Hi\\* @everyone \\<@1> \\`x\\`\n\\# 1 https://a.test/a_b_c\n\\-2 \\[x\\](y)")
    assert seen["mention_everyone"] is False
    assert outcome.error is None
    assert str(outcome.provider_id).isdecimal()


@pytest.mark.promise("N22", "N28")
async def test_markup_is_discords(account: Account, outside: Outside) -> None:
    await account.send("default", html=HTML, buttons=[{"title": "More", "url": "https://a.test/m"}])
    [seen] = await outside.effects()
    assert seen["content"] == (
        "Dear **Ada** and ***Bob***, __1__~~2~~\n\n> said\n> twice\n\n```\na *b*\n  c\n```\n\n"
        "[Go \\[there\\]](<https://a.test/(x)>) `x_y`\n\n[More](<https://a.test/m>)"
    )


@pytest.mark.promise("N22")
async def test_subject_and_picture_are_an_embed(account: Account, outside: Outside) -> None:
    picture = {"kind": "image", "url": "https://a.test/a.png", "caption": "A *cat*"}
    text = " ".join(["x"] * 1500)
    await account.send("default", subject="News *1*", text=text, url="https://a.test/news", media=picture)
    await account.send("default", media=picture)
    await account.send("default", media=picture, text="Look")
    first, rest, alone, both = await outside.effects()
    [embed] = first["embeds"]
    assert (embed["title"], embed["url"], embed["image"]) == (
        "News \\*1\\*", "https://a.test/news", {"url": "https://a.test/a.png"},
    )  # fmt: skip
    assert (first["content"], rest["embeds"]) == ("", [])
    assert f"{embed['description']} {rest['content']}" == text
    assert (alone["content"], alone["embeds"][0]["description"]) == ("", "A \\*cat\\*")
    assert (both["content"], both["embeds"][0]["image"]) == ("Look", {"url": "https://a.test/a.png"})


@pytest.mark.promise("N22", "N28")
@pytest.mark.parametrize("markup", [False, True])
async def test_long_text_arrives_in_pieces_however_much_must_be_escaped(
    account: Account, outside: Outside, markup: bool
) -> None:
    text = "**_ " * 1500
    assert (await account.send("default", **({"html": f"<b>{text}</b>"} if markup else {"text": text}))).error is None
    seen = [each["content"] for each in await outside.effects()]
    assert max(map(len, seen)) <= 2000
    assert len(seen) > 5
    words = "".join(seen).replace("\\", "").replace("** **", " ")
    assert words.count("_") == 1500


@pytest.mark.promise("N22", "N44")
async def test_what_is_left_of_the_limit_is_told_on() -> None:
    options = Options(smtp=SmtpOptions(SMTP_USER, SMTP_PASSWORD), http_port=0, smtp_port=0)
    # However long the six take, they are within two seconds.
    async with Sandbox(options, StillClock()) as provider:
        url = f"http://127.0.0.1:{provider.http_port}/discord"
        async with opened(PROVIDER, setup(PROVIDER, {"base_url": url}, {"webhook": WEBHOOK})) as account:
            outcomes = [await account.send("default", text=str(number)) for number in range(6)]
    assert [each.left for each in outcomes] == [4, 3, 2, 1, 0, None]
    assert all(0 < (each.reset_seconds or 0) <= 2 for each in outcomes[:5])
    last = outcomes[-1]
    assert (last.error, last.code) == (ErrorClass.THROTTLE, "429")
    assert 0 < (last.pause_seconds or 0) <= 2


@pytest.mark.promise("N22", "N44")
async def test_parts_of_one_message_wait_for_the_limit(
    account: Account, outside: Outside, http: httpx2.AsyncClient
) -> None:
    # One that came too soon would be the last.
    await http.put("/discord/standing", json={"invalid_most": 1})
    text = " ".join(["word"] * 2700)
    outcome = await account.send("default", text=text)
    assert outcome.error is None
    seen = await outside.effects()
    assert " ".join(each["content"] for each in seen) == text
    # What counts for the next message is what the last part was told.
    assert (len(seen), outcome.left) == (7, 3)


@pytest.mark.promise("N22", "N46")
async def test_deleted_webhook_stops_the_account(account: Account, outside: Outside, http: httpx2.AsyncClient) -> None:
    await http.put("/discord/standing", json={"deleted": True})
    outcome = await account.send("default", text="Hi")
    assert (outcome.error, outcome.code) == (ErrorClass.AUTH, "10015")


@pytest.mark.promise("N44")
async def test_ban_of_the_address_is_waited_for(account: Account, outside: Outside, http: httpx2.AsyncClient) -> None:
    await http.put("/discord/standing", json={"invalid_most": 1})
    await http.post("/discord/webhooks/1/wrong", json={"content": "x"})
    outcome = await account.send("default", text="Hi")
    assert (outcome.error, outcome.pause_seconds) == (ErrorClass.THROTTLE, 600)


@pytest.mark.promise("N46", "N49")
@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ({"reply": "401 Unauthorized"}, ErrorClass.AUTH, "401"),
        ({"reply": "403 Missing Access"}, ErrorClass.AUTH, "403"),
        ({"reply": "404 Not Found"}, ErrorClass.AUTH, "404"),
        ({"reply": "400 Bad Request"}, ErrorClass.PERMANENT, "400"),
        ({"reply": "500 Internal Server Error"}, ErrorClass.AMBIGUOUS, "500"),
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
@pytest.mark.parametrize("code", sorted(ERRORS, key=int))
def test_every_row_of_the_table_is_read(code: str) -> None:
    status = int(code) if len(code) == 3 else 400
    outcome = judge(Answer(status, {}, json.dumps({"code": int(code), "message": "for 491511234567"}).encode()))
    assert (outcome.error, outcome.code) == (ERRORS[code], code)


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "pause"),
    [
        (200, {}, b"<html>", ErrorClass.AMBIGUOUS, None),
        (200, {}, b"[" * 100_000, ErrorClass.AMBIGUOUS, None),
        (200, {}, b'{"id": 7}', ErrorClass.AMBIGUOUS, None),
        (200, {"x-ratelimit-remaining": "x"}, b'{"id": "7"}', None, None),
        (200, {"x-ratelimit-remaining": "1", "x-ratelimit-reset-after": "soon"}, b'{"id": "7"}', None, None),
        (429, {"retry-after": "7"}, b"", ErrorClass.THROTTLE, 7),
        (429, {}, b"", ErrorClass.THROTTLE, 600),
        (429, {}, b'{"retry_after": 1e12}', ErrorClass.THROTTLE, 3600),
        (429, {}, b'{"retry_after": NaN}', ErrorClass.THROTTLE, 600),
        (429, {}, b'{"retry_after": 0.25, "global": true}', ErrorClass.THROTTLE, 0.25),
        (400, {}, b'{"code": "50035"}', ErrorClass.PERMANENT, None),
        (302, {}, b"", ErrorClass.AUTH, None),
    ],
)
def test_answer_that_is_none_of_discords_is_understood(
    status: int, headers: dict[str, str], body: bytes, error: ErrorClass | None, pause: float | None
) -> None:
    outcome = judge(Answer(status, headers, body))
    assert (outcome.error, outcome.pause_seconds, outcome.left) == (error, pause, None)


@pytest.mark.promise("N22")
async def test_wrong_token_blames_the_account_and_is_not_shown(sandbox_url: str) -> None:
    whole = "https://discord.com/api/webhooks/1/secretive"
    given = setup(PROVIDER, {"base_url": f"{sandbox_url}/discord", "thread_id": "7"}, {"webhook": whole})
    async with opened(PROVIDER, given) as account:
        outcome = await account.send("default", text="Hi")
        assert (outcome.error, outcome.code) == (ErrorClass.AUTH, "50027")
        calls = account.channel.render(message("default", text="x"))
        assert calls[0].url == "?wait=true&thread_id=7"
        assert "secretive" not in repr((given, given.secrets, account.channel, account.line, calls))


@pytest.mark.parametrize("webhook", ["", "1", "x/y", "1/secretive/..", "1/a?b", "http://discord.com/api/webhooks/1/x"])
def test_webhook_that_is_none_is_refused_and_not_shown(webhook: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PROVIDER.secrets.model_validate({"webhook": webhook})
    assert "secretive" not in str(refused.value)


def test_webhook_has_one_channel(account: Account) -> None:
    assert check_address("default") == "default"
    for address in ("", "#general", "123"):
        with pytest.raises(ValueError, match="one channel"):
            check_address(address)
        with pytest.raises(CannotRender):
            account.channel.render(message(address, text="x"))


@pytest.mark.promise("N8")
@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"text": "x", "buttons": [{"title": "a", "id": "x"}]}, "content.buttons"),
        ({"media": {"kind": "video", "url": "https://a.test"}}, "content.media.kind"),
        ({"reaction": {"message_id": "1", "emoji": "x"}}, "content.reaction"),
    ],
)
def test_what_discord_cannot_do_is_named_with_its_field(content: dict[str, Any], field: str) -> None:
    assert [each.field for each in problems(Content.model_validate(content), CAPABILITY)] == [field]


def test_nothing_is_rendered_of_nothing(account: Account) -> None:
    with pytest.raises(CannotRender):
        account.channel.render(message("default", html="<p> </p>"))


def test_what_is_no_mark_stays_whole() -> None:
    assert escaped("1 - 2 > 0; a@b.test #1 (x)") == "1 - 2 > 0; a@b.test #1 (x)"
