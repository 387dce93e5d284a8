"""Hearing back about mails: services that call, and mailboxes that are asked."""

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import httpx2
import pytest

from deploy.sandbox.imap import ImapServer
from deploy.sandbox.server import Sandbox, listen
from deploy.sandbox.smtp import SmtpOptions
from deploy.sandbox.smtp_tokens import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Habits
from deploy.sandbox.sns import PEM, TOPIC
from notify_service.domain.channels import ErrorClass, Setup
from notify_service.domain.channels.email import PROVIDER
from notify_service.domain.channels.email_mailbox import opened
from notify_service.domain.channels.http import Refused
from tests.notify.asking import Person, ended, send
from tests.notify.hearings import hearing, told, well
from tests.notify.test_email_hooks import mailgun, postmark, sendgrid, signed
from tests.notify.world import SMTP_PASSWORD, SMTP_USER, World, eventually

_accounts = count(1)

MakeAccount = Callable[..., Awaitable[str]]


@pytest.fixture
async def mail_account(admin: Person, provider: Sandbox) -> AsyncIterator[MakeAccount]:
    made: list[str] = []

    async def make(given: dict[str, Any] | None = None, **config: Any) -> str:
        name = f"mail-{next(_accounts)}"
        whole = {
            "host": "127.0.0.1",
            "port": provider.smtp_port,
            "user": SMTP_USER,
            "sender": "Parley <parley@example.test>",
            "certificates": provider.certificate.pem,
            "return_path": "bounces.example.test",
            "timeout": 10,
            **config,
        }
        known = {"return_path_key": "a key that nobody knows", **(given or {})}
        if "oauth" not in config:
            known["password"] = SMTP_PASSWORD
        # Behind all others, so that nobody else sends over it.
        body = {"name": name, "provider": "smtp", "rank": 9_000, "config": whole, "secrets": known}
        answer_ = await admin.call("POST", "/accounts", json=body)
        assert answer_.status_code == 201, answer_.text
        made.append(name)
        return name

    yield make
    for name in made:
        await admin.call("PATCH", f"/accounts/{name}", json={"enabled": False})


@pytest.fixture
async def reading(mail_account: MakeAccount, provider: Sandbox) -> MakeAccount:
    """`await reading({"mailbox_password": ...})`: an account with a mailbox."""

    async def make(given: dict[str, Any], **config: Any) -> str:
        mailbox = {"host": "127.0.0.1", "port": provider.imap_port, "seconds": 0.1}
        return await mail_account(given, mailbox=mailbox, **config)

    return make


async def mail(admin: Person, account: str, *to: str) -> list[Any]:
    content = {"subject": "News", "text": "There are news."}
    made = await send(admin, account, *to, channel="email", category="news", content=content)
    found = [await ended(admin, each) for each in made["deliveries"]]
    assert {each["state"] for each in found} == {"sent"}
    return found


def somebody() -> str:
    return f"{secrets.token_hex(8)}@example.test"


async def becomes(admin: Person, delivery: Any, state: str) -> Any:
    async def check() -> Any:
        found = await admin.get(f"/deliveries/{delivery['id']}")
        return found if found["state"] == state else None

    return await eventually(check)


async def held_back(admin: Person, address: str) -> list[tuple[str, str, bool]]:
    found = (await admin.get("/suppressions", address=address))["results"]
    return sorted((each["category"], each["reason"], each["until"] is None) for each in found)


async def suppressed(admin: Person, address: str) -> list[tuple[str, str, bool]]:
    return list(await eventually(lambda: held_back(admin, address)))


def message_of(provider: Sandbox, to: str) -> str:
    """The simulator's id of the last mail to somebody."""
    return provider.postbox.mailbox.newest_first(to)[0].id


@pytest.mark.promise("N29", "N30", "N31", "N32", "N67", "N68")
async def test_amazon_is_confirmed_and_heard_whatever_it_repeats_and_turns_round(
    admin: Person, world: World, provider: Sandbox, web: httpx2.AsyncClient, *, mail_account: MakeAccount, door: str
) -> None:
    hooks = {"service": "ses", "base_url": f"{web.base_url}".rstrip("/") + "/sns"}
    account = await mail_account({"hook_key": TOPIC}, hooks=hooks)
    assert (await web.post("/sns/subscription", json={"url": f"{door}/smtp/{account}"})).status_code == 201
    await eventually(lambda: provider.sns.confirmed)
    people = [somebody() for _ in range(4)]
    arrived, dead, angry, full = await mail(admin, account, *people)
    await web.put("/sns/callbacks", json={"copies": 3, "reverse": True, "delay_ms": 100})
    for to, kinds in zip(people, (["Delivery"], ["Bounce"], ["Delivery", "Complaint"], ["Bounce"]), strict=True):
        for kind in kinds:
            said = {"kind": kind, "permanent": to != people[3], "status": "5.2.2" if to == people[3] else "5.1.1"}
            answer_ = await web.post(f"/sns/messages/{message_of(provider, to)}", json=said)
            assert answer_.status_code == 204
    for each, state in ((arrived, "delivered"), (dead, "failed"), (angry, "delivered"), (full, "failed")):
        await becomes(admin, each, state)
    assert await suppressed(admin, people[1]) == [("*", "bounce", True)]
    assert await suppressed(admin, people[2]) == [("marketing", "complaint", True)]
    assert await held_back(admin, people[0]) == await held_back(admin, people[3]) == []
    await eventually(lambda: provider.sns.callbacks.idle)
    assert (provider.sns.callbacks.refused, provider.sns.fetched, len(await told(world, account))) == (0, 1, 5)
    [again] = (await send(admin, account, people[1], channel="email", content={"subject": "?", "text": "?"}))[
        "deliveries"
    ]
    assert (await ended(admin, again))["state"] == "suppressed"


@pytest.mark.promise("N29")
async def test_nothing_is_fetched_for_who_is_not_amazon(
    admin: Person, world: World, provider: Sandbox, web: httpx2.AsyncClient, *, mail_account: MakeAccount, door: str
) -> None:
    base = f"{web.base_url}".rstrip("/") + "/sns"
    account = await mail_account({"hook_key": TOPIC}, hooks={"service": "ses", "base_url": base})
    usual = {"Type": "Notification", "TopicArn": TOPIC, "SigningCertURL": f"{base}/{PEM}", "Message": "{}"}
    usual |= {"MessageId": "1", "Timestamp": "2026-01-02T03:04:05Z", "SignatureVersion": "2", "Signature": "AAAA"}
    before = provider.sns.fetched
    for changed, status in (
        ({"TopicArn": f"{TOPIC}-2"}, 401),
        ({"SigningCertURL": f"{base}/../smtp/certificate.pem"}, 401),
        ({"SigningCertURL": f"https://evil.test/{PEM}"}, 401),
        ({}, 401),
        # Amazon does not answer: it will tell again.
        ({"SigningCertURL": f"{base}/SimpleNotificationService-0.pem"}, 503),
    ):
        answer_ = await web.post(f"{door}/smtp/{account}", json={**usual, **changed})
        assert answer_.status_code == status, changed
    assert provider.sns.fetched - before <= 1
    assert await told(world, account) == []
    wrong = await admin.call("PATCH", f"/accounts/{account}", json={"secrets": {"password": SMTP_PASSWORD}})
    assert wrong.status_code == 422


@pytest.mark.promise("N29", "N67", "N68")
@pytest.mark.parametrize("service", ["sendgrid", "mailgun", "postmark"])
async def test_services_are_heard_when_they_prove_themselves(
    service: str, admin: Person, api: httpx2.AsyncClient, world: World, *, provider: Sandbox, mail_account: MakeAccount
) -> None:
    account = await mail_account({"hook_key": signed(service, b"")[1]}, hooks={"service": service})
    to = somebody()
    [sent] = await mail(admin, account, to)
    raw = provider.postbox.mailbox.newest_first(to)[0].raw
    metadata = {"delivery": found[1].decode()} if (found := re.search(rb"X-PM-Metadata-delivery: (\S+)", raw)) else None
    number = f"<{sent['id']}@example.test>"
    body = {
        "sendgrid": sendgrid({"event": "bounce", "type": "bounce", "reason": "550 5.1.1 no", "smtp-id": number}),
        "mailgun": mailgun("failed", severity="permanent", reason="suppress-bounce",
                           message={"headers": {"message-id": number.strip("<>")}}),
        "postmark": postmark("Bounce", Type="HardBounce", Metadata=metadata, Email=to),
    }[service]  # fmt: skip
    headers, key, _ = signed(service, body)
    assert key
    forged = body.replace(b"signature", b"no") if service == "mailgun" else body
    assert (await api.post(f"/hooks/smtp/{account}", content=forged)).status_code == 401
    for _ in range(2):
        answer_ = await api.post(f"/hooks/smtp/{account}", content=body, headers=headers)
        assert answer_.status_code == 200, answer_.text
    await becomes(admin, sent, "failed")
    assert await suppressed(admin, to) == [("*", "bounce", True)]
    assert len(await told(world, account)) == 1


@pytest.mark.promise("N67", "N68")
async def test_address_to_which_too_much_fails_rests_for_a_while(
    admin: Person, api: httpx2.AsyncClient, mail_account: MakeAccount
) -> None:
    account = await mail_account({"hook_key": signed("sendgrid", b"")[1]}, hooks={"service": "sendgrid"})
    to = somebody()
    sent = [each for _ in range(5) for each in await mail(admin, account, to)]
    full = {"event": "bounce", "type": "blocked", "status": "5.2.2", "reason": "552 full", "email": to}

    async def tell(*deliveries: Any) -> None:
        items = [{**full, "smtp-id": f"<{each['id']}@example.test>", "sg_event_id": each["id"]} for each in deliveries]
        body = sendgrid(*items)
        answer_ = await api.post(f"/hooks/smtp/{account}", content=body, headers=signed("sendgrid", body)[0])
        assert answer_.status_code == 200
        for each in deliveries:
            await becomes(admin, each, "failed")

    await tell(*sent[:4])
    await tell(*sent[:4])
    assert await held_back(admin, to) == []
    await tell(sent[4])
    assert await suppressed(admin, to) == [("*", "bounce", False)]


@pytest.mark.promise("N31", "N39", "N67", "N68")
async def test_mailbox_is_read_from_where_the_last_look_has_ended(
    admin: Person, world: World, provider: Sandbox, web: httpx2.AsyncClient, reading: MakeAccount
) -> None:
    # What other tests had sent came back there as well.
    others = len(provider.postbox.returned.numbers())
    for content, broken in ((b"\xff\x00 this is no mail", ""), (b"Subject: Away\r\n\r\nUntil Monday.\r\n", "1")):
        await web.post("/imap/messages", params={"broken": broken}, content=content)
    account = await reading({"mailbox_password": SMTP_PASSWORD})
    people = [somebody() for _ in range(3)]
    dead, angry, late = await mail(admin, account, *people)
    await web.post(f"/smtp/messages/{message_of(provider, people[0])}/bounce")
    await web.post(f"/smtp/messages/{message_of(provider, people[1])}/complaint")
    await becomes(admin, dead, "failed")
    await becomes(admin, angry, "delivered")
    assert await suppressed(admin, people[0]) == [("*", "bounce", True)]
    assert await suppressed(admin, people[1]) == [("marketing", "complaint", True)]
    before = {row["dedupe_key"] for row in await told(world, account)}
    # The server has lost its numbers: all is read again.
    await web.post("/imap/rebuild")
    await web.post(f"/smtp/messages/{message_of(provider, people[2])}/bounce", json={"status": "5.7.1"})
    await becomes(admin, late, "failed")
    assert await held_back(admin, people[2]) == []
    assert (len(before) - others, len(await told(world, account)) - others) == (2, 3)
    assert (await hearing(admin, account))["fault"] is None


@pytest.mark.promise("N39", "N68")
async def test_mailbox_is_read_with_tokens_and_says_why_it_is_not(
    admin: Person, provider: Sandbox, web: httpx2.AsyncClient, reading: MakeAccount
) -> None:
    oauth = {"token_url": f"{web.base_url}".rstrip("/") + "/smtp/oauth/token", "client_id": CLIENT_ID}
    tokens = provider.postbox.tokens
    # Who reads does so as the application; the permission to send is exchanged at each use, and the old one ends.
    tokens.habits = Habits(rotate=True)
    account = await reading({"client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}, oauth=oauth)
    to = somebody()
    await mail(admin, account, to)
    assert tokens.refresh_token != REFRESH_TOKEN
    tokens.end_all()

    async def resting() -> bool:
        found = (await admin.get("/queues"))["results"]
        return not any(each["account"] == account and each["owned"] for each in found)

    # Opened anew, with what was stored of it.
    for enabled in (False, True):
        answer_ = await admin.call("PATCH", f"/accounts/{account}", json={"enabled": enabled})
        assert answer_.status_code == 200
        await eventually(resting)
    [again] = await mail(admin, account, to)
    assert again["account"] == account
    await web.post(f"/smtp/messages/{message_of(provider, to)}/bounce")
    await eventually(lambda: suppressed(admin, to))
    wrong = await reading({"mailbox_password": "wrong"})

    async def refused() -> bool:
        found = await hearing(admin, wrong)
        return found is not None and found["fault"] == "login_refused"

    await eventually(refused)
    known = {"password": SMTP_PASSWORD, "return_path_key": "a key that nobody knows"}
    body = {"secrets": {**known, "mailbox_password": SMTP_PASSWORD}}
    assert (await admin.call("PATCH", f"/accounts/{wrong}", json=body)).status_code == 200
    await eventually(lambda: well(admin, wrong))


@pytest.mark.promise("N39", "N68")
async def test_mailbox_is_encrypted_after_the_greeting_where_its_server_wants_it_so(
    admin: Person, provider: Sandbox, web: httpx2.AsyncClient, mail_account: MakeAccount
) -> None:
    known = SmtpOptions(SMTP_USER, SMTP_PASSWORD)
    server = ImapServer(known, provider.postbox, provider.certificate, starttls=True)
    listener = listen("127.0.0.1", 0)
    await server.start(listener)
    mailbox = {"host": "127.0.0.1", "port": listener.getsockname()[1], "seconds": 0.1, "security": "starttls"}
    account = await mail_account({"mailbox_password": SMTP_PASSWORD}, mailbox=mailbox)
    to = somebody()
    [sent] = await mail(admin, account, to)
    await web.post(f"/smtp/messages/{message_of(provider, to)}/bounce")
    await becomes(admin, sent, "failed")
    assert await well(admin, account)
    await server.stop()


NOBODY = ErrorClass.UNREACHABLE, "no_connection"
NO_TLS = ErrorClass.UNREACHABLE, "tls_failed"


@pytest.mark.parametrize(
    ("said", "security", "refusal"),
    [
        (b"", "none", NOBODY),
        (b"HTTP/1.1 200 OK\r\n", "none", NOBODY),
        (b"* BYE\r\n", "none", NOBODY),
        (b"* OK\r\n* 1 FETCH {99999999}\r\n", "none", NOBODY),
        (b"* OK\r\np1 BAD\r\n", "none", NOBODY),
        (b"* OK\r\np1 BAD\r\n", "starttls", NO_TLS),
        (b"* OK\r\np1 NO\r\n", "starttls", NO_TLS),
        # Who can write into the connection says what the server would say once it is encrypted.
        (b"* OK\r\np1 OK\r\np2 OK\r\n", "starttls", NO_TLS),
    ],
)
async def test_server_that_speaks_no_imap_is_left_alone(
    said: bytes, security: str, refusal: tuple[ErrorClass, str]
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # Who says too little is waited for.
    patience = 10 if refusal == NO_TLS else 0.2
    config = {"host": "127.0.0.1", "sender": "a@example.test", "user": "a", "timeout": patience}
    config["mailbox"] = {"host": "127.0.0.1", "port": port, "security": security}
    known = {"password": "a", "mailbox_password": "a"}
    source = opened(Setup("x", PROVIDER.config.model_validate(config), PROVIDER.secrets.model_validate(known)))
    assert source is not None
    with pytest.raises(Refused) as refused:
        await source.fetch(None)
    assert (refused.value.outcome.error, refused.value.outcome.code) == refusal
    server.close()
