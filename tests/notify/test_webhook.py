"""Messages to customers' own programs."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from pydantic import ValidationError

from deploy.local.ports import free_port
from deploy.sandbox.webhook import SECRET
from libs.ids import uuid7
from notify_service.domain.channels import CannotRender, Channel, ErrorClass
from notify_service.domain.channels.http import Answer
from notify_service.domain.channels.webhook import PROVIDER, Secrets, judge, key, signed
from notify_service.domain.content import Content
from tests.notify.asking import Person, ended
from tests.notify.asking import send as order
from tests.notify.offering import message, opened, send
from tests.notify.world import World

Open = Callable[..., Channel]
OTHER = "whsec_" + base64.b64encode(b"another secret of the same customer").decode()


@pytest.fixture
def endpoint() -> str:
    return f"customer-{uuid4().hex}"


@pytest.fixture
def account(sandbox_url: str, endpoint: str) -> Open:
    def make(secret: str = SECRET, *, previous: str | None = None, inside: bool = True, **changed: Any) -> Channel:
        config = {"url": f"{sandbox_url}/webhooks/{endpoint}", **changed}
        return opened(PROVIDER, config, {"secret": secret, "previous_secret": previous}, inside=inside)

    return make


@pytest.fixture
async def web(sandbox_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=sandbox_url, trust_env=False) as client:
        yield client


async def received(web: httpx2.AsyncClient, endpoint: str) -> list[Any]:
    return list((await web.get("/webhooks/messages", params={"to": endpoint})).json()["results"])


async def now(channel: Channel, **content: Any) -> Any:
    """Sent at the present time, which the receiver compares with its own."""
    return await send(channel, "default", at=datetime.now(UTC), **content)


@pytest.mark.promise("N53")
async def test_customer_receives_what_is_signed(account: Open, web: httpx2.AsyncClient, endpoint: str) -> None:
    delivery = uuid7()
    given = {"data": {"type": "order.paid", "order": "7"}, "subject": "Paid ü", "text": "It is paid."}
    assert (await now(account(), delivery=delivery, **given)).error is None
    [hook] = await received(web, endpoint)
    assert (hook["id"], hook["verified"], hook["repeated"]) == (str(delivery), True, False)
    body = hook["body"]
    assert (body["type"], body["data"]) == (
        "order.paid",
        {"subject": "Paid ü", "text": "It is paid.", "data": {"order": "7"}},
    )
    accepted = datetime.fromisoformat(body["timestamp"])
    assert abs((accepted - datetime.now(UTC)).total_seconds()) < 600


@pytest.mark.promise("N53")
def test_body_is_the_same_at_every_attempt(account: Open) -> None:
    delivery, content = uuid7(), Content(text="Hi.", data={"type": "a"})
    at = [datetime(2026, 11, 22, hour, tzinfo=UTC) for hour in (1, 2)]
    first, second = (account().render(message("default", content, delivery=delivery, at=each))[0] for each in at)
    assert first.content == second.content
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == str(delivery)
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    unordered = account().render(message("default", Content(html="<b>Hi.</b>"), at=at[0]))[0]
    assert json.loads(unordered.content) == {
        "type": "notification",
        "timestamp": "2026-11-22T01:00:00Z",
        "data": {"html": "<b>Hi.</b>"},
    }


@pytest.mark.promise("N53")
def test_signature_is_that_of_the_standard() -> None:
    secret = Secrets.model_validate({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}).secret
    at = datetime.fromtimestamp(1_614_265_330, UTC)
    assert signed("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}', [key(secret)]) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.promise("N53")
async def test_both_secrets_are_good_while_they_change(account: Open, web: httpx2.AsyncClient, endpoint: str) -> None:
    changing = account(OTHER, previous=SECRET)
    assert (await now(changing, text="one")).error is None
    assert (await web.put(f"/webhooks/{endpoint}/secret", json={"secret": OTHER})).status_code == 204
    assert (await now(changing, text="two")).error is None
    assert (await now(account(OTHER), text="three")).error is None
    assert (await now(account(SECRET), text="four")).error is ErrorClass.TRANSIENT
    assert [(each["signatures"], each["verified"]) for each in await received(web, endpoint)] == [
        (1, False),
        (1, True),
        (2, True),
        (2, True),
    ]


@pytest.mark.promise("N53", "N46")
@pytest.mark.parametrize(
    ("fault", "error", "code", "pause"),
    [
        ({"reply": "410 gone"}, ErrorClass.AUTH, "410", None),
        ({"reply": "429 slow down"}, ErrorClass.THROTTLE, "429", 7),
        ({"reply": "503 busy"}, ErrorClass.THROTTLE, "503", 7),
        ({"reply": "400 what"}, ErrorClass.TRANSIENT, "400", None),
        ({"reply": "404 where"}, ErrorClass.TRANSIENT, "404", None),
        ({"reply": "500 broken"}, ErrorClass.TRANSIENT, "500", None),
        ({"drop": True, "after_data": True, "keep": True}, ErrorClass.TRANSIENT, "no_answer", None),
        ({"delay_ms": 5_000}, ErrorClass.TRANSIENT, "no_answer", None),
    ],
)
async def test_refusal_is_classified(
    account: Open,
    web: httpx2.AsyncClient,
    endpoint: str,
    *,
    fault: dict[str, Any],
    error: ErrorClass,
    code: str,
    pause: Any,
) -> None:
    assert (await web.post("/webhooks/faults", json={"match": endpoint, **fault})).status_code == 201
    outcome = await now(account(timeout=1.5 if "delay_ms" in fault else 15), text="Hi.")
    assert (outcome.error, outcome.code, outcome.pause_seconds) == (error, code, pause)


@pytest.mark.promise("N53")
async def test_what_got_no_answer_is_sent_again_and_known(
    account: Open, web: httpx2.AsyncClient, endpoint: str
) -> None:
    await web.post("/webhooks/faults", json={"match": endpoint, "drop": True, "after_data": True, "keep": True})
    channel, delivery = account(), uuid7()
    assert channel.capability.idempotency == "native"
    assert (await now(channel, delivery=delivery, text="Hi.")).error is ErrorClass.TRANSIENT
    assert (await now(channel, delivery=delivery, text="Hi.")).error is None
    assert [each["repeated"] for each in await received(web, endpoint)] == [True, False]


@pytest.mark.promise("N53", "N46")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_followed_by_nobody(status: int) -> None:
    outcome = judge(Answer(status, {"location": "http://169.254.169.254/"}, b""))
    assert (outcome.error, outcome.code) == (ErrorClass.TRANSIENT, str(status))


async def test_endpoint_that_is_not_there_costs_no_attempt(account: Open) -> None:
    outcome = await now(account(url=f"http://127.0.0.1:{free_port()}/"), text="Hi.")
    assert outcome.error is ErrorClass.UNREACHABLE


@pytest.mark.promise("N53", "Z4")
@pytest.mark.parametrize(
    "url",
    [
        "http://a.test/",
        "https://a.test:22/",
        "https://me@a.test/",
        "ftp://a.test/",
        "https://",
        "a.test",
        "https://a b/",
    ],
)
def test_nothing_is_sent_but_to_the_internet(account: Open, url: str) -> None:
    with pytest.raises(ValueError, match=r"url|https addresses"):
        account(inside=False, url=url)


@pytest.mark.promise("N53", "Z4")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "169.254.169.254", "[::ffff:10.0.0.1]", "0x7f.1"])
async def test_no_name_of_an_inner_address_is_visited(account: Open, host: str) -> None:
    outcome = await now(account(inside=False, url=f"https://{host}/hook"), text="Hi.")
    assert (outcome.error, outcome.code) == (ErrorClass.PERMANENT, "address_not_allowed")


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!" + "A" * 40]
)
def test_what_is_no_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValidationError, match="A secret is") as refused:
        Secrets.model_validate({"secret": secret})
    hidden = secret.removeprefix("whsec_")
    assert not hidden or hidden not in str(refused.value)


def test_secrets_are_not_shown(account: Open) -> None:
    channel = account()
    shown = repr(Secrets.model_validate({"secret": SECRET})) + repr(channel) + repr(channel.line())
    assert SECRET.removeprefix("whsec_") not in shown


def test_endpoint_has_one_address(account: Open) -> None:
    assert PROVIDER.check_address("default") == "default"
    with pytest.raises(ValueError, match="default"):
        PROVIDER.check_address("https://a.test/")
    with pytest.raises(CannotRender, match="no_content"):
        account().render(message("default"))


@pytest.mark.promise("N53")
async def test_endpoint_that_is_down_gets_its_message_when_it_is_back(
    world: World, admin: Person, endpoint: str
) -> None:
    url = f"http://127.0.0.1:{world.sandbox.http_port}/webhooks"
    account = {
        "name": endpoint[:30],
        "provider": "webhook",
        "config": {"url": f"{url}/{endpoint}"},
        "secrets": {"secret": SECRET},
    }
    assert (await admin.call("POST", "/accounts", json=account)).status_code == 201
    async with httpx2.AsyncClient(trust_env=False) as http:
        await http.post(f"{url}/faults", json={"match": endpoint, "reply": "500 down", "times": 2})
        made = await order(admin, endpoint[:30], "default", channel="webhook", content={"text": "Hi."})
        delivery = await ended(admin, made["deliveries"][0])
        hooks = (await http.get(f"{url}/messages", params={"to": endpoint})).json()["results"]
    assert delivery["state"] == "sent"
    assert [(hook["id"], hook["verified"]) for hook in hooks] == [(delivery["id"], True)]
