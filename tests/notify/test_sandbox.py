"""The outside world as it is simulated: each provider, with all that it can do wrong, driven through the whole product.

Against the sandbox's log of effects, which is what people saw: the delivery may not say more than that, and nobody may
see anything twice.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from deploy.sandbox import twilio, webhook
from notify_service.domain.channels.registry import PROVIDERS
from tests.notify.asking import TOKEN, Person, ended, send
from tests.notify.chats import new_chat
from tests.notify.desks import WhatsAppDesk
from tests.notify.desks import phone as new_phone
from tests.notify.world import World, eventually

REACHED = frozenset({"sent", "delivered"})


@dataclass(frozen=True)
class Outlet:
    """A provider of the sandbox, with an account of it."""

    channel: str
    account: str
    path: str
    """Of its orders in the sandbox."""
    named: str
    """In the log of effects."""
    somebody: Callable[[], Awaitable[str]]
    """A new address."""
    later: str
    """A refusal that passes."""
    never: str
    """One that is of this message, and does not; empty: there is none."""
    silence: str = "unknown"
    """What becomes of a message that arrives, and whose answer does not."""
    whom: str | None = None
    """Who sees all messages, where the address does not say so."""


class Outside:
    def __init__(self, http: httpx2.AsyncClient, world: World, admin: Person) -> None:
        self.http = http
        self.url = f"{http.base_url}".rstrip("/")
        self.admin = admin
        self.world = world
        self.accounts: list[str] = []

    async def fault(self, outlet: Outlet, address: str, **fault: Any) -> None:
        match = outlet.whom or _name(address)
        answer = await self.http.post(f"{outlet.path}/faults", json={"match": match, **fault})
        assert answer.status_code == 201, answer.text

    async def seen(self, outlet: Outlet, address: str, after: int) -> int:
        """How often somebody saw a message since then, whoever brought it: another account may stand in."""
        who = outlet.whom or _name(address)
        only = {"provider": outlet.named} if address == "default" else {}
        answer = await self.http.get("/effects", params={"after": after, **only})
        found = [(each["kind"], each["recipients"]) for each in answer.json()["results"]]
        return found.count(("delivered", [who]))

    async def last_effect(self) -> int:
        found = (await self.http.get("/effects")).json()["results"]
        return int(found[-1]["number"]) if found else 0

    async def faults(self, outlet: Outlet, address: str) -> list[Any]:
        """Those that have not struck yet."""
        found = (await self.http.get(f"{outlet.path}/faults")).json()["results"]
        return [each for each in found if each["match"] == (outlet.whom or _name(address))]

    async def well(self, outlet: Outlet) -> bool:
        return bool((await self.admin.get(f"/accounts/{outlet.account}"))["state"] == "ok")

    async def account(self, provider: str, config: dict[str, Any], known: dict[str, Any]) -> str:
        name = f"{provider}-{secrets.token_hex(4)}"
        body = {"name": name, "provider": provider, "config": config, "secrets": known, "rank": 9_000}
        answer = await self.admin.call("POST", "/accounts", json=body)
        assert answer.status_code == 201, answer.text
        self.accounts.append(name)
        return name

    async def made(self, path: str, **body: Any) -> Any:
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()


def _name(address: str) -> str:
    """As the sandbox calls an address: a browser by the end of its subscription."""
    return json.loads(address)["endpoint"].rpartition("/")[2] if address.startswith("{") else address


async def _phone() -> str:
    return new_phone()


async def _default() -> str:
    return "default"


async def smtp(outside: Outside) -> Outlet:
    async def somebody() -> str:
        return f"{secrets.token_hex(8)}@example.test"

    return Outlet("email", "smtp", "/smtp", "smtp", somebody, "451 4.3.0 later", "554 5.7.1 no")


async def sms(outside: Outside) -> Outlet:
    return Outlet("sms", "sms", "/sms", "sms", _phone, "503 busy", "422 no number")


async def twilios(outside: Outside) -> Outlet:
    config = {"account_sid": twilio.ACCOUNT_SID, "sender": "+12025550100", "base_url": f"{outside.url}/twilio/"}
    account = await outside.account("twilio", config, {"auth_token": twilio.AUTH_TOKEN})
    return Outlet("sms", account, "/twilio", "twilio", _phone, "429 20429", "400 21211")


async def telegram(outside: Outside) -> Outlet:
    async def somebody() -> str:
        return str((await outside.made("/telegram/chats", id=new_chat()))["id"])

    account = await outside.account("telegram", {"base_url": f"{outside.url}/telegram"}, {"token": TOKEN})
    never = "400 Bad Request: chat not found"
    return Outlet("telegram", account, "/telegram", "telegram", somebody, "429 Too Many Requests: retry after 0", never)


async def whatsapp(outside: Outside) -> Outlet:
    desk = WhatsAppDesk(outside.world.sandbox)

    async def somebody() -> str:
        phone = await _phone()
        desk.writes(phone)
        return phone

    config = {"phone_number_id": desk.number.id, "base_url": f"{outside.url}/whatsapp"}
    account = await outside.account("whatsapp", config, {"token": "parley", "app_secret": "an-apps-secret"})
    return Outlet("whatsapp", account, "/whatsapp", "whatsapp", somebody, "429 130429", "400 131026")


async def slack(outside: Outside) -> Outlet:
    account = await outside.account("slack", {"base_url": f"{outside.url}/slack"}, {"webhook": "T000/B000/parley"})
    await outside.http.post("/slack/clock", json={"seconds": 60})
    return Outlet("slack", account, "/slack", "slack", _default, "429 rate_limited", "400 invalid_blocks")


async def discord(outside: Outside) -> Outlet:
    account = await outside.account("discord", {"base_url": f"{outside.url}/discord"}, {"webhook": "1/parley"})
    await outside.http.post("/discord/clock", json={"seconds": 600})
    return Outlet("discord", account, "/discord", "discord", _default, "429 slow down", "400 no such embed")


async def webpush(outside: Outside) -> Outlet:
    config = {"subject": "mailto:ops@example.test", "services": ["127.0.0.1"]}
    account = await outside.account("webpush", config, {})
    key = (await outside.admin.get(f"/accounts/{account}"))["config"]["public_key"]

    async def somebody() -> str:
        return json.dumps(await outside.made("/webpush/subscriptions", application_server_key=key))

    return Outlet("webpush", account, "/webpush", "webpush", somebody, "503 busy", "413 too large")


async def fcm(outside: Outside) -> Outlet:
    async def somebody() -> str:
        return str((await outside.made("/fcm/devices"))["token"])

    file = (await outside.http.get("/fcm/service-account.json")).text
    account = await outside.account("fcm", {"base_url": f"{outside.url}/fcm/"}, {"service_account": file})
    return Outlet("push", account, "/fcm", "fcm", somebody, "503 UNAVAILABLE", "400 INVALID_ARGUMENT")


async def customer(outside: Outside) -> Outlet:
    name = f"customer-{secrets.token_hex(4)}"
    account = await outside.account("webhook", {"url": f"{outside.url}/webhooks/{name}"}, {"secret": webhook.SECRET})
    # Its program knows our ids: what may have arrived goes again, and whatever it refuses.
    whom = {"silence": "sent", "whom": name}
    return Outlet("webhook", account, "/webhooks", "webhook", _default, "500 oops", "", **whom)


OUTLETS = {
    "smtp": smtp,
    "http": sms,
    "twilio": twilios,
    "telegram": telegram,
    "whatsapp": whatsapp,
    "slack": slack,
    "discord": discord,
    "webpush": webpush,
    "fcm": fcm,
    "webhook": customer,
}


@pytest.fixture
async def outside(world: World, admin: Person) -> AsyncIterator[Outside]:
    url = f"http://127.0.0.1:{world.sandbox.http_port}"
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        found = Outside(http, world, admin)
        yield found
    for name in found.accounts:
        await admin.call("PATCH", f"/accounts/{name}", json={"enabled": False})


async def play(outside: Outside, outlet: Outlet) -> None:
    """One message for each thing that goes right or wrong."""
    content = {"text": "Hello", **({"subject": "Hello"} if outlet.channel == "email" else {})}

    async def sent(**fault: Any) -> tuple[str, int]:
        """What a message to somebody new says of itself in the end, and how often it was seen."""
        await eventually(lambda: outside.well(outlet))
        address = await outlet.somebody()
        before = await outside.last_effect()
        if fault:
            await outside.fault(outlet, address, **fault)
        made = await send(outside.admin, outlet.account, address, channel=outlet.channel, content=content)
        found = await ended(outside.admin, made["deliveries"][0])
        assert await outside.faults(outlet, address) == [], (outlet, fault)
        # Where receipts are told it may be further by now.
        return "sent" if found["state"] in REACHED else found["state"], await outside.seen(outlet, address, before)

    assert await sent() == ("sent", 1), outlet
    assert await sent(delay_ms=10, slow_ms=50) == ("sent", 1), outlet
    if outlet.never:
        assert await sent(reply=outlet.never) == ("failed", 0), outlet
    # Nobody answers, whether or not the message was taken.
    assert await sent(drop=True, after_data=True, keep=True) == (outlet.silence, 1), outlet
    assert await sent(drop=True, after_data=True) == (outlet.silence, int(outlet.silence == "sent")), outlet
    assert await sent(reply=outlet.later) == ("sent", 1), outlet


@pytest.mark.promise("N69")
async def test_every_provider_is_played_with_all_that_it_does_wrong(outside: Outside) -> None:
    outlets = [await make(outside) for make in OUTLETS.values()]
    await asyncio.gather(*(play(outside, each) for each in outlets))


@pytest.mark.promise("N69")
def test_no_provider_is_left_out() -> None:
    # What is shown inside is sent to nobody outside.
    assert set(PROVIDERS) - {"inapp"} == set(OUTLETS)
