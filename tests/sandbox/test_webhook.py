"""The simulated customer, who believes only what is signed."""

from datetime import timedelta

import httpx2

from deploy.sandbox.webhook import SECRET
from libs.clock import Clock
from notify_service.domain.channels.webhook import Secrets, key, signed

KEY = key(Secrets.model_validate({"secret": SECRET}).secret)
BODY = b'{"type": "a", "data": {"text": "<b>"}}'


async def test_signed_message_is_taken_once_and_shown(web: httpx2.AsyncClient) -> None:
    headers = signed("m1", Clock().now(), BODY, [KEY])
    assert [(await web.post("/webhooks/acme", content=BODY, headers=headers)).status_code for _ in range(2)] == [
        204,
        204,
    ]
    assert [each["repeated"] for each in (await web.get("/webhooks/messages")).json()["results"]] == [True, False]
    effects = (await web.get("/effects", params={"provider": "webhook"})).json()["results"]
    assert [effect["recipients"] for effect in effects] == [["acme"]]
    page = (await web.get("/webhooks")).text
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


async def test_forged_or_old_message_is_not_believed(web: httpx2.AsyncClient) -> None:
    now = Clock().now()
    good = signed("m1", now, BODY, [KEY])
    old = signed("m1", now - timedelta(minutes=6), BODY, [KEY])
    for body, headers in (
        (BODY + b" ", good),
        (BODY, {**good, "webhook-id": "m2"}),
        (BODY, signed("m1", now, BODY, [b"another"])),
        (BODY, old),
        (b"nonsense", {}),
    ):
        assert (await web.post("/webhooks/acme", content=body, headers=headers)).status_code == 401
    assert "forged" in (await web.get("/webhooks")).text
    assert (await web.get("/effects", params={"provider": "webhook"})).json()["results"] == []
