"""The simulated Twilio."""

import httpx2
import pytest

from deploy.sandbox.twilio import ACCOUNT_SID, AUTH_TOKEN

PATH = f"/twilio/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"
TEXT = {"To": "+12025550101", "From": "+12025550100", "Body": "Hello <there>"}


async def send(web: httpx2.AsyncClient, **changed: str) -> httpx2.Response:
    return await web.post(PATH, data={**TEXT, **changed}, auth=(ACCOUNT_SID, AUTH_TOKEN))


async def test_text_is_taken_and_shown(web: httpx2.AsyncClient) -> None:
    answer = await send(web)
    assert (answer.status_code, answer.json()["status"]) == (201, "delivered")
    [effect] = (await web.get("/effects", params={"provider": "twilio"})).json()["results"]
    assert (effect["kind"], effect["recipients"]) == ("delivered", [TEXT["To"]])
    page = (await web.get("/twilio")).text
    assert "Hello &lt;there&gt;" in page
    assert 'href="/twilio"' in (await web.get("/")).text


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"To": ""}, 21604),
        ({"To": "0151"}, 21211),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"To": "+15005550009"}, 21614),
    ],
)
async def test_what_is_no_text_is_refused(web: httpx2.AsyncClient, changed: dict[str, str], code: int) -> None:
    answer = await send(web, **changed)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert (await web.get("/twilio/messages")).json()["total"] == 0


async def test_stranger_is_refused(web: httpx2.AsyncClient) -> None:
    answer = await web.post(PATH, data=TEXT, auth=(ACCOUNT_SID, "wrong"))
    assert (answer.status_code, answer.json()["code"]) == (401, 20003)


async def test_person_answers_and_stops(web: httpx2.AsyncClient) -> None:
    assert "No message yet" in (await web.get("/twilio")).text
    form = {"phone": "+12025550101", "text": "STOP"}
    assert (await web.post("/twilio/write", data=form)).status_code == 303
    assert (await send(web)).json()["code"] == 21610
    assert "STOP" in (await web.get("/twilio", params={"to": "0101"})).text


async def test_texts_stay_where_they_are_if_wanted(web: httpx2.AsyncClient) -> None:
    await web.put("/twilio/rules", json={"arrive": False})
    text = (await send(web)).json()
    assert text["status"] == "queued"
    changed = await web.post(f"/twilio/messages/{text['sid']}/status", json={"status": "failed", "code": 30008})
    assert (changed.json()["status"], changed.json()["error_code"]) == ("failed", 30008)
    assert (await web.post("/twilio/messages/SM0/status", json={"status": "sent"})).status_code == 404
