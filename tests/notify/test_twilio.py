"""Texts through Twilio, and what it tells afterwards."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from uuid import uuid4

import httpx2
import pytest
from pydantic import ValidationError

from deploy.local.ports import free_port
from deploy.sandbox import twilio as simulator
from deploy.sandbox.faults import Fault
from notify_service.domain.adaptation import problems
from notify_service.domain.channels import CannotRender, Channel, Effect, ErrorClass, Setup
from notify_service.domain.channels.http import Answer
from notify_service.domain.channels.inbound import DELIVERED, FAILED, MESSAGE, RECEIPT, SENT, Hook
from notify_service.domain.channels.twilio import PROVIDER, judge
from notify_service.domain.channels.twilio_account import Config, Secrets
from notify_service.domain.channels.twilio_errors import EFFECTS, ERRORS
from notify_service.domain.channels.twilio_inbound import parse, verify
from notify_service.domain.content import Content
from tests.notify.desks import phone as new_phone
from tests.notify.offering import message, opened, send
from tests.notify.world import eventually
from tests.sandbox.receiver import Receiver, receiving

Open = Callable[..., Channel]
SECRETS = {"auth_token": simulator.AUTH_TOKEN}


@pytest.fixture
def phone() -> str:
    return new_phone()


@pytest.fixture
def account(sandbox_url: str) -> Open:
    def make(**changed: Any) -> Channel:
        token = changed.pop("secrets", SECRETS)
        config = {"account_sid": simulator.ACCOUNT_SID, "sender": "+12025550100", "base_url": f"{sandbox_url}/twilio/"}
        return opened(PROVIDER, {**config, **changed}, token)

    return make


@pytest.fixture
async def web(sandbox_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=sandbox_url, trust_env=False) as client:
        yield client


@pytest.fixture
async def hooks() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def hook(raw: bytes, headers: Mapping[str, str] | None = None, url: str = "https://a.test/") -> Hook:
    return Hook("POST", url, dict(parse_qsl(urlsplit(url).query)), headers or {}, raw)


def own(token: str = simulator.AUTH_TOKEN) -> Setup:
    return Setup("account", None, Secrets.model_validate({"auth_token": token}))


async def texts(web: httpx2.AsyncClient, phone: str) -> list[Any]:
    return list((await web.get("/twilio/messages", params={"to": phone})).json()["results"])


@pytest.mark.promise("N23")
async def test_text_reaches_the_phone(account: Open, web: httpx2.AsyncClient, phone: str) -> None:
    outcome = await send(
        account(),
        phone,
        subject="Hello",
        text="Grüße & 100 % €",
        buttons=[{"title": "More", "url": "https://a.test/?a=1&b=2"}],
    )
    [text] = await texts(web, phone)
    assert outcome.error is None
    assert (text["sid"], text["to"], text["from"]) == (outcome.provider_id, phone, "+12025550100")
    assert text["body"] == "Hello\n\nGrüße & 100 % €\n\nMore: https://a.test/?a=1&b=2"


@pytest.mark.promise("N23")
async def test_code_of_ours_is_texted_through_twilio(account: Open, web: httpx2.AsyncClient, phone: str) -> None:
    channel = account(messaging_service_sid="MG" + "a" * 32, sender=None, validity_seconds=300)
    payload = channel.render(message(phone, template="phone_code", variables={"name": ""}, secret="123456"))
    form = parse_qs(payload[0].content.decode())
    assert (form["ValidityPeriod"], "From" in form) == (["300"], False)
    line = channel.line()
    assert (await line.send(phone, payload)).error is None
    await line.close()
    [text] = await texts(web, phone)
    assert "123456" in text["body"]
    assert text["from"] == "MG" + "a" * 32


async def test_key_takes_the_place_of_the_token(account: Open, phone: str) -> None:
    given = {"auth_token": "another", "key_secret": simulator.KEY_SECRET}
    assert (await send(account(key_sid=simulator.KEY_SID, secrets=given), phone, text="Hi.")).error is None
    with pytest.raises(ValueError, match="key_secret"):
        account(key_sid=simulator.KEY_SID)


@pytest.mark.promise("N46")
@pytest.mark.parametrize("code", sorted(ERRORS))
async def test_every_code_has_its_meaning(account: Open, sandbox: Any, phone: str, code: str) -> None:
    status = 429 if ERRORS[code] is ErrorClass.THROTTLE else 400
    assert judge(Answer(status, {}, f'{{"code": {code}, "status": {status}}}'.encode())).effect is EFFECTS.get(code)
    outcome = judge(Answer(status, {}, f'{{"code": {code}, "message": "to {phone}"}}'.encode()))
    assert (outcome.error, outcome.code) == (ERRORS[code], code)
    assert (outcome.pause_seconds is not None) == (ERRORS[code] is ErrorClass.THROTTLE)


@pytest.mark.promise("N46", "N23")
@pytest.mark.parametrize(
    ("number", "code", "effect"),
    [
        ("+15005550001", "21211", Effect.SUPPRESS),
        ("+15005550002", "21612", None),
        ("+15005550003", "21408", None),
        ("+15005550004", "21610", Effect.OPT_OUT),
        ("+15005550009", "21614", Effect.SUPPRESS),
    ],
)
async def test_number_that_takes_no_text_says_so(account: Open, number: str, code: str, effect: Effect | None) -> None:
    outcome = await send(account(), number, text="Hi.")
    assert (outcome.error, outcome.code, outcome.effect) == (ErrorClass.PERMANENT, code, effect)


@pytest.mark.promise("N46", "N23")
@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ({"reply": "429 20429"}, ErrorClass.THROTTLE, "20429"),
        ({"reply": "429 63038"}, ErrorClass.THROTTLE, "63038"),
        ({"reply": "503 20503"}, ErrorClass.TRANSIENT, "20503"),
        ({"reply": "500 20500"}, ErrorClass.AMBIGUOUS, "20500"),
        ({"reply": "502 bad gateway"}, ErrorClass.AMBIGUOUS, "502"),
        ({"reply": "400 99999"}, ErrorClass.PERMANENT, "400"),
        ({"drop": True}, ErrorClass.AMBIGUOUS, "no_answer"),
        ({"delay_ms": 5_000}, ErrorClass.AMBIGUOUS, "no_answer"),
    ],
)
async def test_refusal_is_classified(
    account: Open,
    sandbox: Any,
    web: httpx2.AsyncClient,
    phone: str,
    fault: dict[str, Any],
    error: ErrorClass,
    code: str,
) -> None:
    given = Fault(match=phone, **fault).model_dump()
    assert (await web.post("/twilio/faults", json=given)).status_code == 201
    outcome = await send(account(timeout=1.5 if "delay_ms" in fault else 15), phone, text="Hi.")
    assert (outcome.error, outcome.code) == (error, code)
    if code == "20429":
        assert outcome.pause_seconds == 2


@pytest.mark.promise("N46")
async def test_wrong_credentials_blame_the_account(account: Open, phone: str) -> None:
    for channel in (account(secrets={"auth_token": "wrong"}), account(account_sid="AC" + "f" * 32)):
        outcome = await send(channel, phone, text="Hi.")
        assert (outcome.error, outcome.code) == (ErrorClass.AUTH, "20003")
    nobody = account(base_url=f"http://127.0.0.1:{free_port()}/")
    assert (await send(nobody, phone, text="Hi.")).error is ErrorClass.UNREACHABLE


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b'{"sid": 7}', b'{"sid": "a b"}', b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("status", [201, 400])
def test_answer_that_is_none_harms_nothing(status: int, body: bytes) -> None:
    outcome = judge(Answer(status, {}, body))
    assert (outcome.provider_id, outcome.error) == (None, ErrorClass.PERMANENT if status == 400 else None)


@pytest.mark.promise("N23")
def test_text_that_costs_too_much_is_refused(account: Open, phone: str) -> None:
    assert PROVIDER.check_content is not None
    [problem] = PROVIDER.check_content(Content(text="Я" * 671))
    assert (problem.field, "10" in problem.message) == ("content.text", True)
    assert PROVIDER.check_content(Content(text="Я" * 670)) == []
    with pytest.raises(CannotRender, match="too_long"):
        account(most_segments=1).render(message(phone, Content(text="a" * 161)))
    assert problems(Content(text="Hi.", media={"kind": "image", "url": "https://a.test/a.png"}), PROVIDER.capability)


@pytest.mark.parametrize("address", ["", "12025550101", "+1 202 555 0101", "+12025550101\n"])
def test_address_that_cannot_be_one_is_never_tried(account: Open, address: str) -> None:
    with pytest.raises(CannotRender, match="bad_address"):
        account().render(message(address, Content(text="Hi.")))


@pytest.mark.parametrize(
    "wrong",
    [{}, {"sender": "Parley", "messaging_service_sid": "MG" + "0" * 32}, {"sender": "twelve chars"}, {"sender": "+0"}],
)
def test_setup_that_makes_no_account_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({"account_sid": simulator.ACCOUNT_SID, **wrong})


def test_secrets_are_not_shown(account: Open) -> None:
    channel = account()
    shown = repr(Secrets.model_validate(SECRETS)) + repr(channel) + repr(channel.line())
    assert simulator.AUTH_TOKEN not in shown


@pytest.mark.promise("N23")
async def test_receipts_come_back_signed_with_our_id(
    account: Open, web: httpx2.AsyncClient, hooks: Receiver, phone: str
) -> None:
    delivery = uuid4()
    channel = account(status_callback=f"{hooks.url}?account=a")
    assert (channel.capability.idempotency, account().capability.idempotency) == ("correlate", "none")
    outcome = await send(channel, phone, delivery=delivery, text="Hi.")
    await eventually(lambda: len(hooks.heard) == 2)
    url = f"{hooks.url}?account=a&delivery={delivery}"
    assert all(verify(hook(raw, headers, url), own()) for raw, headers in hooks.heard)
    events = [event for raw, _ in hooks.heard for event in parse(hook(raw, url=url))]
    assert [(each.kind, each.state, each.correlation) for each in events] == [
        (RECEIPT, SENT, delivery),
        (RECEIPT, DELIVERED, delivery),
    ]
    assert {each.provider_id for each in events} == {outcome.provider_id}
    assert {each.peer for each in events} == {phone}
    await web.post(f"/twilio/messages/{outcome.provider_id}/status", json={"status": "undelivered", "code": 30005})
    await eventually(lambda: len(hooks.heard) == 3)
    [event] = parse(hook(hooks.heard[2][0], url=url))
    assert (event.state, event.code, event.error) == (FAILED, "30005", ErrorClass.PERMANENT)
    assert event.effect is Effect.SUPPRESS
    assert len({each.dedupe_key for each in (*events, event)}) == 3


@pytest.mark.promise("N23")
async def test_who_answers_stop_gets_no_more(
    account: Open, web: httpx2.AsyncClient, hooks: Receiver, phone: str
) -> None:
    await web.put("/twilio/callbacks", json={"url": hooks.url})
    for word in (" stop ", "What is this?", "START"):
        await web.post("/twilio/answers", json={"phone": phone, "text": word})
        outcome = await send(account(), phone, text="Hi.")
        assert outcome.effect is (None if word == "START" else Effect.OPT_OUT)
    await eventually(lambda: len(hooks.heard) == 3)
    assert all(verify(hook(raw, headers, hooks.url), own()) for raw, headers in hooks.heard)
    events = [event for raw, _ in hooks.heard for event in parse(hook(raw))]
    assert {(each.kind, each.peer) for each in events} == {(MESSAGE, phone)}
    assert [(each.text, each.effect) for each in events] == [
        (" stop ", Effect.OPT_OUT),
        ("What is this?", None),
        ("START", None),
    ]
    assert [each.data.get("keyword") for each in events] == ["stop", None, "start"]


def test_signature_is_that_of_the_documentation() -> None:
    form = {"CallSid": "CA1234567890ABCDE", "Caller": "+14158675309", "Digits": "1234"}
    raw = urlencode({**form, "From": "+14158675309", "To": "+18005551212"}).encode()
    url, headers = "https://mycompany.com/myapp.php?foo=1&bar=2", {"x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="}
    assert verify(hook(raw, headers, url), own("12345"))
    assert not verify(hook(raw, headers, url + "3"), own("12345"))
    assert not verify(hook(raw + b"&More=1", headers, url), own("12345"))
    assert not verify(hook(raw, {}, url), own("12345"))
    assert not verify(hook(raw, {"x-twilio-signature": "\u00fc"}, url), own("12345"))
    assert not verify(hook(raw, headers, url), own("54321"))
    assert not verify(hook(b"\xff", headers, url), own("12345"))


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense", b"\xff\xfe", b"MessageSid=a%20b&Body=x", b"MessageSid=SM1", b"Body=x", b"a=1&" * 300]
)
def test_what_is_no_call_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  -- of whatever kind
        parse(hook(raw))


def test_pictures_and_words_of_a_messaging_service_are_told() -> None:
    form = {"MessageSid": "MM1", "From": "+12025550101", "Body": "ARRET", "OptOutType": "STOP", "NumMedia": "1"}
    form |= {"MediaUrl0": "https://api.twilio.com/media", "MediaContentType0": "image/png"}
    [event] = parse(hook(urlencode(form).encode()))
    assert event.effect is Effect.OPT_OUT
    assert event.media == {"items": [{"url": "https://api.twilio.com/media", "kind": "image"}]}
    assert parse(hook(urlencode({"MessageSid": "SM1", "MessageStatus": "queued"}).encode())) == []
