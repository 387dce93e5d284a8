"""Messages on their way to WhatsApp."""

from typing import Any
from uuid import uuid4

import pytest

from deploy.local.ports import free_port
from deploy.sandbox.faults import Fault
from deploy.sandbox.server import Sandbox
from deploy.sandbox.whatsapp_state import Template
from notify_service.domain.channels import CannotRender, ErrorClass, Message, Outcome, Setup, Window
from notify_service.domain.channels.registry import PROVIDERS
from notify_service.domain.channels.whatsapp import PROVIDER, Config, Pairs, Secrets
from notify_service.domain.content import Content
from tests.notify.desks import NOW, WhatsAppDesk, message, phone

LINK = "https://files.example/a.png"
NOBODY = PROVIDER.open(Setup("nobody", Config(phone_number_id="1"), Secrets.model_validate({"token": "t"})))


@pytest.fixture
def desk(sandbox: Sandbox) -> WhatsAppDesk:
    return WhatsAppDesk(sandbox)


@pytest.fixture
def ada(desk: WhatsAppDesk) -> str:
    """Somebody who may be written to freely."""
    number = phone()
    desk.writes(number)
    return number


@pytest.mark.promise("N11")
async def test_text_arrives_with_the_id_of_its_delivery(desk: WhatsAppDesk, ada: str) -> None:
    delivery = uuid4()
    outcome = await desk.send(ada, delivery=delivery, text="Hello. *Now*", subject="News")
    [chat] = desk.chats(ada)
    assert (outcome.error, outcome.provider_id) == (None, chat.id)
    assert (chat.text, chat.opaque, chat.statuses) == ("News\n\nHello. *Now*", str(delivery), ["sent", "delivered"])


@pytest.mark.promise("N11")
@pytest.mark.parametrize(
    ("text", "previews", "shown"),
    [("See https://a.test/x", True, True), ("See", True, False), ("http://a", False, False)],
)
async def test_link_is_previewed_where_there_is_one(
    desk: WhatsAppDesk, ada: str, text: str, previews: bool, shown: bool
) -> None:
    await desk.send(ada, setup=desk.setup(link_previews=previews), text=text)
    assert desk.chats(ada)[0].content["preview_url"] is shown


@pytest.mark.promise("N11")
async def test_template_reaches_whom_nobody_has_written_to_before(desk: WhatsAppDesk) -> None:
    eve = phone()
    assert (await desk.send(eve, template={"name": "hello_world"})).error is None
    filled = {"name": "order_update", "body": ["Eve\n Adams", "A 7"], "buttons": ["a7"]}
    assert (await desk.send(eve, template=filled, text="for channels without templates")).error is None
    welcome, update = desk.texts(eve)
    assert welcome.startswith("Welcome and congratulations!")
    assert update == "Hello Eve Adams, your order A 7 is on its way."


@pytest.mark.promise("N11")
async def test_template_has_a_file_or_words_above_it(desk: WhatsAppDesk) -> None:
    picture = {"type": "HEADER", "format": "IMAGE"}
    title = {"type": "HEADER", "format": "TEXT", "text": "For {{1}}"}
    for name, header in (("picture", picture), ("title", title)):
        desk.business.templates[name, "en_US"] = Template(name, "en_US", [header, {"type": "BODY", "text": "Look."}])
    eve = phone()
    shown = {"name": "picture", "header": {"kind": "image", "url": LINK}}
    assert (await desk.send(eve, template=shown)).error is None
    assert (await desk.send(eve, template={"name": "title", "header": "Eve"})).error is None
    assert (await desk.send(eve, template={"name": "title"})).code == "132000"


@pytest.mark.promise("N11")
@pytest.mark.parametrize("kind", ["image", "video", "document", "audio", "sticker"])
async def test_file_is_sent_by_its_address(desk: WhatsAppDesk, ada: str, kind: str) -> None:
    captioned = kind in ("image", "video", "document")
    caption = {"caption": "Look."} if captioned else {}
    await desk.send(ada, media={"kind": kind, "url": LINK, "filename": "a.png", **caption})
    [chat] = desk.chats(ada)
    named = {"filename": "a.png"} if kind == "document" else {}
    assert (chat.type, chat.content) == (kind, {"link": LINK, **caption, **named})


async def test_address_that_ends_in_digits_is_an_address(desk: WhatsAppDesk, ada: str) -> None:
    await desk.send(ada, media={"kind": "image", "url": "https://files.example/123"})
    assert desk.chats(ada)[0].content == {"link": "https://files.example/123"}


@pytest.mark.promise("N11", "N28")
async def test_words_beside_a_file_are_its_caption_if_they_fit(desk: WhatsAppDesk, ada: str) -> None:
    await desk.send(ada, text="Short.", media={"kind": "image", "url": LINK})
    await desk.send(ada, text="x" * 1025, media={"kind": "image", "url": LINK})
    await desk.send(ada, text="More.", media={"kind": "image", "url": LINK, "caption": "Less."})
    await desk.send(ada, text="Listen.", media={"kind": "audio", "url": LINK})
    shown = [(chat.type, chat.text) for chat in desk.chats(ada)]
    assert shown == [
        ("image", "Short."), ("image", ""), ("text", "x" * 1025), ("image", "Less."), ("text", "More."),
        ("audio", ""), ("text", "Listen."),
    ]  # fmt: skip


@pytest.mark.promise("N11")
async def test_buttons_answer_and_one_opens_an_address(desk: WhatsAppDesk, ada: str) -> None:
    buttons = [{"title": f"Choice {each}", "id": each} for each in "abc"]
    await desk.send(ada, text="Which?", buttons=buttons, media={"kind": "image", "url": LINK})
    await desk.send(ada, text="This.", buttons=[{"title": "Open", "url": "https://a.test"}])
    answers, opens = desk.chats(ada)
    assert answers.buttons == (("a", "Choice a"), ("b", "Choice b"), ("c", "Choice c"))
    assert answers.content["header"] == {"type": "image", "image": {"link": LINK}}
    assert opens.content["action"]["parameters"] == {"display_text": "Open", "url": "https://a.test"}


@pytest.mark.promise("N11", "N28")
async def test_addresses_beside_other_buttons_become_lines(desk: WhatsAppDesk, ada: str) -> None:
    await desk.send(
        ada, text="Which?", buttons=[{"title": "Yes", "id": "y"}, {"title": "More", "url": "https://a.test"}]
    )
    [chat] = desk.chats(ada)
    assert (chat.text, chat.buttons) == ("Which?\n\nMore: https://a.test", (("y", "Yes"),))


@pytest.mark.promise("N11")
async def test_list_is_chosen_from(desk: WhatsAppDesk, ada: str) -> None:
    rows = [{"id": str(each), "title": f"Row {each}", "description": "d"} for each in range(10)]
    choices = {"title": "Pick", "choices": rows}
    await desk.send(ada, text="Ten.", choices=choices, media={"kind": "image", "url": LINK, "caption": "Above."})
    picture, chosen = desk.chats(ada)
    assert (picture.text, chosen.text, len(chosen.buttons)) == ("Above.", "Ten.", 10)


@pytest.mark.promise("N11", "N28")
async def test_long_text_arrives_in_pieces_and_the_last_has_the_buttons(desk: WhatsAppDesk, ada: str) -> None:
    long = " ".join(["word"] * 1000)
    outcome = await desk.send(ada, text=long)
    assert [len(text) <= 4096 for text in desk.texts(ada)] == [True, True]
    assert outcome.provider_id == desk.chats(ada)[0].id
    await desk.send(ada, text="x" * 1500, buttons=[{"title": "Yes", "id": "y"}])
    assert [(len(chat.text), len(chat.buttons)) for chat in desk.chats(ada)[2:]] == [(1024, 0), (476, 1)]


@pytest.mark.promise("N28")
async def test_formatted_text_has_the_marks_that_whatsapp_shows(desk: WhatsAppDesk, ada: str) -> None:
    html = "<p>Dear <b>Ada</b>, <i>see</i> <a href='https://a.test/x'>this</a>:</p><ul><li><s>one</s></li></ul>"
    await desk.send(ada, html=html, subject="News", buttons=[{"title": "Yes", "id": "y"}])
    await desk.send(ada, html="<code>" + "x" * 5000 + "</code>")
    formatted, *pieces = desk.texts(ada)
    assert formatted == "*News*\n\nDear *Ada*, _see_ this (https://a.test/x):\n\n\u2022 ~one~"
    assert all(len(each) <= 4096 and each[0] == each[-1] == "`" for each in pieces)
    assert "".join(each[1:-1] for each in pieces) == "x" * 5000


@pytest.mark.promise("N11")
async def test_message_is_answered_and_reacted_to(desk: WhatsAppDesk, ada: str) -> None:
    theirs = desk.writes(ada)
    await desk.send(ada, text="Yes?", reply_to=theirs.id)
    await desk.send(ada, reaction={"message_id": theirs.id, "emoji": "\U0001f44d"})
    answer, reaction = desk.chats(ada)
    assert (answer.reply_to, reaction.type, reaction.text) == (theirs.id, "reaction", "\U0001f44d")
    assert reaction.content["message_id"] == theirs.id


@pytest.mark.promise("N13")
async def test_somebody_without_a_phone_is_reached_by_the_id_they_have_here(desk: WhatsAppDesk, ada: str) -> None:
    person = desk.whatsapp.person(ada)
    assert (await desk.send(PROVIDER.check_address(person.user_id), text="Hello.")).error is None
    assert desk.texts(ada) == ["Hello."]
    assert (await desk.send("US.ENT.123", text="Hello.")).error is ErrorClass.PERMANENT


async def test_free_text_arrives_only_within_a_day_and_a_template_always(desk: WhatsAppDesk, ada: str) -> None:
    await desk.send(ada, text="In time.")
    desk.whatsapp.clock.advance(24 * 3600)
    await desk.send(ada, text="Too late.")
    await desk.send(ada, template={"name": "hello_world"})
    assert [chat.statuses[-1] for chat in desk.chats(ada)] == ["delivered", "failed", "delivered"]
    assert PROVIDER.capability.window == Window(24, instead="template")


@pytest.mark.promise("N46", "N49")
async def test_message_without_an_answer_may_have_arrived_and_is_known_by_its_id(desk: WhatsAppDesk, ada: str) -> None:
    desk.whatsapp.faults.add(Fault(match=ada, drop=True, after_data=True, keep=True))
    delivery = uuid4()
    outcome = await desk.send(ada, delivery=delivery, text="Hello.")
    assert (outcome.error, outcome.code) == (ErrorClass.AMBIGUOUS, "no_answer")
    assert [chat.opaque for chat in desk.chats(ada)] == [str(delivery)]
    assert PROVIDER.capability.idempotency == "correlate"


@pytest.mark.promise("N46")
async def test_half_of_a_split_text_is_not_sent_twice(desk: WhatsAppDesk, ada: str) -> None:
    # The first of them waits for a moment, the second is refused.
    desk.whatsapp.faults.add(Fault(match=ada, delay_ms=1))
    desk.whatsapp.faults.add(Fault(match=ada, reply="429 130429"))
    outcome = await desk.send(ada, text="x" * 5000)
    assert (outcome.error, outcome.code) == (ErrorClass.AMBIGUOUS, "partly_sent")
    assert outcome.provider_id == desk.chats(ada)[0].id


@pytest.mark.promise("N46")
async def test_number_that_sends_too_fast_waits(desk: WhatsAppDesk, ada: str) -> None:
    desk.number.per_second = 0
    outcome = await desk.send(ada, text="Hello.")
    assert (outcome.error, outcome.code) == (ErrorClass.THROTTLE, "130429")


@pytest.mark.promise("N46")
async def test_somebody_who_got_too_much_is_left_alone_for_longer_each_time(desk: WhatsAppDesk, ada: str) -> None:
    desk.whatsapp.faults.add(Fault(match=ada, reply="400 131056", times=4))
    channel = PROVIDER.open(desk.setup())
    calls = channel.render(message(ada, text="Hello."))
    line, other = channel.line(), channel.line()
    outcomes = [await each.send(ada, calls) for each in (line, other, line, other, line)]
    assert [outcome.pause_seconds for outcome in outcomes] == [6.0, 16.0, 64.0, 256.0, None]
    assert [outcome.error for outcome in outcomes] == [ErrorClass.RECIPIENT] * 4 + [None]
    desk.whatsapp.faults.add(Fault(match=ada, reply="400 131056"))
    assert (await line.send(ada, calls)).pause_seconds == 6.0
    await line.close()
    await other.close()


def test_nobody_waits_longer_than_an_hour() -> None:
    pairs, refused = Pairs(), Outcome(ErrorClass.RECIPIENT, "131056")
    assert [pairs.learn("a", refused).pause_seconds for _ in range(12)][-1] == 3600.0


@pytest.mark.promise("N46")
async def test_account_that_is_refused_or_not_there_is_to_blame(desk: WhatsAppDesk, ada: str) -> None:
    refused = await desk.send(ada, setup=desk.setup(token="wrong"), text="Hello.")
    assert (refused.error, refused.code) == (ErrorClass.AUTH, "190")
    away = await desk.send(ada, setup=desk.setup(base_url=f"http://127.0.0.1:{free_port()}"), text="Hello.")
    assert away.error is ErrorClass.UNREACHABLE
    assert desk.texts(ada) == []


def test_what_the_account_may_is_part_of_what_its_channel_tells(desk: WhatsAppDesk) -> None:
    able = PROVIDER.open(desk.setup(recipients_per_day=2000, per_second=20)).capability
    assert able.quota is not None
    assert (able.quota.limit, able.quota.hours, able.quota.unit) == (2000, 24, "recipient")
    account, pair = able.rates
    assert (account.scope, account.limit, account.seconds) == ("account", 20, 1.0)
    assert (pair.scope, pair.limit, pair.seconds, pair.burst) == ("recipient", 1, 6.0, 45)
    assert PROVIDER.open(desk.setup(recipients_per_day=None)).capability.quota is None
    assert PROVIDERS["whatsapp"].capability is PROVIDER.capability


def test_secrets_are_shown_to_nobody(desk: WhatsAppDesk) -> None:
    setup = desk.setup(token="very-secret")
    channel = PROVIDER.open(setup)
    for each in (
        setup,
        setup.secrets,
        setup.config,
        channel,
        channel.line(),
        channel.render(message("+12025550101", text="x")),
    ):
        assert "very-secret" not in repr(each)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("+12025550101", "+12025550101"), (" +1 (202) 555-0101 ", "+12025550101"), ("+49 151/234.567", "+49151234567"),
        ("US.13491208655302741918", "US.13491208655302741918"), ("US.ENT.118", "US.ENT.118"),
    ],
)  # fmt: skip
def test_address_has_one_form(given: str, address: str) -> None:
    assert PROVIDER.check_address(given) == address
    assert PROVIDER.check_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "", "12025550101", "+1", "+0151234567", "+1202555010x", "us.134", "US.", "US.1 2", "US.\u0663",
        "+\u0661\u0662\u0663456789", "US." + "1" * 129, "ada@example.test", "+1202555010112345",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="WhatsApp address"):
        PROVIDER.check_address(address)


@pytest.mark.parametrize(
    "config",
    [
        {}, {"phone_number_id": "x"}, {"phone_number_id": "1", "base_url": "ftp://a"},
        {"phone_number_id": "1", "more": 1},
        {"phone_number_id": "1", "base_url": "https://user:pass@a.test"}, {"phone_number_id": "1", "version": "25"},
        {"phone_number_id": "1", "recipients_per_day": 0}, {"phone_number_id": "1", "lines": 0},
    ],
)  # fmt: skip
def test_account_that_is_none_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Config"):
        Config.model_validate(config)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Evil: 1", "t\u00f6ken"])
def test_token_that_no_header_can_have_is_refused_unshown(token: str) -> None:
    with pytest.raises(ValueError, match="token") as refused:
        Secrets.model_validate({"token": token})
    assert not token or token not in str(refused.value)


@pytest.mark.promise("N8")
@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"text": "x", "buttons": [{"title": "a", "id": "1"}, {"title": "a", "id": "2"}]}, "content.buttons"),
        ({"media": {"kind": "audio", "url": LINK}, "buttons": [{"title": "a", "id": "1"}]}, "content.text"),
        (
            {"text": "x", "choices": {"title": "t" * 21, "choices": [{"id": "1", "title": "a"}]}},
            "content.choices.title",
        ),
        (
            {"text": "x", "choices": {"title": "t", "choices": [{"id": "1", "title": "a" * 25}]}},
            "content.choices.choices.0.title",
        ),
        (
            {"text": "x", "choices": {"title": "t", "choices": [{"id": "1", "title": "a", "description": "d" * 73}]}},
            "content.choices.choices.0.description",
        ),
        (
            {"text": "x", "choices": {"title": "t", "choices": [{"id": "1", "title": "a"}, {"id": "1", "title": "b"}]}},
            "content.choices.choices",
        ),
        (
            {
                "text": "x",
                "buttons": [{"title": "a", "id": "1"}],
                "choices": {"title": "t", "choices": [{"id": "1", "title": "a"}]},
            },
            "content.choices",
        ),
        ({"template": {"name": "a", "header": {"kind": "audio", "url": LINK}}}, "content.template.header.kind"),
    ],
)
def test_what_whatsapp_cannot_show_is_named_with_its_field(content: dict[str, Any], field: str) -> None:
    assert PROVIDER.check_content is not None
    assert [problem.field for problem in PROVIDER.check_content(Content.model_validate(content))] == [field]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"template": {"name": "a", "body": ["{{x}}"]}}, "empty_parameter"),
        ({"text": "{{x}}"}, "no_text"),
        ({"text": "{{x}}", "buttons": [{"title": "a", "id": "1"}]}, "no_text"),
    ],
)
def test_what_is_empty_once_it_is_filled_is_never_sent(content: dict[str, Any], reason: str) -> None:
    made = Content.model_validate(content).filled({"x": " "})
    with pytest.raises(CannotRender, match=reason):
        NOBODY.render(Message(uuid4(), "+12025550101", None, {}, None, NOW, content=made))


def test_our_own_mails_and_codes_have_no_form_here() -> None:
    with pytest.raises(CannotRender, match="no_content"):
        NOBODY.render(Message(uuid4(), "+12025550101", "phone_code", {}, "123456", NOW))
