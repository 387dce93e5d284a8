"""The simulated Firebase, and Google's token endpoint."""

from typing import Any

import httpx2
import pytest

from deploy.sandbox.fcm import PROJECT
from notify_service.domain.channels.fcm_tokens import ServiceAccount, Tokens

SEND = f"/fcm/v1/projects/{PROJECT}/messages:send"


@pytest.fixture
async def headers(web: httpx2.AsyncClient) -> dict[str, str]:
    account = ServiceAccount.read((await web.get("/fcm/service-account.json")).text)
    return {"Authorization": f"Bearer {await Tokens(account, timeout=10).current()}"}


async def device(web: httpx2.AsyncClient) -> str:
    return str((await web.post("/fcm/devices")).json()["token"])


async def test_message_is_taken_and_shown(web: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    message = {"token": await device(web), "notification": {"title": "<b>"}}
    answer = await web.post(SEND, json={"message": message}, headers=headers)
    assert answer.json()["name"].startswith(f"projects/{PROJECT}/messages/")
    [effect] = (await web.get("/effects", params={"provider": "fcm"})).json()["results"]
    assert effect["recipients"] == [message["token"]]
    page = (await web.get("/fcm")).text
    assert "&lt;b&gt;" in page
    assert (await web.post("/fcm/new")).status_code == 303


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"token": None}, "message"),
        ({"token": "none"}, "message.token"),
        ({"data": {"a": 1}}, "message.data"),
        ({"data": {"google.a": "b"}}, "message.data"),
        ({"android": {"ttl": "a day"}}, "message.android.ttl"),
        ({"more": 1}, "message.more"),
    ],
)
async def test_what_is_no_message_is_refused(
    web: httpx2.AsyncClient, headers: dict[str, str], changed: dict[str, Any], wrong: str
) -> None:
    message = {"token": await device(web), **changed}
    error = (await web.post(SEND, json={"message": message}, headers=headers)).json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][1]["fieldViolations"][0]["field"] == wrong


async def test_message_that_is_too_long_is_refused(web: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    message = {"token": await device(web), "data": {"a": "x" * 4096}}
    assert (await web.post(SEND, json={"message": message}, headers=headers)).status_code == 400


async def test_stranger_is_refused(web: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    message = {"token": await device(web)}
    for given in ({}, {"Authorization": "Bearer none"}):
        assert (await web.post(SEND, json={"message": message}, headers=given)).status_code == 401
    elsewhere = SEND.replace(PROJECT, "another-project")
    assert (await web.post(elsewhere, json={"message": message}, headers=headers)).json()["error"][
        "status"
    ] == "NOT_FOUND"
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}
    assert (await web.post("/fcm/token", data=form)).json()["error"] == "invalid_grant"
