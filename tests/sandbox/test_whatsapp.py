"""WhatsApp, as a business and as the people it writes to."""

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import httpx2
import pytest

from deploy.sandbox.server import Sandbox
from deploy.sandbox.whatsapp_state import text_template
from tests.sandbox.receiver import receiving

TOKEN = {"Authorization": "Bearer parley"}
NUMBER, BUSINESS = "106540352242922", "102290129340398"
API = f"/whatsapp/v25.0/{NUMBER}"
ADA, BOB = "+12025550101", "+491511234567"
TEXT = {"messaging_product": "whatsapp", "to": ADA, "type": "text", "text": {"body": "Hello."}}
HELLO = {"name": "hello_world", "language": {"code": "en_US"}}
TEMPLATE = {"messaging_product": "whatsapp", "to": ADA, "type": "template", "template": HELLO}


async def post(web: httpx2.AsyncClient, body: Any, **headers: str) -> httpx2.Response:
    return await web.post(f"{API}/messages", json=body, headers={**TOKEN, **headers})


async def write(web: httpx2.AsyncClient, phone: str = ADA, **what: Any) -> Any:
    answer = await web.post(f"/whatsapp/people/{phone}/messages", json=what or {"text": "Hi."})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def messages(web: httpx2.AsyncClient, to: str = "") -> Any:
    return (await web.get("/whatsapp/messages", params={"to": to.removeprefix("+")})).json()["results"]


async def code(web: httpx2.AsyncClient, body: Any) -> int:
    return int((await post(web, body)).json()["error"]["code"])


async def test_message_is_answered_as_meta_does(web: httpx2.AsyncClient) -> None:
    answer = await post(web, TEMPLATE)
    body = answer.json()
    assert (answer.status_code, body["messaging_product"]) == (200, "whatsapp")
    assert body["contacts"] == [{"input": ADA, "wa_id": "12025550101"}]
    [message] = body["messages"]
    assert message == {"id": message["id"], "message_status": "accepted"}
    assert message["id"].startswith("wamid.")
    [effect] = (await web.get("/effects", params={"provider": "whatsapp"})).json()["results"]
    assert (effect["kind"], effect["recipients"], effect["data"]["message"]) == ("delivered", [ADA], message["id"])


async def test_stranger_is_refused_in_the_words_of_the_graph(web: httpx2.AsyncClient) -> None:
    for token in ("", "Bearer wrong", "parley"):
        answer = await post(web, TEXT, Authorization=token)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["type"]) == (401, 190, "OAuthException")
        assert set(error) == {"message", "type", "code", "error_data", "fbtrace_id"}
        assert error["error_data"]["messaging_product"] == "whatsapp"


FILE = {"id": "1", "link": "https://a.test/a.png"}
ROWS = [{"id": str(each), "title": "t"} for each in range(6)]
LIST = {"type": "list", "body": {"text": "x"}, "action": {"button": "b", "sections": [{"rows": ROWS}, {"rows": ROWS}]}}


NO_MESSAGES: list[tuple[dict[str, Any], int]] = [
    ({"type": "poll"}, 100), ({"more": 1}, 100), ({"text": {"body": "x", "loud": True}}, 100),
    ({"text": {}}, 131008), ({"messaging_product": None}, 131009), ({"text": {"body": ""}}, 131009),
    ({"text": {"body": "x" * 4097}}, 131009), ({"to": "call me"}, 131009), ({"to": None}, 131008),
    ({"to": None, "recipient": "US.1"}, 131009), ({"type": "image", "image": FILE, "text": None}, 131009),
    ({"biz_opaque_callback_data": "x" * 513}, 131009), ({"to": "15550783881"}, 131021),
    ({"type": "interactive", "interactive": LIST, "text": None}, 131009),
]  # fmt: skip


async def test_what_is_no_message_is_refused(web: httpx2.AsyncClient) -> None:
    for changed, refused in NO_MESSAGES:
        body = {name: value for name, value in {**TEXT, **changed}.items() if value is not None or name[0] == "m"}
        assert (changed, await code(web, body)) == (changed, refused)
    assert await messages(web) == []


async def test_what_is_not_there_is_refused(web: httpx2.AsyncClient) -> None:
    for path in (f"/whatsapp/latest/{NUMBER}", "/whatsapp/v25.0/1", f"{API}?fields=secret", f"{API}0/media"):
        answer = await web.get(path, headers=TOKEN)
        assert answer.status_code in (400, 404, 405)


@pytest.mark.promise("N69")
async def test_words_are_free_for_a_day_after_somebody_wrote(web: httpx2.AsyncClient) -> None:
    states = []
    for seconds in (0, 24 * 3600 - 60, 120):
        if seconds:
            await web.post("/whatsapp/clock", json={"seconds": seconds})
        else:
            await write(web)
        await post(web, TEXT)
        states.append((await messages(web))[0]["statuses"][-1])
    assert states == ["delivered", "delivered", "failed"]
    [late] = (await web.get("/effects", params={"provider": "whatsapp"})).json()["results"][-1:]
    assert (late["kind"], late["data"]["code"]) == ("failed", 131047)


async def test_more_than_45_at_once_are_too_many_for_one_person(web: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    sandbox.whatsapp.businesses[BUSINESS].numbers[NUMBER].per_second = 1000
    with sandbox.whatsapp.clock.standing():
        codes = [(await post(web, TEMPLATE)).status_code for _ in range(45)]
        assert codes == [200] * 45
        assert await code(web, TEMPLATE) == 131056
    assert (await post(web, {**TEMPLATE, "to": BOB})).status_code == 200
    await web.post("/whatsapp/clock", json={"seconds": 300})
    assert (await post(web, TEMPLATE)).status_code == 200


async def test_number_has_its_pace(web: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    await web.put(f"/whatsapp/numbers/{NUMBER}", json={"per_second": 2})
    people = [f"+4915112345{each}" for each in range(100, 120)]
    with sandbox.whatsapp.clock.standing():
        answers = await asyncio.gather(*(post(web, {**TEMPLATE, "to": each}) for each in people))
    assert any(each.status_code == 429 and each.json()["error"]["code"] == 130429 for each in answers)


async def test_tier_counts_people_who_are_written_to_first(web: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    business = sandbox.whatsapp.businesses[BUSINESS]
    business.reached = {f"+1303555{each:04}": sandbox.whatsapp.clock.seconds() for each in range(249)}
    await write(web, BOB)
    for phone in (BOB, ADA, ADA, "+447700900123"):
        await post(web, {**TEMPLATE, "to": phone})
    assert [each["statuses"][-1] for each in await messages(web) if "to" in each] == [
        "failed", "delivered", "delivered", "delivered",
    ]  # fmt: skip
    await web.post("/whatsapp/clock", json={"seconds": 25 * 3600})
    await post(web, {**TEMPLATE, "to": "+447700900123"})
    assert (await messages(web))[0]["statuses"][-1] == "delivered"


async def test_person_decides_what_arrives(web: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    offer = text_template("offer", "Cheap!", category="MARKETING")
    sandbox.whatsapp.businesses[BUSINESS].templates["offer", "en_US"] = offer
    changes = (
        ({"on_whatsapp": False}, 131026), ({"blocks": True}, 131026), ({"fails_with": 131049}, 131049),
        ({"wants_marketing": False}, 131050), ({"name": "Ada"}, None),
    )  # fmt: skip
    for index, (change, failed) in enumerate(changes):
        phone = f"+1202555010{index}"
        await web.put(f"/whatsapp/people/{phone}", json=change)
        await post(web, {**TEMPLATE, "to": phone, "template": {**HELLO, "name": "offer"}})
        assert (await messages(web))[0]["statuses"][-1] == ("failed" if failed else "delivered")
        effect = (await web.get("/effects", params={"provider": "whatsapp"})).json()["results"][-1]
        assert effect["data"]["code"] == failed


def filled(*values: str, button: str | None = "7", header: str | None = None) -> list[dict[str, Any]]:
    def texts(*given: str) -> list[dict[str, str]]:
        return [{"type": "text", "text": each} for each in given]

    found: list[dict[str, Any]] = [{"type": "body", "parameters": texts(*values)}]
    if button is not None:
        found.append({"type": "button", "sub_type": "url", "index": "0", "parameters": texts(button)})
    if header is not None:
        found.append({"type": "header", "parameters": texts(header)})
    return found


UNFIT: list[tuple[dict[str, Any], int]] = [
    ({"name": "nothing"}, 132001), ({"language": {"code": "fr"}}, 132001), ({"components": filled("a")}, 132000),
    ({"components": filled("a", "b", button=None)}, 131008), ({"components": filled("a", "b\n")}, 132012),
    ({"components": filled("a", "b", header="c")}, 132000), ({"components": filled("a", "b" * 1024)}, 132005),
    ({"components": filled("a", "")}, 132012), ({"name": "hello_world", "components": filled(button="7")}, 132000),
]  # fmt: skip


async def test_template_is_filled_exactly(web: httpx2.AsyncClient) -> None:
    order = {**HELLO, "name": "order_update", "components": filled("a", "b")}
    assert (await post(web, {**TEMPLATE, "template": order})).status_code == 200
    for template, refused in UNFIT:
        assert (template, await code(web, {**TEMPLATE, "template": {**order, **template}})) == (template, refused)


async def test_template_that_is_not_approved_is_not_sent(web: httpx2.AsyncClient) -> None:
    for status, refused in (("PAUSED", 132015), ("DISABLED", 132016), ("REJECTED", 132001)):
        await web.put("/whatsapp/templates/hello_world/en_US", json={"status": status})
        assert await code(web, TEMPLATE) == refused


async def test_person_answers_in_every_way(web: httpx2.AsyncClient) -> None:
    await write(web)
    buttons = [{"type": "reply", "reply": {"id": "y", "title": "Yes"}}]
    asked = {"type": "button", "body": {"text": "Well?"}, "action": {"buttons": buttons}}
    await post(web, {"messaging_product": "whatsapp", "to": ADA, "type": "interactive", "interactive": asked})
    question = (await messages(web))[0]["id"]
    picture = {"mime": "image/png", "content": base64.b64encode(b"png").decode(), "caption": "Me"}
    ways: list[dict[str, Any]] = [
        {"button": "y", "reply_to": question}, {"emoji": "\u2764", "reply_to": question}, {"file": picture},
        {"place": {"latitude": 1.5, "longitude": 2, "name": "Here"}}, {"contact": BOB}, {"unsupported": True},
    ]  # fmt: skip
    kinds = [(await write(web, **way))["type"] for way in ways]
    assert kinds == ["interactive", "reaction", "image", "location", "contacts", "unsupported"]
    wrong: list[dict[str, Any]] = [
        {},
        {"text": "a", "emoji": "b"},
        {"button": "y"},
        {"button": "n", "reply_to": question},
    ]
    for way in [*wrong, {"file": {"content": "%"}}]:
        assert (await web.post(f"/whatsapp/people/{ADA}/messages", json=way)).status_code == 422


@pytest.mark.promise("N69")
async def test_business_is_told_signed_and_in_any_manner(web: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    async with receiving() as receiver:
        manners = {"url": receiver.url, "batch": 10, "delay_ms": 50}
        await web.put(f"/whatsapp/numbers/{NUMBER}", json={"callbacks": manners})
        await write(web, text="One")
        await write(web, BOB, text="Two")
        await post(web, {**TEMPLATE, "biz_opaque_callback_data": "mine"})
        await web.post(f"/whatsapp/people/{ADA}/read")
        await web.put("/whatsapp/templates/hello_world/en_US", json={"status": "PAUSED"})
        await web.put(f"/whatsapp/numbers/{NUMBER}", json={"tier": 2000})
        for path, event in ((f"numbers/{NUMBER}", "FLAGGED"), (f"businesses/{BUSINESS}", "DISABLED_UPDATE")):
            assert (await web.post(f"/whatsapp/{path}/notices", json={"event": event})).status_code == 204
        assert (await web.post("/whatsapp/businesses/1/notices", json={"event": "A"})).status_code == 404
        callbacks = sandbox.whatsapp.businesses[BUSINESS].callbacks
        async with asyncio.timeout(30):
            while not callbacks.idle:
                await asyncio.sleep(0.01)
        secret = sandbox.whatsapp.options.app_secret.encode()
        changes = []
        for body, headers in receiver.heard:
            made = hmac.new(secret, body, hashlib.sha256).hexdigest()
            assert headers["x-hub-signature-256"] == f"sha256={made}"
            changes += [change for entry in json.loads(body)["entry"] for change in entry["changes"]]
    fields = {change["field"] for change in changes}
    accounts = {"business_capability_update", "phone_number_quality_update", "account_update"}
    assert fields == {"messages", "message_template_status_update", *accounts}
    told = [change["value"] for change in changes if change["field"] == "messages"]
    assert [each["text"]["body"] for value in told for each in value.get("messages", ())] == ["One", "Two"]
    statuses = [each for value in told for each in value.get("statuses", ())]
    assert [each["status"] for each in statuses] == ["sent", "delivered", "read"]
    assert {each["biz_opaque_callback_data"] for each in statuses} == {"mine"}


async def test_phone_shows_what_came_and_answers(web: httpx2.AsyncClient) -> None:
    assert "No message yet" in (await web.get("/whatsapp")).text
    await write(web, text="<script>alert(1)</script>")
    await post(web, TEXT)
    page = (await web.get("/whatsapp/phones/12025550101")).text
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "Hello." in (await web.get("/whatsapp")).text
    for doing, form in (("say", {"text": "Thanks."}), ("look", {}), ("block", {})):
        answer = await web.post(f"/whatsapp/phones/12025550101/{doing}", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/whatsapp/phones/12025550101")
    newest, hello, *_ = await messages(web)
    assert (newest["text"], hello["statuses"][-1]) == ("Thanks.", "read")
    assert "Unblock" in (await web.get("/whatsapp/phones/12025550101")).text
    assert 'href="/whatsapp"' in (await web.get("/")).text


async def test_messages_and_faults_are_forgotten(web: httpx2.AsyncClient) -> None:
    await post(web, TEMPLATE)
    await web.post("/whatsapp/faults", json={"reply": "500 broken"})
    assert len((await web.get("/whatsapp/faults")).json()["results"]) == 1
    assert (await web.delete("/whatsapp/faults")).status_code == 204
    assert (await web.delete("/whatsapp/messages")).status_code == 204
    assert await messages(web) == []


async def test_who_is_no_phone_is_nobody(web: httpx2.AsyncClient) -> None:
    assert (await web.put("/whatsapp/people/ada", json={})).status_code == 404
    assert (await web.post(f"/whatsapp/people/{ADA}/read", params={"number": "1"})).status_code == 404
