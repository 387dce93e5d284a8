"""The provider of text messages."""

import asyncio
from typing import Any

import httpx2
import pytest

ORDER = {"id": "m1", "to": "+12025550101", "from": "Parley", "text": "Your code is 123456."}
TOKEN = {"Authorization": "Bearer parley"}


async def send(web: httpx2.AsyncClient, **changed: Any) -> httpx2.Response:
    return await web.post("/sms/messages", json={**ORDER, **changed}, headers=TOKEN)


async def test_message_is_taken_and_shown(web: httpx2.AsyncClient) -> None:
    answer = await send(web)
    assert (answer.status_code, answer.json()) == (201, {"id": "sms-m1"})
    [shown] = (await web.get("/sms/messages")).json()["results"]
    assert (shown["to"], shown["from"], shown["text"]) == (ORDER["to"], ORDER["from"], ORDER["text"])
    [effect] = (await web.get("/effects", params={"provider": "sms"})).json()["results"]
    assert (effect["kind"], effect["recipients"]) == ("delivered", [ORDER["to"]])


async def test_message_sent_twice_arrives_once(web: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(send(web) for _ in range(5)))
    assert {a.json()["id"] for a in answers} == {"sms-m1"}
    assert (await web.get("/sms/messages")).json()["total"] == 1


@pytest.mark.parametrize("token", ["", "Bearer wrong", "parley", "Bearer ü"])
async def test_stranger_is_refused(web: httpx2.AsyncClient, token: str) -> None:
    answer = await web.post("/sms/messages", json=ORDER, headers={"Authorization": token.encode()})
    assert answer.status_code == 401
    assert (await web.get("/sms/messages")).json()["total"] == 0


@pytest.mark.parametrize(
    "changed", [{"to": "12025550101"}, {"to": "+1"}, {"text": ""}, {"text": "x" * 1601}, {"id": ""}, {"more": 1}]
)
async def test_what_is_no_message_is_refused(web: httpx2.AsyncClient, changed: dict[str, Any]) -> None:
    assert (await send(web, **changed)).status_code == 422


async def test_messages_are_found_by_number(web: httpx2.AsyncClient) -> None:
    await send(web)
    await send(web, id="m2", to="+491511234567")
    found = (await web.get("/sms/messages", params={"to": "+4915"})).json()
    assert (found["total"], found["results"][0]["id"]) == (1, "sms-m2")
    assert (await web.delete("/sms/messages")).status_code == 204
    assert (await web.get("/sms/messages")).json()["total"] == 0


async def test_scripted_refusal_is_shown_and_used_up(web: httpx2.AsyncClient) -> None:
    fault = {"match": "0101", "reply": "429 slow down", "times": 1}
    assert (await web.post("/sms/faults", json=fault)).status_code == 201
    assert len((await web.get("/sms/faults")).json()["results"]) == 1
    assert [(await send(web)).status_code for _ in range(2)] == [429, 201]


async def test_scripted_silence_may_hide_a_success(web: httpx2.AsyncClient) -> None:
    await web.post("/sms/faults", json={"drop": True, "after_data": True, "keep": True})
    with pytest.raises(httpx2.RemoteProtocolError):
        await send(web)
    assert (await web.get("/sms/messages")).json()["total"] == 1
    assert (await send(web)).status_code == 201
    assert (await web.get("/sms/messages")).json()["total"] == 1


async def test_faults_can_be_taken_back(web: httpx2.AsyncClient) -> None:
    await web.post("/sms/faults", json={"reply": "500 broken"})
    await web.delete("/sms/faults")
    assert (await send(web)).status_code == 201


async def test_page_lists_texts_and_escapes_them(web: httpx2.AsyncClient) -> None:
    assert "No message yet" in (await web.get("/texts")).text
    await send(web, text="<script>alert(1)</script>")
    page = (await web.get("/texts")).text
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert 'href="/texts"' in (await web.get("/")).text


async def test_page_is_filtered_and_emptied(web: httpx2.AsyncClient) -> None:
    await send(web)
    assert "+12025550101" in (await web.get("/texts", params={"to": "0101"})).text
    assert "+12025550101" not in (await web.get("/texts", params={"to": "999"})).text
    assert (await web.post("/texts/clear")).status_code == 303
    assert "No message yet" in (await web.get("/texts")).text


async def test_foreign_page_empties_nothing(web: httpx2.AsyncClient) -> None:
    answer = await web.post("/texts/clear", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
