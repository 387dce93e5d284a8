"""Notifications in browsers: what a push service lets through, and what a browser can read."""

import json
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deploy.local.ports import free_port
from deploy.sandbox.webpush import Browser, decrypt
from notify_service.domain.adaptation import problems
from notify_service.domain.channels import CannotRender, Channel, Effect, ErrorClass
from notify_service.domain.channels.http import Answer
from notify_service.domain.channels.webpush import CAPABILITY, PROVIDER, Config, check_address, complete, judge
from notify_service.domain.channels.webpush_encryption import MOST_BYTES, Vouchers, encrypt, point, read, read_point
from notify_service.domain.content import Content
from tests.notify.asking import Person, ended
from tests.notify.asking import send as order
from tests.notify.offering import message, opened, send
from tests.notify.world import World

Open = Callable[..., Channel]
SUBJECT = "mailto:ops@example.test"


@pytest.fixture
def keys() -> tuple[dict[str, Any], dict[str, Any]]:
    config, own = {"subject": SUBJECT}, {}
    complete(config, own)
    return config, own


@pytest.fixture
def account(keys: tuple[dict[str, Any], dict[str, Any]]) -> Open:
    def make(*, inside: bool = True, **changed: Any) -> Channel:
        return opened(PROVIDER, {**keys[0], "services": ["127.0.0.1"], **changed}, keys[1], inside=inside)

    return make


@pytest.fixture
async def web(sandbox_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=sandbox_url, trust_env=False) as client:
        yield client


@pytest.fixture
async def address(web: httpx2.AsyncClient, keys: tuple[dict[str, Any], dict[str, Any]]) -> str:
    """Of a browser that takes messages of this account alone."""
    asked = {"application_server_key": keys[0]["public_key"]}
    return check_address((await web.post("/webpush/subscriptions", json=asked)).text)


async def shown(web: httpx2.AsyncClient, address: str) -> list[Any]:
    token = json.loads(address)["endpoint"].rpartition("/")[2]
    return list((await web.get("/webpush/messages", params={"to": token})).json()["results"])


async def later(channel: Channel, address: str, **content: Any) -> Any:
    """Sent now: a voucher is good for half a day."""
    return await send(channel, address, at=datetime.now(UTC), **content)


@pytest.mark.promise("N24")
async def test_browser_shows_what_only_it_can_read(account: Open, web: httpx2.AsyncClient, address: str) -> None:
    delivery = uuid4()
    outcome = await later(
        account(urgency="high", ttl_seconds=60),
        address,
        delivery=delivery,
        subject="Grüße 😀",
        text="One & <two>",
        url="https://app.test/1",
        media={"kind": "image", "url": "https://app.test/a.png"},
        buttons=[{"title": "Open", "url": "https://app.test/2"}, {"title": "Later", "id": "later"}],
        data={"room": "7"},
    )
    [push] = await shown(web, address)
    assert (outcome.error, outcome.provider_id) == (None, push["id"])
    assert push["headers"] == {"ttl": "60", "urgency": "high"}
    assert json.loads(push["text"]) == {
        "id": str(delivery),
        "title": "Grüße 😀",
        "body": "One & <two>",
        "url": "https://app.test/1",
        "image": "https://app.test/a.png",
        "actions": [{"title": "Open", "url": "https://app.test/2"}, {"title": "Later", "id": "later"}],
        "data": {"room": "7"},
    }


@pytest.mark.promise("N24")
async def test_newest_of_a_topic_takes_the_place_of_those_that_wait(
    account: Open, web: httpx2.AsyncClient, address: str
) -> None:
    for text in ("first", "second"):
        assert (await later(account(topic="news"), address, text=text)).error is None
    assert [json.loads(each["text"])["body"] for each in await shown(web, address)] == ["second"]


@pytest.mark.promise("N24")
def test_encryption_is_that_of_the_standard() -> None:
    """RFC 8291, appendix A."""
    key = ec.derive_private_key(
        int.from_bytes(read("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big"), ec.SECP256R1()
    )
    receiver = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
    found = encrypt(
        b"When I grow up, I want to be a watermelon",
        read_point(receiver),
        read("BTBZMqHH6r4Tts7J_aSIgg"),
        salt=read("DGv6ra1nlYgDCS1FRnbzlw"),
        key=key,
    )
    assert found == read(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A"
        "_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


@pytest.mark.promise("N24")
@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=MOST_BYTES))
def test_whatever_is_encrypted_is_read_again(plain: bytes) -> None:
    browser = Browser("t", ec.generate_private_key(ec.SECP256R1()), secrets.token_bytes(16), None)
    body = encrypt(plain, browser.key.public_key(), browser.auth)
    assert decrypt(body, browser) == plain
    assert len(body) == len(plain) + 4096 - MOST_BYTES


def test_no_two_messages_share_a_key(account: Open, address: str) -> None:
    bodies = [account().render(message(address, Content(text="Hi.")))[0].content for _ in range(3)]
    assert len({body[:16] for body in bodies}) == len({body[21:86] for body in bodies}) == 3


@pytest.mark.promise("N24")
def test_voucher_is_signed_once_for_each_service_until_it_is_old(keys: tuple[dict[str, Any], dict[str, Any]]) -> None:
    vouchers = Vouchers(keys[1]["private_key"], SUBJECT)
    now = datetime(2026, 11, 22, tzinfo=UTC)
    first = vouchers.header("https://a.test", now)
    assert vouchers.header("https://a.test", now + timedelta(hours=10)) == first
    assert (
        len(
            {
                first,
                vouchers.header("https://b.test", now),
                vouchers.header("https://a.test", now + timedelta(hours=11, seconds=1)),
            }
        )
        == 3
    )
    token, key = first.removeprefix("vapid t=").split(", k=")
    head, claims, signature = token.split(".")
    assert json.loads(read(head)) == {"typ": "JWT", "alg": "ES256"}
    assert json.loads(read(claims)) == {"aud": "https://a.test", "exp": now.timestamp() + 43_200, "sub": SUBJECT}
    raw = read(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    read_point(key).verify(der, f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        read_point(key).verify(der, f"{head}.{claims}x".encode(), ec.ECDSA(hashes.SHA256()))


@pytest.mark.promise("N24", "N46")
async def test_dead_subscription_is_never_tried_again(account: Open, web: httpx2.AsyncClient, address: str) -> None:
    subscription = json.loads(address)
    unknown = check_address(json.dumps({**subscription, "endpoint": subscription["endpoint"] + "x"}))
    token = subscription["endpoint"].rpartition("/")[2]
    await web.delete(f"/webpush/subscriptions/{token}")
    for each, code in ((address, "410"), (unknown, "404")):
        outcome = await later(account(), each, text="Hi.")
        assert (outcome.error, outcome.code, outcome.effect) == (ErrorClass.PERMANENT, code, Effect.SUPPRESS)


@pytest.mark.promise("N24", "N46")
async def test_subscription_of_another_sender_stops_nobody_else(web: httpx2.AsyncClient, address: str) -> None:
    config: dict[str, Any] = {"subject": SUBJECT, "services": ["127.0.0.1"]}
    own: dict[str, Any] = {}
    complete(config, own)
    outcome = await later(opened(PROVIDER, config, own), address, text="Hi.")
    assert (outcome.error, outcome.code, outcome.effect) == (ErrorClass.PERMANENT, "403", None)


@pytest.mark.promise("N46")
@pytest.mark.parametrize(
    ("fault", "error", "code", "pause"),
    [
        ({"reply": "429 slow down"}, ErrorClass.RECIPIENT, "429", 7),
        ({"reply": "413 too long"}, ErrorClass.PERMANENT, "413", None),
        ({"reply": "400 what"}, ErrorClass.PERMANENT, "400", None),
        ({"reply": "401 who"}, ErrorClass.PERMANENT, "401", None),
        ({"reply": "500 broken"}, ErrorClass.AMBIGUOUS, "500", None),
        ({"reply": "503 busy"}, ErrorClass.RECIPIENT, "503", None),
        ({"drop": True, "after_data": True, "keep": True}, ErrorClass.AMBIGUOUS, "no_answer", None),
    ],
)
async def test_refusal_is_classified(
    account: Open,
    web: httpx2.AsyncClient,
    address: str,
    *,
    fault: dict[str, Any],
    error: ErrorClass,
    code: str,
    pause: Any,
) -> None:
    token = json.loads(address)["endpoint"].rpartition("/")[2]
    assert (await web.post("/webpush/faults", json={"match": token, **fault})).status_code == 201
    outcome = await later(account(), address, text="Hi.")
    assert (outcome.error, outcome.code, outcome.pause_seconds) == (error, code, pause)
    assert CAPABILITY.errors.get(code, error) is error


@pytest.mark.promise("N46")
def test_redirect_is_no_way_to_a_browser() -> None:
    assert judge(Answer(302, {"location": "http://127.0.0.1/"}, b"")).error is ErrorClass.PERMANENT
    assert judge(Answer(201, {"location": "https://a.test/\x00"}, b"")).provider_id is None


async def test_service_that_is_not_there_blames_the_account(account: Open, address: str) -> None:
    subscription = {**json.loads(address), "endpoint": f"http://127.0.0.1:{free_port()}/push"}
    assert (await later(account(), json.dumps(subscription), text="Hi.")).error is ErrorClass.UNREACHABLE


@pytest.mark.promise("N24", "Z4")
@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://fcm.googleapis.com/x", "bad_address"),
        ("https://fcm.googleapis.com:22/x", "bad_address"),
        ("https://me@fcm.googleapis.com/x", "bad_address"),
        ("https://fcm.googleapis.com.evil.test/x", "unknown_service"),
        ("https://evil.test/x", "unknown_service"),
        ("https://push.apple.com/x", "unknown_service"),
        ("https://169.254.169.254/latest", "unknown_service"),
    ],
)
def test_nothing_is_sent_where_no_push_service_is(account: Open, address: str, endpoint: str, reason: str) -> None:
    channel = account(inside=False, services=["fcm.googleapis.com", "*.push.apple.com"])
    with pytest.raises(CannotRender, match=reason):
        channel.render(message(json.dumps({**json.loads(address), "endpoint": endpoint}), Content(text="Hi.")))


@pytest.mark.promise("N24", "Z4")
async def test_push_service_that_resolves_to_inside_is_not_visited(account: Open, address: str) -> None:
    subscription = json.dumps({**json.loads(address), "endpoint": "https://localhost/x"})
    outcome = await later(account(inside=False, services=["localhost"]), subscription, text="Hi.")
    assert (outcome.error, outcome.code) == (ErrorClass.PERMANENT, "address_not_allowed")


def test_subscription_has_one_form(address: str) -> None:
    given = json.loads(address)
    spelt = json.dumps({"expirationTime": None, "keys": dict(reversed(given["keys"].items())), **given}, indent=2)
    assert check_address(spelt) == address


@pytest.mark.parametrize(
    "changed",
    [
        {"endpoint": "http://evil.test/"},
        {"endpoint": "ftp://127.0.0.1/"},
        {"endpoint": "https:///x"},
        {"endpoint": "https://a.test/" + "x" * 1024},
        {"endpoint": 7},
        {"keys": {}},
        {"keys": {"p256dh": "AAAA", "auth": "BTBZMqHH6r4Tts7J_aSIgg"}},
        {"keys": {"p256dh": "!", "auth": "BTBZMqHH6r4Tts7J_aSIgg"}},
    ],
)
def test_what_is_no_subscription_is_refused(address: str, changed: dict[str, Any]) -> None:
    for text in (json.dumps({**json.loads(address), **changed}), "", "[]", '{"endpoint": "https://a.test/"}'):
        with pytest.raises(ValueError, match="A subscription is"):
            check_address(text)


def test_secret_of_a_subscription_has_its_length(address: str) -> None:
    given = json.loads(address)
    with pytest.raises(ValueError, match="A subscription is"):
        check_address(json.dumps({**given, "keys": {**given["keys"], "auth": "AAAA"}}))


@pytest.mark.promise("N24")
def test_content_that_fills_more_than_one_record_is_refused(account: Open, address: str) -> None:
    assert PROVIDER.check_content is not None
    content = Content(text="Hi.", data={f"key{n}": "ü" * 500 for n in range(5)})
    [problem] = PROVIDER.check_content(content)
    assert (problem.field, "3993" in problem.message) == ("content", True)
    with pytest.raises(CannotRender, match="too_long"):
        account().render(message(address, content))
    video = Content(media={"kind": "video", "url": "https://a.test/v.mp4"})
    assert [each.field for each in problems(video, CAPABILITY)] == ["content.media.kind"]


def test_keys_belong_together(keys: tuple[dict[str, Any], dict[str, Any]]) -> None:
    config, own = keys
    known = {"subject": SUBJECT}
    complete(known, own)
    assert known == config
    other = Vouchers(own["private_key"][:-4] + "AAAA", SUBJECT).public_key
    with pytest.raises(ValueError, match="public key"):
        opened(PROVIDER, {**config, "public_key": other}, own)
    wrong: dict[str, Any] = {}
    complete(wrong, {"private_key": "!"})
    with pytest.raises(ValidationError):
        Config.model_validate({"subject": SUBJECT, **wrong})


def test_secrets_are_not_shown(account: Open, keys: tuple[dict[str, Any], dict[str, Any]]) -> None:
    channel = account()
    shown = repr(PROVIDER.secrets.model_validate(keys[1])) + repr(channel) + repr(channel.line())
    assert keys[1]["private_key"] not in shown
    assert len(point(read_point(keys[0]["public_key"]))) == 65


@pytest.mark.promise("N24")
async def test_account_makes_its_keys_and_reaches_browsers_that_know_them(world: World, admin: Person) -> None:
    name = f"push-{uuid4().hex[:20]}"
    config = {"subject": SUBJECT, "services": ["127.0.0.1"]}
    answer = await admin.call("POST", "/accounts", json={"name": name, "provider": "webpush", "config": config})
    assert answer.status_code == 201, answer.text
    key = answer.json()["config"]["public_key"]
    assert len(point(read_point(key))) == 65
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{world.sandbox.http_port}", trust_env=False) as http:
        asked = {"application_server_key": key}
        subscription = (await http.post("/webpush/subscriptions", json=asked)).text
        made = await order(admin, name, subscription, channel="webpush", content={"text": "Hi."})
        delivery = await ended(admin, made["deliveries"][0])
        [push] = await shown(http, subscription)
    assert delivery["state"] == "sent"
    assert json.loads(push["text"]) == {"id": delivery["id"], "body": "Hi."}
    changed = await admin.call("PATCH", f"/accounts/{name}", json={"config": {**config, "urgency": "low"}})
    assert changed.json()["config"]["public_key"] == key
