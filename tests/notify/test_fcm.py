"""Notifications on phones, through Firebase Cloud Messaging."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from pydantic import ValidationError

from deploy.local.ports import free_port
from notify_service.domain.adaptation import problems
from notify_service.domain.channels import CannotOpen, CannotRender, Channel, Effect, ErrorClass
from notify_service.domain.channels.fcm import CAPABILITY, EFFECTS, ERRORS, PROVIDER, Secrets, check_address, judge
from notify_service.domain.channels.http import Answer
from notify_service.domain.content import Content
from tests.notify.offering import NOW, message, opened, send

Open = Callable[..., Channel]


@pytest.fixture
async def web(sandbox_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=sandbox_url, trust_env=False) as client:
        yield client
        await client.put("/fcm/terms", json={"expires_in": 3600})
        await client.delete("/fcm/faults")


@pytest.fixture
async def file(web: httpx2.AsyncClient) -> dict[str, Any]:
    """The service account's."""
    return dict((await web.get("/fcm/service-account.json")).json())


@pytest.fixture
def account(sandbox_url: str, file: dict[str, Any]) -> Open:
    def make(*, changed: dict[str, Any] | None = None, **config: Any) -> Channel:
        secrets = {"service_account": json.dumps({**file, **(changed or {})})}
        return opened(PROVIDER, {"base_url": f"{sandbox_url}/fcm/", **config}, secrets)

    return make


@pytest.fixture
async def device(web: httpx2.AsyncClient) -> str:
    return str((await web.post("/fcm/devices")).json()["token"])


async def shown(web: httpx2.AsyncClient, device: str) -> list[Any]:
    return list((await web.get("/fcm/messages", params={"to": device})).json()["results"])


async def issued(web: httpx2.AsyncClient) -> int:
    return int((await web.get("/fcm/tokens")).json()["issued"])


@pytest.mark.promise("N25")
async def test_phone_shows_what_was_said(account: Open, web: httpx2.AsyncClient, device: str) -> None:
    delivery = uuid4()
    outcome = await send(
        account(priority="normal", ttl_seconds=60, collapse_key="news"),
        device,
        delivery=delivery,
        subject="Grüße 😀",
        html="<b>One</b> &amp; two",
        url="https://app.test/1",
        media={"kind": "image", "url": "https://app.test/a.png"},
        buttons=[{"title": "More", "url": "https://app.test/2"}],
        data={"room": "7"},
    )
    [push] = await shown(web, device)
    assert (outcome.error, outcome.provider_id) == (None, push["id"])
    assert push["message"] == {
        "token": device,
        "notification": {
            "title": "Grüße 😀",
            "body": "One & two\n\nMore: https://app.test/2",
            "image": "https://app.test/a.png",
        },
        "data": {"room": "7", "id": str(delivery), "url": "https://app.test/1"},
        "android": {"priority": "NORMAL", "ttl": "60s", "collapse_key": "news"},
        "apns": {
            "headers": {
                "apns-priority": "5",
                "apns-expiration": str(int(NOW.timestamp()) + 60),
                "apns-collapse-id": "news",
            },
            "payload": {"aps": {"mutable-content": 1}},
            "fcm_options": {"image": "https://app.test/a.png"},
        },
        "webpush": {
            "headers": {"TTL": "60", "Urgency": "normal", "Topic": "news"},
            "fcm_options": {"link": "https://app.test/1"},
        },
    }


@pytest.mark.promise("N25")
async def test_lines_share_one_token(account: Open, web: httpx2.AsyncClient, device: str) -> None:
    before, channel = await issued(web), account()
    outcomes = await asyncio.gather(*(send(channel, device, text="Hi.") for _ in range(10)))
    assert {outcome.error for outcome in outcomes} == {None}
    assert await issued(web) == before + 1


@pytest.mark.promise("N25")
async def test_token_is_exchanged_a_minute_before_it_ends(account: Open, web: httpx2.AsyncClient, device: str) -> None:
    for seconds, asked in ((60, 4), (3600, 1)):
        await web.put("/fcm/terms", json={"expires_in": seconds})
        before, channel = await issued(web), account()
        for _ in range(2):
            assert (await send(channel, device, text="Hi.")).error is None
        # One that is as good as over is asked for by whoever opens, and again by whoever sends.
        assert await issued(web) == before + asked


@pytest.mark.promise("N25")
async def test_token_that_is_refused_is_exchanged_once(account: Open, web: httpx2.AsyncClient, device: str) -> None:
    channel = account()
    assert (await send(channel, device, text="one")).error is None
    await web.delete("/fcm/tokens")
    assert (await send(channel, device, text="two")).error is None
    assert len(await shown(web, device)) == 2


@pytest.mark.promise("N25", "N46")
async def test_key_that_google_does_not_know_blames_the_account(
    account: Open, web: httpx2.AsyncClient, device: str
) -> None:
    for changed, code in (
        ({"client_email": "other@example.test"}, "invalid_grant"),
        ({"token_uri": f"http://127.0.0.1:{free_port()}/"}, "no_connection"),
    ):
        with pytest.raises(CannotOpen) as failed:
            await account(changed=changed).line().open()
        assert failed.value.outcome.code == code
    other = await send(account(changed={"project_id": "another-project"}), device, text="Hi.")
    assert (other.error, other.code) == (ErrorClass.AUTH, "NOT_FOUND")


@pytest.mark.promise("N46")
@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ({"reply": "500 broken"}, ErrorClass.UNREACHABLE, "500"),
        ({"reply": "429 slow down"}, ErrorClass.UNREACHABLE, "429"),
        ({"reply": "403 forbidden"}, ErrorClass.AUTH, "403"),
        ({"drop": True}, ErrorClass.UNREACHABLE, "no_answer"),
    ],
)
async def test_without_a_token_no_message_was_offered(
    account: Open, web: httpx2.AsyncClient, fault: dict[str, Any], error: ErrorClass, code: str
) -> None:
    await web.post("/fcm/faults", json={"match": "token-endpoint", **fault})
    with pytest.raises(CannotOpen) as failed:
        await account().line().open()
    assert (failed.value.outcome.error, failed.value.outcome.code) == (error, code)


@pytest.mark.promise("N25", "N46")
async def test_program_that_is_gone_is_never_tried_again(account: Open, web: httpx2.AsyncClient, device: str) -> None:
    await web.delete(f"/fcm/devices/{device}")
    for address, code in ((device, "UNREGISTERED"), ("x" * 30, "INVALID_ARGUMENT")):
        outcome = await send(account(), address, text="Hi.")
        assert (outcome.error, outcome.code, outcome.effect) == (ErrorClass.PERMANENT, code, Effect.SUPPRESS)


@pytest.mark.promise("N25", "N46")
@pytest.mark.parametrize(
    ("fault", "error", "code", "pause"),
    [
        ({"reply": "400 INVALID_ARGUMENT"}, ErrorClass.PERMANENT, "INVALID_ARGUMENT", None),
        ({"reply": "403 SENDER_ID_MISMATCH"}, ErrorClass.PERMANENT, "SENDER_ID_MISMATCH", None),
        ({"reply": "429 QUOTA_EXCEEDED"}, ErrorClass.THROTTLE, "QUOTA_EXCEEDED", 60),
        ({"reply": "503 UNAVAILABLE"}, ErrorClass.TRANSIENT, "UNAVAILABLE", None),
        ({"reply": "500 INTERNAL"}, ErrorClass.AMBIGUOUS, "INTERNAL", None),
        ({"reply": "401 THIRD_PARTY_AUTH_ERROR"}, ErrorClass.TRANSIENT, "THIRD_PARTY_AUTH_ERROR", None),
        ({"reply": "502 bad gateway"}, ErrorClass.AMBIGUOUS, "502", None),
        ({"drop": True, "after_data": True, "keep": True}, ErrorClass.AMBIGUOUS, "no_answer", None),
    ],
)
async def test_refusal_is_classified(
    account: Open,
    web: httpx2.AsyncClient,
    device: str,
    *,
    fault: dict[str, Any],
    error: ErrorClass,
    code: str,
    pause: Any,
) -> None:
    assert (await web.post("/fcm/faults", json={"match": device, **fault})).status_code == 201
    outcome = await send(account(), device, text="Hi.")
    assert (outcome.error, outcome.code, outcome.pause_seconds) == (error, code, pause)
    assert outcome.effect is EFFECTS.get(code)


@pytest.mark.promise("N46")
@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_code_has_its_meaning(code: str) -> None:
    body = json.dumps({"error": {"code": 400, "status": code, "message": "of a device"}}).encode()
    outcome = judge(Answer(400, {}, body))
    assert (outcome.error, outcome.code, outcome.effect) == (ERRORS[code], code, EFFECTS.get(code))
    waiting = judge(Answer(503, {"retry-after": "9"}, b'{"error": {"status": "UNAVAILABLE"}}'))
    assert (waiting.error, waiting.pause_seconds) == (ErrorClass.THROTTLE, 9)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"error": 7}', b'{"error": {"status": 7, "details": 7}}',
        b'{"error": {"details": [7, {"errorCode": []}, {"fieldViolations": 7}]}}',
    ],
)  # fmt: skip
def test_answer_that_is_none_harms_nothing(body: bytes) -> None:
    assert judge(Answer(400, {}, body)).error is ErrorClass.PERMANENT
    assert judge(Answer(200, {}, body)).error is None


@pytest.mark.promise("N25")
def test_content_that_fcm_takes_not_is_refused(account: Open, device: str) -> None:
    assert PROVIDER.check_content is not None
    taken = Content(text="Hi.", data={"from": "a", "google.x": "b", "id": "c", "room": "d"})
    assert [each.field for each in PROVIDER.check_content(taken)] == [
        "content.data.from",
        "content.data.google.x",
        "content.data.id",
    ]
    long = Content(text="Hi.", data={f"key{n}": "ü" * 500 for n in range(5)})
    assert [each.field for each in PROVIDER.check_content(long)] == ["content"]
    with pytest.raises(CannotRender, match="too_long"):
        account().render(message(device, long))
    with pytest.raises(CannotRender, match="bad_address"):
        account().render(message("x", Content(text="Hi.")))
    assert problems(Content(template={"name": "a"}), CAPABILITY)


@pytest.mark.parametrize("address", ["", "short", "x" * 1025, "x" * 30 + "\n", "ü" * 30])
def test_what_is_no_registration_token_is_refused(address: str) -> None:
    assert check_address("a:APA91b" + "x" * 140).startswith("a:")
    with pytest.raises(ValueError, match="registration token"):
        check_address(address)


@pytest.mark.parametrize(
    "wrong",
    [{"private_key": "secret-key"}, {"private_key": None}, {"project_id": "../x"}, {"token_uri": "file:///secret-key"}],
)
def test_what_is_no_service_account_is_refused_and_not_shown(file: dict[str, Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="A service account is") as refused:
        Secrets.model_validate({"service_account": json.dumps({**file, **wrong})})
    assert "secret-key" not in str(refused.value)
    assert file["private_key"][40:80] not in str(refused.value)


def test_secrets_are_not_shown(account: Open, file: dict[str, Any]) -> None:
    channel = account()
    shown = repr(Secrets.model_validate({"service_account": json.dumps(file)})) + repr(channel) + repr(channel.line())
    assert file["private_key"][40:80] not in shown
