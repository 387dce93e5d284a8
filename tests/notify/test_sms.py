"""Codes on their way to phones."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from pydantic import ValidationError

from deploy.local import ports
from deploy.sandbox.server import Sandbox
from notify_service.domain.channels import CannotRender, Channel, ErrorClass, Message
from notify_service.domain.channels.http import Answer, Call, unanswered
from notify_service.domain.channels.sms import PROVIDER, Account, Nowhere, Sms, judge, problems
from notify_service.domain.content import Content
from notify_service.settings import Settings
from tests.notify.desks import phone as new_phone
from tests.notify.offering import message as offered
from tests.notify.offering import opened, send
from tests.notify.world import SMS_TOKEN, World

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def phone() -> str:
    return new_phone()


async def attempts(world: World, row: Any) -> list[Any]:
    query = "SELECT error_class, error_code, decision FROM delivery_attempt WHERE delivery_id = $1 ORDER BY fence"
    return [tuple(found) for found in await world.sql(query, row["id"])]


@pytest.mark.promise("N23")
async def test_code_reaches_the_phone_and_is_erased(world: World, phone: str) -> None:
    # Nothing that is in numbers alone may look like it.
    row = await world.ended_text(await world.ask_to_text(phone, secret="s3cr3t"))
    assert world.texts(phone) == ["Your code is s3cr3t. Tell it to nobody."]
    assert (row["state"], row["channel"], row["secret"], row["lane"]) == ("sent", "sms", None, 0)
    assert row["provider_id"] == f"sms-{row['id']}"
    assert "s3cr3t" not in str(dict(row))


async def test_message_speaks_the_language_and_says_what_it_is_for(world: World, phone: str) -> None:
    await world.ended_text(await world.ask_to_text(phone, kind="phone_change"))
    await world.ended_text(await world.ask_to_text(phone, language="de"))
    german, english = world.texts(phone)
    assert english.startswith("Your code to confirm this phone number is 123456")
    assert "123456" in german
    assert "Your" not in german


@pytest.mark.promise("N46", "N23")
@pytest.mark.parametrize("reply", ["500 broken", "503 busy", "429 slow down"])
async def test_temporary_refusal_is_tried_again(world: World, phone: str, reply: str) -> None:
    world.break_texts(phone, reply=reply, times=2)
    row = await world.ended_text(await world.ask_to_text(phone))
    assert (row["state"], row["attempts"], len(world.texts(phone))) == ("sent", 3, 1)
    refused = ("transient", reply[:3], "retry")
    assert await attempts(world, row) == [refused, refused, (None, None, "sent")]


@pytest.mark.promise("N46", "N23")
async def test_final_refusal_is_not_tried_again(world: World, phone: str) -> None:
    world.break_texts(phone, reply="400 no such number", times=5)
    row = await world.ended_text(await world.ask_to_text(phone))
    assert (row["state"], row["reason"], row["attempts"], row["secret"]) == ("failed", "refused", 1, None)
    world.sandbox.texts.faults.clear()


@pytest.mark.promise("N23")
async def test_code_without_an_answer_is_sent_again_and_arrives_once(world: World, phone: str) -> None:
    world.break_texts(phone, drop=True, after_data=True, keep=True)
    row = await world.ended_text(await world.ask_to_text(phone))
    assert (row["state"], len(world.texts(phone))) == ("sent", 1)
    assert (await attempts(world, row))[0] == ("ambiguous", "no_answer", "retry")


@pytest.mark.promise("N23")
async def test_code_that_is_too_late_is_not_sent(world: World, phone: str) -> None:
    row = await world.ended_text(await world.ask_to_text(phone, at=datetime.now(UTC) - timedelta(minutes=6)))
    assert (row["state"], row["secret"], world.texts(phone)) == ("expired", None, [])


async def test_texts_that_fail_hold_up_no_mail(world: World, phone: str) -> None:
    world.break_texts(phone, reply="503 busy", times=20)
    ada = await world.register()
    text = await world.ask_to_text(phone)
    await world.ask_to_verify(ada)
    (mail,) = await world.ended(ada)
    assert mail["state"] == "sent"
    assert (await world.ended_text(text))["state"] == "dead"
    world.sandbox.texts.faults.clear()


@pytest.mark.promise("N23")
async def test_without_a_provider_a_text_fails_and_says_why(own_world: World, phone: str) -> None:
    async with own_world.working(sms_url=None):
        row = await own_world.ended_text(await own_world.ask_to_text(phone))
    assert (row["state"], row["reason"], row["secret"], row["attempts"]) == ("failed", "no_channel", None, 1)


@pytest.mark.promise("N46")
@pytest.mark.parametrize(
    ("status", "headers", "meaning", "pause"),
    [
        (429, {"Retry-After": "7"}, ErrorClass.THROTTLE, 7.0),
        (429, {"Retry-After": "999999"}, ErrorClass.THROTTLE, 3600),
        (429, {"Retry-After": "soon"}, ErrorClass.TRANSIENT, None), (500, {}, ErrorClass.TRANSIENT, None),
        (408, {}, ErrorClass.TRANSIENT, None), (400, {}, ErrorClass.PERMANENT, None),
        (422, {}, ErrorClass.PERMANENT, None), (401, {}, ErrorClass.AUTH, None), (403, {}, ErrorClass.AUTH, None),
        (302, {"Location": "http://127.0.0.1/"}, ErrorClass.AUTH, None),
    ],
)  # fmt: skip
def test_status_has_its_meaning(status: int, headers: dict[str, str], meaning: ErrorClass, pause: Any) -> None:
    outcome = judge(Answer(status, httpx2.Headers(headers), b"the prose of +491511234567"))
    assert (outcome.error, outcome.code, outcome.pause_seconds) == (meaning, str(status), pause)


@pytest.mark.promise("N46")
@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (httpx2.ConnectError("no"), ErrorClass.UNREACHABLE), (httpx2.ConnectTimeout("no"), ErrorClass.UNREACHABLE),
        (httpx2.WriteError("half"), ErrorClass.TRANSIENT), (httpx2.ReadTimeout("late"), ErrorClass.AMBIGUOUS),
        (httpx2.ReadError("gone"), ErrorClass.AMBIGUOUS), (httpx2.RemoteProtocolError("?"), ErrorClass.AMBIGUOUS),
    ],
)  # fmt: skip
def test_silence_is_ambiguous_once_the_message_was_written(error: httpx2.HTTPError, meaning: ErrorClass) -> None:
    assert unanswered(error).error is meaning


@pytest.mark.parametrize("body", ["", "[]", '{"id": 7}', '{"id": "a\\u0000b"}', "\ufffd"])
def test_answer_without_an_id_is_an_answer(body: str) -> None:
    outcome = judge(Answer(200, {}, body.encode()))
    assert (outcome.error, outcome.provider_id) == (None, None)


async def test_provider_that_is_not_there_blames_the_account(world: World) -> None:
    line = Sms(Account(f"http://127.0.0.1:{ports.free_port()}/", SMS_TOKEN, "Parley")).line()
    assert (
        await line.send("", [Call(f"http://127.0.0.1:{ports.free_port()}/", b"{}")])
    ).error is ErrorClass.UNREACHABLE
    await line.close()


async def test_wrong_token_blames_the_account(world: World) -> None:
    account = Account(f"http://127.0.0.1:{world.sandbox.http_port}/sms/messages", "wrong", "Parley")
    line = Sms(account).line()
    assert (await line.send("", [Call(account.url, b"{}")])).error is ErrorClass.AUTH
    await line.close()
    assert "wrong" not in repr(account)


@pytest.mark.parametrize("address", ["", "0151 234", "+1", "12025550101", "+1202555010x", "+12025550101\n"])
def test_address_that_cannot_be_one_is_never_tried(address: str) -> None:
    message = Message(uuid4(), address, "phone_code", {"name": ""}, "123456", NOW)
    with pytest.raises(CannotRender):
        Sms(Account("http://sms.test", None, "Parley")).render(message)


def test_nothing_is_rendered_for_nobody() -> None:
    assert Nowhere().render(Message(uuid4(), "", "phone_code", {}, None, NOW)) == b""


@pytest.mark.parametrize("url", ["sms.example.com", "ftp://sms.example.com", "https://"])
def test_provider_that_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="sms_url"):
        Settings(sms_url=url, environment="development")


def gateway(url: str, **changed: Any) -> Channel:
    config = {"url": f"{url}/sms/messages", "sender": "Parley", **changed}
    return opened(PROVIDER, config, {"token": SMS_TOKEN})


@pytest.mark.promise("N23")
async def test_content_is_texted_once_however_often_it_is_offered(
    sandbox: Sandbox, sandbox_url: str, phone: str
) -> None:
    delivery = uuid4()
    channel = gateway(sandbox_url)
    for _ in range(2):
        outcome = await send(channel, phone, delivery=delivery, html="<p>Grüße</p>", subject="Hello")
        assert (outcome.error, outcome.provider_id) == (None, f"sms-{delivery}")
    assert [text.text for text in sandbox.texts.newest_first(phone)] == ["Hello\n\nGrüße"]
    assert (channel.capability.idempotency, channel.capability.interchangeable) == ("native", True)


@pytest.mark.promise("N23")
def test_text_of_more_than_so_many_segments_is_refused(sandbox_url: str, phone: str) -> None:
    with pytest.raises(CannotRender, match="too_long"):
        gateway(sandbox_url, most_segments=2).render(offered(phone, Content(text="a" * 307)))
    gateway(sandbox_url, most_segments=2).render(offered(phone, Content(text="a" * 306)))
    with pytest.raises(CannotRender, match="no_text"):
        gateway(sandbox_url).render(offered(phone, Content(reaction={"message_id": "m", "emoji": ""})))
    assert [each.field for each in problems(Content(media={"kind": "image", "url": "https://a.test/a.png"}))] == [
        "content.text"
    ]


def test_token_is_not_shown_where_it_is_wrong() -> None:
    for wrong in ({"token": ["s3cret"]}, {"tokken": "s3cret"}):
        with pytest.raises(ValidationError) as refused:
            PROVIDER.secrets.model_validate(wrong)
        assert "s3cret" not in str(refused.value)
