"""The simulated push service, as a stranger and a careless sender see it."""

import json
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from libs.clock import Clock
from notify_service.domain.channels.webpush_encryption import Vouchers, encrypt, new_key, read, read_point

SUBJECT = "mailto:ops@example.test"


class Sender:
    """Who sends properly, but for what a test changes."""

    def __init__(self, web: httpx2.AsyncClient) -> None:
        self._web = web
        self.origin = str(web.base_url).rstrip("/")
        self.vouchers = Vouchers(new_key(), SUBJECT)

    async def subscribe(self) -> dict[str, Any]:
        asked = {"application_server_key": self.vouchers.public_key}
        return dict((await self._web.post("/webpush/subscriptions", json=asked)).json())

    async def send(self, subscription: dict[str, Any], *, body: bytes | None = None, **changed: str) -> httpx2.Response:
        keys = subscription["keys"]
        body = encrypt(b"Hello", read_point(keys["p256dh"]), read(keys["auth"])) if body is None else body
        voucher = self.vouchers.header(self.origin, Clock().now())
        headers = {"Authorization": voucher, "TTL": "60", "Content-Encoding": "aes128gcm", **changed}
        return await self._web.post(
            subscription["endpoint"], content=body, headers={k: v for k, v in headers.items() if v}
        )


@pytest.fixture
def sender(web: httpx2.AsyncClient) -> Sender:
    return Sender(web)


async def test_message_is_taken_read_and_shown(web: httpx2.AsyncClient, sender: Sender) -> None:
    subscription = await sender.subscribe()
    assert (await sender.send(subscription, Urgency="low")).status_code == 201
    [push] = (await web.get("/webpush/messages")).json()["results"]
    assert (push["text"], push["headers"]) == ("Hello", {"ttl": "60", "urgency": "low"})
    assert "Hello" in (await web.get("/webpush")).text
    assert (await web.post("/webpush/new")).status_code == 303
    [effect] = (await web.get("/effects", params={"provider": "webpush"})).json()["results"]
    assert effect["kind"] == "delivered"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"TTL": ""}, 400),
        ({"TTL": "soon"}, 400),
        ({"Urgency": "very"}, 400),
        ({"Content-Encoding": "aesgcm"}, 415),
        ({"Authorization": ""}, 401),
        ({"Authorization": "vapid t=a.b.c, k=AAAA"}, 401),
    ],
)
async def test_careless_sender_is_refused(sender: Sender, changed: dict[str, str], status: int) -> None:
    assert (await sender.send(await sender.subscribe(), **changed)).status_code == status


@pytest.mark.parametrize("body", [b"", b"short", b"\0" * 200])
async def test_what_no_browser_can_read_is_refused(sender: Sender, body: bytes) -> None:
    assert (await sender.send(await sender.subscribe(), body=body)).status_code == 400


async def test_message_of_more_than_a_record_is_refused(sender: Sender) -> None:
    assert (await sender.send(await sender.subscribe(), body=b"\0" * 4097)).status_code == 413


async def test_message_for_another_browser_is_refused(sender: Sender) -> None:
    subscription = await sender.subscribe()
    body = encrypt(b"Hello", ec.generate_private_key(ec.SECP256R1()).public_key(), b"\0" * 16)
    assert (await sender.send(subscription, body=body)).status_code == 400


async def test_voucher_is_for_this_service_this_sender_and_today(web: httpx2.AsyncClient, sender: Sender) -> None:
    subscription = await sender.subscribe()
    now = Clock().now()
    for origin, at in (("https://elsewhere.test", now), (sender.origin, now - timedelta(days=365))):
        voucher = Vouchers(new_key(), SUBJECT).header(origin, at)
        assert (await sender.send(subscription, Authorization=voucher)).status_code == 401
    other = Vouchers(new_key(), SUBJECT).header(sender.origin, now)
    assert (await sender.send(subscription, Authorization=other)).status_code == 403
    nobody = Vouchers(new_key(), "me").header(sender.origin, now)
    assert (await sender.send(subscription, Authorization=nobody)).status_code == 401


async def test_subscription_ends(web: httpx2.AsyncClient, sender: Sender) -> None:
    subscription = await sender.subscribe()
    await web.delete(subscription["endpoint"].replace("/push/", "/subscriptions/"))
    assert (await sender.send(subscription)).status_code == 410
    assert (await sender.send({**subscription, "endpoint": f"{sender.origin}/webpush/push/none"})).status_code == 404
    assert json.loads((await web.get("/webpush/messages")).text)["total"] == 0
