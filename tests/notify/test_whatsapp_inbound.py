"""What WhatsApp tells us."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.sandbox.callbacks import Manners
from deploy.sandbox.server import Sandbox
from deploy.sandbox.whatsapp_hooks import capability, pack, preference, template_status
from deploy.sandbox.whatsapp_people import Answer, answer
from notify_service.domain.channels import Effect, ErrorClass
from notify_service.domain.channels.inbound import Event
from notify_service.domain.channels.whatsapp import Secrets
from notify_service.domain.channels.whatsapp_inbound import FIELDS, SIGNATURE, challenge, parse, verify
from notify_service.domain.channels.whatsapp_media import download
from tests.notify.desks import WhatsAppDesk, phone
from tests.sandbox.receiver import receiving

SECRET = "sandbox-app-secret"
SECRETS = Secrets.model_validate({"token": "t", "app_secret": SECRET, "verify_token": "our-word"})
Listen = Callable[..., Any]


@pytest.fixture
def desk(sandbox: Sandbox) -> WhatsAppDesk:
    return WhatsAppDesk(sandbox)


@pytest.fixture
async def listen(desk: WhatsAppDesk) -> AsyncIterator[Listen]:
    """`await listen()`: all events so far, from calls that were verified. `manners` are those of the calls."""
    async with receiving() as receiver:
        desk.business.callbacks.manners = Manners(url=receiver.url)

        async def told() -> list[Event]:
            async with asyncio.timeout(60):
                while not desk.business.callbacks.idle:
                    await asyncio.sleep(0.01)
            assert all(verify(body, headers, SECRETS) for body, headers in receiver.heard)
            return [event for body, _ in receiver.heard for event in parse(body)]

        yield told


def says(desk: WhatsAppDesk, phone: str, **given: Any) -> Any:
    return answer(desk.whatsapp, desk.number, desk.whatsapp.person(phone), Answer.model_validate(given))


@pytest.mark.promise("N11")
async def test_words_come_with_who_wrote_them_and_when(desk: WhatsAppDesk, listen: Listen) -> None:
    ada = phone()
    person = desk.whatsapp.person(ada)
    chat = says(desk, ada, text="Hello \u2764")
    [event] = await listen()
    assert (event.kind, event.text, event.provider_id, event.dedupe_key) == (
        "message",
        "Hello \u2764",
        chat.id,
        chat.id,
    )
    assert event.peer == person.user_id
    assert event.at == datetime.fromtimestamp(int(chat.at), UTC)
    assert event.data == {
        "type": "text", "number": desk.number.id, "phone": ada, "user_id": person.user_id, "name": "Somebody",
    }  # fmt: skip


@pytest.mark.promise("N13")
async def test_somebody_who_hides_the_phone_is_known_all_the_same(desk: WhatsAppDesk, listen: Listen) -> None:
    ada = phone()
    before = says(desk, ada, text="Before.")
    desk.whatsapp.person(ada).username = "ada"
    says(desk, ada, text="After.")
    first, second = await listen()
    assert (first.data["phone"], "phone" in second.data, second.data["username"]) == (ada, False, "ada")
    assert first.peer == second.peer == before.person.user_id
    assert (await desk.send(second.peer, text="Found you.")).error is None


@pytest.mark.promise("N11")
async def test_everything_that_people_do_is_understood(desk: WhatsAppDesk, listen: Listen) -> None:
    ada = phone()
    desk.writes(ada)
    await desk.send(ada, text="Well?", buttons=[{"title": "Yes", "id": "y"}])
    await desk.send(ada, text="Which?", choices={"title": "Pick", "choices": [{"id": "r", "title": "Row"}]})
    asked, listed = desk.chats(ada)
    says(desk, ada, button="y", reply_to=asked.id)
    says(desk, ada, button="r", reply_to=listed.id)
    says(desk, ada, emoji="\u2764", reply_to=asked.id)
    says(desk, ada, place={"latitude": 1.5, "longitude": -2.0, "name": "Here"})
    says(desk, ada, contact="+12025550101")
    says(desk, ada, unsupported=True)
    _, *found = [event for event in await listen() if event.kind == "message"]
    assert [(event.data["type"], event.text) for event in found] == [
        ("interactive", "Yes"), ("interactive", "Row"), ("reaction", None), ("location", None), ("contacts", None),
        ("unsupported", None),
    ]  # fmt: skip
    yes, row, heart, place, contact, unsupported = (event.data for event in found)
    assert (yes["choice"], yes["reply_to"], row["choice"]) == ("y", asked.id, "r")
    assert (heart["reaction"], heart["reply_to"]) == ("\u2764", asked.id)
    assert place["location"] == {"latitude": 1.5, "longitude": -2.0, "name": "Here"}
    assert contact["contacts"] == [{"phones": ["+12025550101"]}]
    assert (unsupported["unsupported"], found[-1].code) == ("poll_creation", "131051")


async def test_file_that_somebody_sends_can_be_fetched(desk: WhatsAppDesk, listen: Listen) -> None:
    content = base64.b64encode(b"a picture").decode()
    file = {"kind": "document", "mime": "application/pdf", "content": content, "caption": "Look", "filename": "a.pdf"}
    says(desk, phone(), file=file)
    [event] = await listen()
    [item] = event.media["items"]
    digest = hashlib.sha256(b"a picture").hexdigest()
    assert {**item, "id": ""} == {
        "kind": "document", "id": "", "type": "application/pdf", "filename": "a.pdf", "sha256": digest,
    }  # fmt: skip
    assert event.text == "Look"
    fetched = await download(desk.setup(), item["id"], most_bytes=100, sha256=item["sha256"])
    assert fetched.content == b"a picture"


@pytest.mark.promise("N49")
async def test_receipts_bring_the_id_of_the_delivery_back(desk: WhatsAppDesk, listen: Listen) -> None:
    ada, delivery = phone(), uuid4()
    person = desk.whatsapp.person(ada)
    outcome = await desk.send(ada, delivery=delivery, template={"name": "hello_world"})
    desk.whatsapp.read(desk.number, person)
    sent, delivered, read = await listen()
    assert [event.state for event in (sent, delivered, read)] == ["sent", "delivered", "read"]
    for event in (sent, delivered, read):
        assert (event.kind, event.correlation, event.provider_id) == ("receipt", delivery, outcome.provider_id)
        assert (event.peer, event.error, event.data["phone"]) == (person.user_id, None, ada)


@pytest.mark.promise("N46")
@pytest.mark.parametrize(
    ("code", "error", "effect"),
    [
        (131047, ErrorClass.WINDOW, None), (131050, ErrorClass.PERMANENT, Effect.OPT_OUT),
        (132015, ErrorClass.PERMANENT, Effect.STOP_CAMPAIGN), (130429, ErrorClass.THROTTLE, None),
        (987654, ErrorClass.PERMANENT, None),
    ],
)  # fmt: skip
async def test_failure_that_comes_later_has_the_meaning_of_one_at_once(
    desk: WhatsAppDesk, listen: Listen, code: int, error: ErrorClass, effect: Effect | None
) -> None:
    ada = phone()
    desk.whatsapp.person(ada).fails_with = code
    await desk.send(ada, template={"name": "hello_world"})
    [event] = await listen()
    assert (event.state, event.code, event.error, event.effect) == ("failed", str(code), error, effect)


@pytest.mark.promise("N30", "N31")
async def test_many_items_in_one_call_are_as_many_events_however_often_they_come(
    desk: WhatsAppDesk, listen: Listen
) -> None:
    callbacks = desk.business.callbacks
    callbacks.manners = callbacks.manners.model_copy(update={"batch": 100, "copies": 3, "delay_ms": 1})
    people = [phone() for _ in range(4)]
    for each in people:
        desk.whatsapp.person(each).name = f"Of {each}"
    chats = [says(desk, each, text=each) for each in people]
    await desk.send(people[0], text="One")
    await desk.send(people[1], text="Two")
    events = await listen()
    assert len({event.dedupe_key for event in events}) == 8
    assert len(events) == 24
    assert callbacks.made < len(events)
    assert {event.dedupe_key for event in events} >= {chat.id for chat in chats}
    told = [(event.text, event.data["phone"], event.data["name"]) for event in events if event.text]
    assert set(told) == {(each, each, f"Of {each}") for each in people}


async def test_order_of_receipts_is_told_by_their_time(desk: WhatsAppDesk, listen: Listen) -> None:
    callbacks = desk.business.callbacks
    callbacks.manners = callbacks.manners.model_copy(update={"reverse": True, "delay_ms": 1})
    await desk.send(phone(), template={"name": "hello_world"})
    delivered, sent = await listen()
    assert (delivered.state, sent.state) == ("delivered", "sent")
    assert delivered.at >= sent.at


def change(name: str, value: Any, **entry: Any) -> list[Event]:
    body = {"object": "whatsapp_business_account", "entry": [{"id": "1", "time": 1739321024, **entry}]}
    body["entry"][0]["changes"] = [{"field": name, "value": value}]  # type: ignore[index]
    return parse(json.dumps(body).encode())


@pytest.mark.promise("N12")
async def test_template_that_is_paused_stops_what_is_sent_with_it(desk: WhatsAppDesk) -> None:
    template = desk.business.templates["hello_world", "en_US"]
    for status, effect in (("PAUSED", Effect.STOP_CAMPAIGN), ("APPROVED", None), ("FLAGGED", None)):
        template.status = status
        [event] = parse(pack([template_status(desk.business, template, 1739321024)], SECRET)[0])
        assert (event.kind, event.code, event.effect) == ("account", "template", effect)
        assert (event.data["name"], event.data["language"], event.data["status"]) == ("hello_world", "en_US", status)
    assert change("message_template_status_update", {"event": "PAUSED"}) == []


@pytest.mark.parametrize(("tier", "limit"), [(2000, 2000), (None, None)])
async def test_new_limit_is_told(desk: WhatsAppDesk, tier: int | None, limit: int | None) -> None:
    desk.business.tier = tier
    item = capability(desk.business, 1739321024)
    events = [parse(pack([item], SECRET)[0])[0] for _ in range(2)]
    assert events[0] == events[1]
    assert (events[0].code, events[0].data) == ("limit", {"recipients_per_day": limit})


def test_limit_is_understood_as_a_tier_or_a_number() -> None:
    quality = {"event": "ONBOARDING", "max_daily_conversations_per_business": "TIER_10K"}
    assert change("phone_number_quality_update", quality)[0].data == {"recipients_per_day": 10_000}
    assert change("phone_number_quality_update", {"event": "ONBOARDING"}) == []
    assert change("business_capability_update", {"max_daily_conversation_per_phone": 250})[0].data == {
        "recipients_per_day": 250
    }


def test_account_that_is_lost_needs_somebody() -> None:
    [lost] = change("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}})
    [fine] = change("account_update", {"event": "VERIFIED_ACCOUNT"})
    assert (lost.code, lost.error, lost.data["event"]) == ("account", ErrorClass.AUTH, "DISABLED_UPDATE")
    [back] = change("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}})
    assert fine.error is back.error is None
    [error] = change("messages", {"errors": [{"code": 130429, "title": "Rate limit hit"}]})
    assert (error.kind, error.code, error.error) == ("account", "130429", ErrorClass.THROTTLE)


async def test_who_wants_no_marketing_is_told_apart(desk: WhatsAppDesk) -> None:
    person = desk.whatsapp.person(phone())
    for wants, effect in ((False, Effect.OPT_OUT), (True, None)):
        person.wants_marketing = wants
        [event] = parse(pack([preference(desk.business, desk.number, person, 1739321024)], SECRET)[0])
        assert (event.code, event.peer, event.effect) == ("marketing", person.user_id, effect)


def message(**given: Any) -> list[Event]:
    found = {"from": "16505551234", "id": "wamid.1", "timestamp": "1749416383", **given}
    return change("messages", {"metadata": {"phone_number_id": "7"}, "messages": [found]})


@pytest.mark.promise("N13")
def test_new_phone_of_somebody_is_told() -> None:
    system = {"type": "user_changed_number", "wa_id": "12195555358", "body": "..."}
    [event] = message(type="system", system=system)
    assert (event.kind, event.code, event.peer) == ("account", "migrated", "+16505551234")
    assert event.data == {"number": "7", "phone": "+12195555358", "to": "+12195555358"}
    [event] = message(type="system", from_user_id="US.1", system={**system, "user_id": "US.2"})
    assert (event.peer, event.data["to"]) == ("US.1", "US.2")
    assert message(type="system", system={"type": "user_identity_changed"}) == []


def test_button_of_a_template_form_and_voice_are_understood() -> None:
    [pressed] = message(type="button", button={"payload": "stop", "text": "Stop"}, context={"id": "wamid.0"})
    assert (pressed.text, pressed.data["choice"], pressed.data["reply_to"]) == ("Stop", "stop", "wamid.0")
    form = {"type": "nfm_reply", "nfm_reply": {"response_json": '{"a": 1}', "body": "Sent"}}
    [filled] = message(type="interactive", interactive=form)
    assert (filled.text, filled.data["form"]) == ("Sent", '{"a": 1}')
    [voice] = message(
        type="audio", audio={"id": "5", "mime_type": "audio/ogg", "voice": True}, context={"forwarded": True}
    )
    assert voice.media == {"items": [{"kind": "audio", "id": "5", "type": "audio/ogg", "voice": True}]}
    assert voice.data["forwarded"] is True
    [order] = message(type="order", order={"catalog_id": "1"})
    assert (order.text, order.data["type"]) == (None, "order")


def test_text_that_no_database_takes_loses_what_it_does_not() -> None:
    assert message(type="text", text={"body": "a\x00b\ud800c"})[0].text == "abc"


def test_played_voice_was_read_and_other_states_say_nothing() -> None:
    status = {"id": "wamid.1", "timestamp": "1749416383", "recipient_id": "16505551234"}
    [played] = change("messages", {"statuses": [{**status, "status": "played"}]})
    assert (played.state, played.peer, played.data["played"]) == ("read", "+16505551234", True)
    assert change("messages", {"statuses": [{**status, "status": "warning"}]}) == []


@pytest.mark.parametrize(
    "given",
    [
        {"id": None}, {"id": ""}, {"from": None}, {"from": 7}, {"from": "not a phone"},
        {"from_user_id": "x", "from": ""},
    ],
)  # fmt: skip
def test_message_of_nobody_is_none(given: dict[str, Any]) -> None:
    assert message(type="text", text={"body": "x"}, **given) == []


@pytest.mark.parametrize(
    "given",
    [
        {"type": None}, {"type": "text"}, {"type": "text", "text": "x"}, {"type": "text", "text": {"body": 7}},
        {"type": "image", "image": {}}, {"type": "interactive", "interactive": {"button_reply": []}},
        {"type": "location", "location": {"latitude": "1", "longitude": 2}}, {"type": "contacts", "contacts": "x"},
        {"type": "location", "location": {"latitude": float("inf"), "longitude": 2}}, {"type": "x" * 100},
        {"type": "unsupported", "errors": [{"code": "x"}, 7]}, {"type": "text", "context": 7}, {"timestamp": "soon"},
        {"timestamp": 10**30}, {"type": "reaction", "reaction": {}}, {"type": "text", "text": {"body": "\ud800"}},
    ],
)  # fmt: skip
def test_message_of_an_unknown_shape_is_a_message_still(given: dict[str, Any]) -> None:
    [event] = message(**given)
    assert (event.dedupe_key, event.text, event.media) == ("wamid.1", None, None)
    json.dumps(event.data, allow_nan=False).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"7", b"{}", b'{"object": "page", "entry": []}', b"\xff", b"[" * 100_000, b'"x"',
    ],
)  # fmt: skip
def test_what_is_no_webhook_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no webhook of WhatsApp"):
        parse(body)


def test_items_of_no_shape_say_nothing() -> None:
    for entry in (None, 7, {}, [7], [{"changes": 7}], [{"changes": [7, {"field": "messages"}, {"field": []}]}]):
        assert parse(json.dumps({"object": "whatsapp_business_account", "entry": entry}).encode()) == []
    for value in (None, {"messages": 7}, {"messages": [7], "statuses": [{}], "errors": [{}, 7]}):
        assert change("messages", value) == []
    assert "messages" in FIELDS


@pytest.mark.promise("N29")
def test_only_what_was_signed_with_the_secret_over_its_very_bytes_is_believed() -> None:
    body, headers = pack([], SECRET)
    signed = {SIGNATURE: headers["X-Hub-Signature-256"]}
    assert verify(body, signed, SECRETS)
    assert not verify(body + b" ", signed, SECRETS)
    assert not verify(body, {}, SECRETS)
    for forged in ("", "sha256=", signed[SIGNATURE].upper(), signed[SIGNATURE][7:], "sha1=" + "0" * 40, "\u00fc"):
        assert not verify(body, {SIGNATURE: forged}, SECRETS)
    assert not verify(body, {SIGNATURE: pack([], "another")[1]["X-Hub-Signature-256"]}, SECRETS)
    assert not verify(body, signed, Secrets.model_validate({"token": "t"}))


@pytest.mark.promise("N29")
def test_webhook_is_set_up_only_by_who_knows_our_word() -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "our-word", "hub.challenge": "1158201444"}
    assert challenge(asked, SECRETS) == "1158201444"
    wrong: list[dict[str, str]] = [
        {"hub.verify_token": "another"}, {"hub.mode": "unsubscribe"}, {"hub.challenge": "<script>"},
        {"hub.challenge": ""}, {"hub.verify_token": "\ud800"},
    ]  # fmt: skip
    for each in wrong:
        assert challenge({**asked, **each}, SECRETS) is None
    assert challenge({}, SECRETS) is None
    assert challenge({**asked, "hub.verify_token": ""}, Secrets.model_validate({"token": "t"})) is None


def test_delivery_that_is_none_of_ours_is_not_named() -> None:
    status = {"id": "wamid.1", "status": "sent", "timestamp": "1", "biz_opaque_callback_data": "theirs"}
    assert change("messages", {"statuses": [status]})[0].correlation is None
    ours = {**status, "biz_opaque_callback_data": str(UUID(int=7))}
    assert change("messages", {"statuses": [ours]})[0].correlation == UUID(int=7)
