"""What providers tell: proved, kept before it is answered, and brought to its deliveries in whatever order."""

import asyncio
import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from notify_service.domain.channels import ErrorClass
from notify_service.domain.receipts import Receipt, Standing, merged
from tests.notify.asking import Person, ended, send
from tests.notify.desks import WhatsAppDesk
from tests.notify.desks import phone as new_phone
from tests.notify.world import World, eventually

APP_SECRET = "an-apps-secret"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Number:
    """A WhatsApp account of ours, and what Meta would tell of it."""

    def __init__(self, admin: Person, api: httpx2.AsyncClient, desk: WhatsAppDesk, name: str) -> None:
        self.admin = admin
        self.desk = desk
        self.name = name
        self._api = api

    async def tell(self, *changes: Any, secret: str = APP_SECRET) -> httpx2.Response:
        value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": self.desk.number.id}}
        entry = [{"id": "1", "changes": [{"field": "messages", "value": {**value, **each}} for each in changes]}]
        return await self.post(json.dumps({"object": "whatsapp_business_account", "entry": entry}).encode(), secret)

    async def post(self, body: bytes, secret: str = APP_SECRET) -> httpx2.Response:
        made = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={made}"}
        return await self._api.post(f"/hooks/whatsapp/{self.name}", content=body, headers=headers)

    async def send(self, phone: str, **body: Any) -> Any:
        given_ = {"channel": "whatsapp", "content": {"text": "Hello"}, **body}
        [made] = (await send(self.admin, self.name, phone, **given_))["deliveries"]
        return made

    async def messages(self, phone: str) -> list[Any]:
        """What somebody has written, the newest first."""
        return list((await self.admin.get(f"/accounts/{self.name}/threads/{phone}/messages"))["results"])


def status(message: str, state: str, at: int = 0, **more: Any) -> dict[str, Any]:
    given_ = {"id": message, "status": state, "timestamp": str(1_700_000_000 + at), "recipient_id": "1", **more}
    return {"statuses": [given_]}


def written(phone: str, text: str = "Hi", **more: Any) -> dict[str, Any]:
    at = str(int(datetime.now(UTC).timestamp()))
    message = {"from": phone.lstrip("+"), "id": f"wamid.{secrets.token_hex(8)}", "timestamp": at, "type": "text"}
    return {"messages": [{**message, "text": {"body": text}, **more}]}


@pytest.fixture
def phone() -> str:
    return new_phone()


@pytest.fixture
async def number(admin: Person, api: httpx2.AsyncClient, world: World) -> Number:
    desk = WhatsAppDesk(world.sandbox)
    name = f"wa-{secrets.token_hex(4)}"
    config = {"phone_number_id": desk.number.id, "base_url": f"{desk.url}/whatsapp"}
    given_ = {"token": "parley", "app_secret": APP_SECRET, "verify_token": "a-word"}
    body = {"name": name, "provider": "whatsapp", "config": config, "secrets": given_}
    answer = await admin.call("POST", "/accounts", json=body)
    assert answer.status_code == 201, answer.text
    return Number(admin, api, desk, name)


@pytest.mark.promise("N29")
async def test_forged_or_malformed_calls_are_refused_and_nothing_is_kept(
    number: Number, api: httpx2.AsyncClient, world: World, phone: str
) -> None:
    assert (await number.tell(written(phone), secret="another")).status_code == 401
    unsigned = await api.post(f"/hooks/whatsapp/{number.name}", json=written(phone))
    assert (unsigned.status_code, unsigned.json()["code"]) == (401, "bad_signature")
    for body in (b"", b"no json", b"[]", b'{"object": "page"}'):
        assert (await number.post(body)).status_code == 400
    assert (await number.post(b"x" * (3 * 1024 * 1024 + 1))).status_code == 413
    for path in (f"/hooks/telegram/{number.name}", "/hooks/whatsapp/nobody", "/hooks/smtp/smtp"):
        assert (await api.post(path, content=b"{}")).status_code == 404
    assert await world.sql("SELECT id FROM told WHERE account = $1", number.name) == []


async def test_who_hangs_up_within_a_call_is_not_taken_for_a_forger(number: Number, door: str) -> None:
    host, port = door.removeprefix("http://").removesuffix("/hooks").split(":")
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /hooks/whatsapp/{number.name} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        writer.write(f'{head}Content-Length: 99\r\n\r\n{{"object":'.encode())
        await writer.drain()
        writer.close()

        async def over() -> list[Any]:
            return [each["status"] for each in logs if number.name in each.get("path", "")]

        assert await eventually(over) == [400]
    assert "hook_forged" not in {each["event"] for each in logs}


async def test_whoever_knows_the_word_may_set_the_hook_up(number: Number, api: httpx2.AsyncClient) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "a-word", "hub.challenge": "12345"}
    answer = await api.get(f"/hooks/whatsapp/{number.name}", params=asked)
    assert (answer.status_code, answer.text) == (200, "12345")
    wrong = await api.get(f"/hooks/whatsapp/{number.name}", params={**asked, "hub.verify_token": "another"})
    assert (wrong.status_code, "12345" in wrong.text) == (401, False)


@pytest.mark.promise("N30", "N31", "N32")
async def test_receipts_in_any_order_and_number_end_in_the_same_state(number: Number, world: World, phone: str) -> None:
    await number.tell(written(phone))
    made = [await number.send(phone) for _ in range(3)]
    number.desk.writes(phone)
    sent = [await ended(number.admin, each) for each in made]
    told = [
        status(row["provider_id"], state, at)
        for each in sent
        for row in await world.sql("SELECT provider_id FROM delivery WHERE id = $1", each["id"])
        for at, state in enumerate(("sent", "delivered", "read"))
    ] * 3
    secrets.SystemRandom().shuffle(told)
    # Several in one call, and each three times.
    for start in range(0, len(told), 5):
        assert (await number.tell(*told[start : start + 5])).status_code == 200

    async def read() -> Any:
        found = [await number.admin.get(f"/deliveries/{each['id']}") for each in made]
        ordered = all(each["state"] == "read" and each["delivered_at"] < each["read_at"] for each in found)
        return found if ordered else None

    assert await eventually(read)
    [count] = await world.sql("SELECT count(*) AS n FROM told WHERE account = $1 AND outcome <> 'applied'", number.name)
    [events] = await world.sql("SELECT count(*) AS n FROM told WHERE account = $1", number.name)
    assert (events["n"], count["n"] <= 9) == (10, True)


@pytest.mark.promise("N32")
async def test_failure_told_later_ends_the_message_and_its_reason_is_kept(
    number: Number, world: World, phone: str
) -> None:
    number.desk.writes(phone)
    made = await number.send(phone)
    await ended(number.admin, made)
    [row] = await world.sql("SELECT provider_id FROM delivery WHERE id = $1", made["id"])
    error = {"errors": [{"code": 131026, "title": "undeliverable"}]}
    await number.tell(status(row["provider_id"], "failed", **error))

    async def failed() -> Any:
        found = await number.admin.get(f"/deliveries/{made['id']}")
        return found if found["state"] == "failed" else None

    found = await eventually(failed)
    assert (found["reason"], found["error_code"]) == ("refused", "131026")


@pytest.mark.promise("N36", "N37")
async def test_free_text_goes_only_to_who_has_written_within_a_day_and_templates_to_all(
    number: Number, phone: str
) -> None:
    stranger = new_phone()
    assert (await number.tell(written(phone, "Hello you"))).status_code == 200
    number.desk.writes(phone)

    async def heard() -> Any:
        threads = (await number.admin.get(f"/accounts/{number.name}/threads"))["results"]
        return threads or None

    [thread] = await eventually(heard)
    assert (thread["peer"], thread["open"]) == (phone, True)
    assert datetime.fromisoformat(thread["window_closes_at"]) > datetime.now(UTC) + timedelta(hours=23)
    template = {"name": "hello_world", "language": "en_US"}
    both = {"content": {"text": "As you wish", "template": template}}
    made = [
        await number.send(to, **body) for to, body in ((phone, {}), (stranger, {}), (phone, both), (stranger, both))
    ]
    found = [await ended(number.admin, each) for each in made]
    assert [(each["state"], each["reason"]) for each in found] == [
        ("sent", None),
        ("failed", "window_closed"),
        ("sent", None),
        ("sent", None),
    ]
    assert found[1]["attempts"] == 0
    assert number.desk.texts(phone) == ["Hello", "As you wish"]
    assert len(number.desk.chats(stranger)) == 1


@pytest.mark.promise("N31")
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Only once \u0000 please", "Only once  please"),
        # Somebody writes the escape, not what it stands for.
        ("Only \\u0000 once", "Only \\u0000 once"),
        ("Half \ud800 a pair", "Half  a pair"),
    ],
)
async def test_message_that_is_told_again_is_one_message(
    number: Number, world: World, phone: str, text: str, kept: str
) -> None:
    said = written(phone, text)
    for _ in range(3):
        assert (await number.tell(said)).status_code == 200

    async def stored() -> Any:
        return await world.sql("SELECT peer, text FROM inbound_message WHERE account = $1", number.name)

    [row] = await eventually(stored)
    assert (row["peer"], row["text"]) == (phone, kept)
    [told] = await world.sql("SELECT count(*) AS n FROM told WHERE account = $1", number.name)
    assert told["n"] == 1


@pytest.mark.promise("N33")
async def test_call_that_cannot_be_stored_is_not_answered_with_success(
    number: Number, world: World, phone: str
) -> None:
    await world.sql("ALTER TABLE told RENAME TO told_elsewhere")
    try:
        refused = await number.tell(written(phone))
    finally:
        await world.sql("ALTER TABLE told_elsewhere RENAME TO told")
    assert refused.status_code >= 500
    assert (await number.tell(written(phone))).status_code == 200


@pytest.mark.promise("N33")
async def test_what_cannot_be_understood_holds_nobody_up_and_stays(number: Number, world: World, phone: str) -> None:
    # Of another release, and of a mistake of ours; both for the last time, and once for the first.
    strange = [("{}", 11), ('{"kind": "account", "dedupe_key": "a", "peer": "1", "code": "migrated"}', 11), ("{}", 0)]
    query = """
        INSERT INTO told (account, dedupe_key, event, attempts, received_at, next_at)
        SELECT $1, n::text, event, attempts, now(), now()
        FROM unnest($2::jsonb[], $3::int[]) WITH ORDINALITY AS given(event, attempts, n)
    """
    before = REGISTRY.get_sample_value("parley_told_total", {"outcome": "fault"}) or 0
    await world.sql(query, number.name, *zip(*strange, strict=True))
    assert (await number.tell(written(phone, "Nevertheless"))).status_code == 200
    await eventually(lambda: number.messages(phone))
    left = await world.sql("SELECT * FROM told WHERE account = $1 AND event IS NOT NULL ORDER BY id", number.name)
    assert [(row["outcome"], row["attempts"], row["next_at"] is None) for row in left] == [
        ("fault", 12, True),
        ("fault", 12, True),
        (None, 1, False),
    ]
    assert REGISTRY.get_sample_value("parley_told_total", {"outcome": "fault"}) == before + 2


@pytest.mark.promise("N36")
async def test_what_somebody_wrote_is_read_in_the_order_of_the_providers_clock(
    number: Number, as_user: Any, phone: str
) -> None:
    # Several within a second are in the order in which they were told.
    times = (0, 1, 1, 1, 2)
    said = [written(phone, text, timestamp=str(1_700_000_000 + at)) for at, text in zip(times, "abcde", strict=True)]
    for call in ((4, 0), (1, 2, 3), (0,)):
        assert (await number.tell(*(said[each] for each in call))).status_code == 200

    async def all_there() -> Any:
        found = await number.messages(phone)
        return found if len(found) == 5 else None

    assert [each["text"] for each in await eventually(all_there)] == list("edcba")
    path = f"/accounts/{number.name}/threads/{phone}/messages"
    first = await number.admin.get(path, limit=2)
    second = await number.admin.call("GET", first["next"].removeprefix("/api/v1"))
    assert [each["text"] for each in (*first["results"], *second.json()["results"])] == list("edcb")
    assert (await as_user().call("GET", path)).status_code == 403
    assert (await number.admin.call("GET", "/accounts/nobody/threads/1/messages")).status_code == 404
    for odd in (f"/accounts/{number.name}/threads/%00/messages", f"/accounts/{number.name}/threads/%00/media"):
        assert (await number.admin.call("GET", odd)).status_code == 422


RECEIPTS = st.lists(
    st.builds(
        Receipt,
        st.sampled_from(["sent", "delivered", "read", "failed"]),
        st.integers(0, 1000).map(lambda seconds: NOW + timedelta(seconds=seconds)),
        st.sampled_from([None, ErrorClass.WINDOW, ErrorClass.PERMANENT]),
        st.sampled_from(["131026", "131047"]),
    ).filter(lambda receipt: (receipt.error is ErrorClass.WINDOW) == (receipt.code == "131047")),
    max_size=6,
)


@pytest.mark.promise("N32")
@given(st.data(), RECEIPTS, st.sampled_from(["sent", "unknown", "retry", "queued"]))
def test_order_and_repetition_of_receipts_make_no_difference(
    data: st.DataObject, receipts: list[Receipt], state: str
) -> None:
    start = Standing(
        state, sent_at=NOW if state == "sent" else None, reason="no_answer" if state == "unknown" else None
    )
    in_order, shuffled = start, start
    for receipt in receipts:
        in_order = merged(in_order, receipt)
    for receipt in data.draw(st.permutations([*receipts, *receipts])):
        shuffled = merged(shuffled, receipt)
    assert shuffled == in_order
    reached = {receipt.state for receipt in receipts}
    for best in ("read", "delivered", "failed", "sent"):
        if best in reached:
            assert in_order.state == best
            break
    else:
        assert in_order.state == state
