"""Hearing from people: bots that are asked, and files that are fetched."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import httpx2
import pytest

from deploy.sandbox import twilio as simulator
from deploy.sandbox.faults import Fault
from deploy.sandbox.server import Sandbox
from deploy.sandbox.whatsapp_people import Answer, Attachment, answer
from notify_service.domain.channels import Setup
from notify_service.domain.channels.http import Refused
from notify_service.domain.channels.twilio import PROVIDER as TWILIO
from notify_service.domain.channels.twilio_media import download_item
from tests.notify.asking import TOKEN, Person
from tests.notify.chats import Outside, new_chat
from tests.notify.desks import WhatsAppDesk
from tests.notify.desks import phone as new_phone
from tests.notify.hearings import hearing, told, well
from tests.notify.test_hooks import APP_SECRET, Number, written
from tests.notify.world import World, eventually

PDF = b"%PDF-1.7 a parcel"
_accounts = count(1)


@pytest.fixture
async def telegram(web: httpx2.AsyncClient) -> Outside:
    return Outside(web, "telegram")


@pytest.fixture(scope="module")
async def polled(api: httpx2.AsyncClient, issue_token: Callable[..., str], provider: Sandbox) -> AsyncIterator[str]:
    """A bot that is asked. There is one: two who asked would take each other's news."""
    admin = Person(api, issue_token(None, roles=["admin"]))
    name = f"asked-{next(_accounts)}"
    config = {"base_url": f"http://127.0.0.1:{provider.http_port}/telegram", "mode": "polling"}
    body = {"name": name, "provider": "telegram", "config": config, "secrets": {"token": TOKEN}}
    assert (await admin.call("POST", "/accounts", json=body)).status_code == 201
    yield name
    await admin.call("PATCH", f"/accounts/{name}", json={"enabled": False})


@pytest.mark.promise("N14", "N31", "N39")
async def test_bot_that_is_polled_loses_nothing_and_hears_nothing_twice(
    admin: Person, world: World, provider: Sandbox, web: httpx2.AsyncClient, *, telegram: Outside, polled: str
) -> None:
    # Somebody had it called; nobody can ask before that is over.
    await web.post(f"/telegram/bot{TOKEN}/setWebhook", json={"url": "http://127.0.0.1:9/nobody"})
    chat = new_chat()
    await eventually(lambda: provider.telegram.updates.url == "")
    await telegram.order("chats", id=chat)

    async def texts() -> list[str]:
        query = "SELECT text FROM inbound_message WHERE account = $1 AND peer = $2 ORDER BY id"
        return [row["text"] for row in await world.sql(query, polled, str(chat))]

    await eventually(texts)
    # What is fetched cannot be stored: nothing of it stays, and nobody tells Telegram that it has arrived.
    before = len(await told(world, polled))
    [row] = await world.sql("SELECT cursor FROM polling WHERE account = $1", polled)
    stays = f"account <> '{polled}' OR cursor = '{row['cursor']}'"
    await world.sql(f"ALTER TABLE polling ADD CONSTRAINT stays CHECK ({stays}) NOT VALID")
    try:
        await telegram.order(f"chats/{chat}/messages", content={"text": "One"})
        await eventually(lambda: _ill(admin, polled, "fault"))
        assert len(await told(world, polled)) == before
    finally:
        await world.sql("ALTER TABLE polling DROP CONSTRAINT stays")
    conflict = Fault(match="getUpdates", reply="409 Conflict: terminated by other getUpdates request", times=1000)
    provider.telegram.faults.add(conflict)
    await telegram.order(f"chats/{chat}/messages", content={"text": "Two"})
    await eventually(lambda: _ill(admin, polled, "conflict"))
    provider.telegram.faults.clear()
    await telegram.order(f"chats/{chat}/messages", content={"text": "Three"})

    async def whole() -> bool:
        return await texts() == ["/start", "One", "Two", "Three"]

    await eventually(whole)
    assert await well(admin, polled)
    assert (await admin.get(f"/accounts/{polled}"))["state"] == "ok"


async def _ill(admin: Person, account: str, fault: str) -> bool:
    found = await hearing(admin, account)
    return found is not None and found["fault"] == fault


@pytest.mark.promise("N38")
async def test_file_is_fetched_once_and_for_those_alone_who_may_see_it(
    admin: Person, as_user: Any, world: World, provider: Sandbox, *, telegram: Outside, polled: str
) -> None:
    chat = new_chat()
    await telegram.order("chats", id=chat)
    path = f"/accounts/{polled}/threads/{chat}/media"

    async def write(name: str, content: bytes) -> None:
        document = {"file_name": name, "mime_type": "application/pdf"}
        file = base64.b64encode(content).decode()
        await telegram.order(f"chats/{chat}/messages", content={"document": document}, file=file)

    async def states() -> list[Any]:
        return [(each["name"], each["state"], each["reason"]) for each in (await admin.get(path))["results"]]

    async def reach(*wanted: Any) -> None:
        async def check() -> bool:
            return await states() == list(wanted)

        await eventually(check)

    content = PDF + secrets.token_bytes(3000)
    # The provider fails once, and is asked again.
    provider.telegram.faults.add(Fault(match="getFile", reply="500 Internal Server Error"))
    await write("../a\u202efdp.pdf", content)
    await reach(("afdp.pdf", "here", None))
    await write("b.pdf", content)
    await write("c.pdf", b"MZ\x90\x00 what computers run")
    here = (("b.pdf", "here", None), ("afdp.pdf", "here", None))
    await reach(("c.pdf", "gone", "type_not_allowed"), *here)
    second, first = (await admin.get(path))["results"][1:]
    assert (first["type"], first["size"], first["sha256"]) == ("application/pdf", len(content), second["sha256"])
    kept = await world.sql("SELECT content FROM inbound_media WHERE sha256 = $1", first["sha256"])
    assert [bytes(row["content"]) for row in kept] == [content]
    answer_ = await admin.call("GET", f"{path}/{first['id']}")
    assert (answer_.status_code, answer_.content) == (200, content)
    assert answer_.headers["content-disposition"].startswith('attachment; filename="afdp.pdf"')
    assert (answer_.headers["content-type"], answer_.headers["x-content-type-options"]) == (
        "application/pdf",
        "nosniff",
    )
    for other in (path.replace(str(chat), "1"), path.replace(polled, "smtp")):
        assert (await admin.call("GET", f"{other}/{first['id']}")).status_code == 404
    for place in (path, f"{path}/{first['id']}"):
        assert (await as_user().call("GET", place)).status_code == 403
    # After a day nobody asks again.
    provider.telegram.faults.add(Fault(match="getFile", reply="500 Internal Server Error", times=1000))
    await write("d.pdf", content)
    await reach(("d.pdf", "waiting", "500"), ("c.pdf", "gone", "type_not_allowed"), *here)
    late = "UPDATE inbound_file SET created_at = now() - interval '2 days' WHERE account = $1 AND sha256 IS NULL"
    await world.sql(late, polled)
    await reach(("d.pdf", "gone", "500"), ("c.pdf", "gone", "type_not_allowed"), *here)
    provider.telegram.faults.clear()


@pytest.mark.promise("N38")
async def test_picture_from_whatsapp_is_fetched_with_the_token_of_the_account(
    admin: Person, api: httpx2.AsyncClient, world: World
) -> None:
    desk = WhatsAppDesk(world.sandbox)
    name = f"wa-{secrets.token_hex(4)}"
    config = {"phone_number_id": desk.number.id, "base_url": f"{desk.url}/whatsapp"}
    known = {"token": "parley", "app_secret": APP_SECRET}
    body = {"name": name, "provider": "whatsapp", "config": config, "secrets": known}
    assert (await admin.call("POST", "/accounts", json=body)).status_code == 201
    phone, picture = new_phone(), b"\x89PNG\r\n\x1a\n" + secrets.token_bytes(100)
    file = Attachment(content=base64.b64encode(picture).decode())
    said = answer(desk.whatsapp, desk.number, desk.whatsapp.person(phone), Answer(file=file))
    number = Number(admin, api, desk, name)
    assert (await number.tell(written(phone, type="image", image=said.content))).status_code == 200
    path = f"/accounts/{name}/threads/{phone}/media"

    async def fetched() -> Any:
        found = await admin.call("GET", path)
        results = found.json()["results"] if found.status_code == 200 else []
        return results if results and results[0]["state"] == "here" else None

    [found] = await eventually(fetched)
    assert (found["kind"], found["type"], found["size"]) == ("image", "image/png", len(picture))
    assert (await admin.call("GET", f"{path}/{found['id']}")).content == picture


@pytest.mark.promise("N38")
async def test_picture_of_a_text_is_fetched_from_twilio_with_the_account(
    admin: Person, provider: Sandbox, web: httpx2.AsyncClient, door: str
) -> None:
    name, phone = f"twilio-{secrets.token_hex(4)}", new_phone()
    config = {
        "account_sid": simulator.ACCOUNT_SID,
        "sender": "+12025550100",
        "base_url": f"{web.base_url}".rstrip("/") + "/twilio",
    }
    body = {"name": name, "provider": "twilio", "rank": 9_000, "config": config}
    body["secrets"] = {"auth_token": simulator.AUTH_TOKEN}
    assert (await admin.call("POST", "/accounts", json=body)).status_code == 201
    await web.put("/twilio/callbacks", json={"url": f"{door}/twilio/{name}"})
    picture = b"\x89PNG\r\n\x1a\n" + secrets.token_bytes(100)
    said = {"phone": phone, "file": base64.b64encode(picture).decode(), "type": "image/png"}
    assert (await web.post("/twilio/answers", json=said)).status_code == 201
    path = f"/accounts/{name}/threads/{phone}/media"

    async def fetched() -> Any:
        found = await admin.get(path)
        return found["results"] if found["results"] and found["results"][0]["state"] == "here" else None

    [found] = await eventually(fetched)
    assert (found["kind"], found["type"], found["size"]) == ("image", "image/png", len(picture))
    assert (await admin.call("GET", f"{path}/{found['id']}")).content == picture
    assert provider.twilio.callbacks.refused == 0
    await admin.call("PATCH", f"/accounts/{name}", json={"enabled": False})


MEDIA = f"2010-04-01/Accounts/{simulator.ACCOUNT_SID}/Messages/MM{'0' * 32}/Media/ME{'0' * 32}"


@pytest.mark.promise("N38")
@pytest.mark.parametrize(
    ("url", "answered", "code"),
    [
        (f"https://evil.test/{MEDIA}", "200 OK", "bad_address"),
        (f"{{base}}@evil.test/{MEDIA}", "200 OK", "bad_address"),
        (f"{{base}}/{MEDIA.replace('AC0', 'AC1')}", "200 OK", "bad_address"),
        (f"{{base}}/{MEDIA}/../../secrets", "200 OK", "bad_address"),
        # Of a machine inside, to which nobody shall be led.
        (f"{{base}}/{MEDIA}", "307 Go\r\nLocation: http://127.0.0.2:9/", "bad_answer"),
        (f"{{base}}/{MEDIA}", "307 Go\r\nLocation: https://media.twiliocdn.com.evil.test/", "bad_answer"),
        (f"{{base}}/{MEDIA}", "404 No", "gone"),
        (f"{{base}}/{MEDIA}", "200 OK", "too_large"),
    ],
)
async def test_nothing_is_fetched_for_twilio_from_elsewhere(url: str, answered: str, code: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        content = "too large.." if answered == "200 OK" else ""
        writer.write(f"HTTP/1.1 {answered}\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = {"account_sid": simulator.ACCOUNT_SID, "sender": "+12025550100", "base_url": base}
    known = {"auth_token": simulator.AUTH_TOKEN}
    setup = Setup("x", TWILIO.config.model_validate(config), TWILIO.secrets.model_validate(known))
    async with server:
        with pytest.raises(Refused) as refused:
            await download_item(setup, {"url": url.format(base=base)}, 10)
    assert refused.value.outcome.code == code
