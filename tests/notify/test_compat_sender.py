"""The calls with which the Sender client writes to people: exact, and limited by the day."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from libs.testing.clients import client
from libs.testing.clock import FakeClock
from notify_service.app import create_app
from tests.notify.asking import Person
from tests.notify.desks import WhatsAppDesk
from tests.notify.world import World, eventually

REFUSAL = {"success", "error", "message", "detail", "code"}


class Client:
    def __init__(self, http: httpx2.AsyncClient, token: str) -> None:
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}"}

    async def mail(self, **body: Any) -> httpx2.Response:
        given = {"to": "ada@example.test", "subject": "Hello", "message": "How are you?", **body}
        return await self._post("email", {name: value for name, value in given.items() if value is not None})

    async def whatsapp(self, **body: Any) -> httpx2.Response:
        given = {"to": "+12025550123", "message_type": "text", "message": "Hello", **body}
        return await self._post("whatsapp", {name: value for name, value in given.items() if value is not None})

    async def _post(self, call: str, body: Any) -> httpx2.Response:
        key = body.pop("key", None)
        headers = {**self.headers, **({"Idempotency-Key": key} if key else {})}
        return await self.http.post(f"/api/communications/{call}/", json=body, headers=headers)


@pytest.fixture
def sender(api: httpx2.AsyncClient, issue_token: Any) -> Client:
    return Client(api, issue_token(uuid4()))


@pytest.fixture(scope="session")
async def number(world: World, api: httpx2.AsyncClient, issue_token: Any) -> WhatsAppDesk:
    """The one WhatsApp account that sends without being named."""
    desk = WhatsAppDesk(world.sandbox)
    admin = Person(api, issue_token(uuid4(), roles=["admin"]))
    config = {"phone_number_id": desk.number.id, "base_url": f"{desk.url}/whatsapp"}
    body = {"name": "front", "provider": "whatsapp", "config": config, "secrets": {"token": "parley"}, "rank": 0}
    assert (await admin.call("POST", "/accounts", json=body)).status_code == 201
    return desk


@pytest.mark.promise("K14")
async def test_mail_is_queued_and_arrives_as_it_was_written(sender: Client, world: World) -> None:
    to = f"{uuid4().hex}@example.test"
    answer = await sender.mail(to=to, subject="Hi {{name}}", message="1 < 2 & {{x}}\nBye")
    task = answer.json()["data"].pop("task_id")
    assert answer.status_code == 202
    assert answer.json() == {"success": True, "data": {"message": "Email queued for delivery"}} | {
        "data": {"message": "Email queued for delivery", "task_id": task}
    }
    assert "success" in answer.text

    async def arrived() -> Any:
        return world.sandbox.postbox.mailbox.newest_first(to)

    [mail] = await eventually(arrived)
    assert mail.subject == "Hi {{name}}"
    assert "1 < 2 & {{x}}" in mail.text
    [row] = await world.sql("SELECT id FROM delivery WHERE address = $1", to)
    assert row["id"] == UUID(task)


@pytest.mark.promise("K14")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"to": "nobody"}, {"to": ["Enter a valid email address."]}),
        ({"to": "a@b.test\r\nBcc: c@d.test"}, {"to": ["Enter a valid email address."]}),
        ({"to": None}, {"to": ["This field is required."]}),
        ({"subject": None}, {"subject": ["This field is required."]}),
        ({"subject": "x" * 256}, {"subject": ["Ensure this field has no more than 255 characters."]}),
        ({"message": " "}, {"message": ["This field may not be blank."]}),
    ],
)
async def test_mail_that_cannot_be_sent_names_its_field(sender: Client, body: Any, error: Any) -> None:
    answer = await sender.mail(**body)
    assert answer.status_code == 400
    assert answer.json().keys() == REFUSAL
    assert (answer.json()["error"], answer.json()["message"]) == (error, next(iter(error.values()))[0])


@pytest.mark.promise("K14")
async def test_mails_of_a_day_have_a_limit_that_slides(world: World, issue_token: Any, clock: FakeClock) -> None:
    async with client(create_app(world.settings(mails_a_day=3), clock)) as http:
        sender = Client(http, issue_token(uuid4(), exp=int(clock.seconds()) + 7 * 86_400))
        first = await sender.mail(key="again")
        assert (await sender.mail(key="again")).json() == first.json()
        clock.advance(3600)
        answers = [await sender.mail() for _ in range(3)]
        assert [each.status_code for each in answers] == [202, 202, 429]
        refused = answers[-1]
        assert refused.json().keys() == REFUSAL
        assert 22 * 3600 < int(refused.headers["Retry-After"]) <= 23 * 3600
        other = Client(http, issue_token(uuid4(), exp=int(clock.seconds()) + 7 * 86_400))
        assert (await other.mail()).status_code == 202
        clock.advance(timedelta(hours=23, minutes=1).total_seconds())
        assert [(await sender.mail()).status_code for _ in range(2)] == [202, 429]


@pytest.mark.promise("K15")
async def test_whatsapp_is_queued_and_its_template_arrives(sender: Client, number: WhatsAppDesk, world: World) -> None:
    phone = "+12025550199"
    text, template = (
        await sender.whatsapp(to=phone),
        await sender.whatsapp(to=phone, message_type="template", message=None),
    )
    assert [each.status_code for each in (text, template)] == [202, 202]
    assert template.json()["data"]["message"] == "WhatsApp message queued for delivery"

    async def ended() -> Any:
        ids = [UUID(each.json()["data"]["task_id"]) for each in (text, template)]
        rows = await world.sql("SELECT id, state FROM delivery WHERE id = ANY($1)", ids)
        states = {row["id"]: row["state"] for row in rows}
        return [states[each] for each in ids] if set(states.values()) <= {"sent", "failed"} else None

    # Nobody at this phone has written to us: the text is refused by WhatsApp, and not by this call.
    assert (await eventually(ended))[1] == "sent"
    assert len(number.chats(phone)) >= 1


@pytest.mark.promise("K15")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"to": "12025550123"}, {"to": ["Phone number must start with + and country code"]}),
        ({"to": "+1"}, {"to": ["Enter a valid phone number."]}),
        ({"to": "+" + "1" * 20}, {"to": ["Ensure this field has no more than 20 characters."]}),
        ({"message": None}, {"message": ["Message is required for text message type"]}),
        ({"message_type": "x"}, {"message_type": ['"x" is not a valid choice.']}),
    ],
)
async def test_whatsapp_that_cannot_be_sent_names_its_field(
    sender: Client, number: WhatsAppDesk, body: Any, error: Any
) -> None:
    answer = await sender.whatsapp(**body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.promise("K15")
async def test_whatsapps_of_a_day_have_a_limit_of_their_own(
    world: World, issue_token: Any, number: WhatsAppDesk
) -> None:
    async with client(create_app(world.settings(whatsapps_a_day=1, mails_a_day=1))) as http:
        sender = Client(http, issue_token(uuid4()))
        assert (await sender.mail()).status_code == 202
        assert [(await sender.whatsapp()).status_code for _ in range(2)] == [202, 429]


async def test_where_nothing_is_set_up_the_call_says_so(own_world: World, issue_token: Any) -> None:
    async with client(create_app(own_world.settings())) as http:
        answer = await Client(http, issue_token(uuid4())).whatsapp()
        assert (answer.status_code, answer.json()["code"]) == (503, "no_channel")
        stranger = await http.post("/api/communications/email/", json={})
        assert stranger.status_code == 401
