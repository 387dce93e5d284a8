"""Accounts of one channel that stand in for each other: two mail servers, of which one goes away."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from deploy.sandbox.faults import Fault
from deploy.sandbox.server import Options, Sandbox, listen
from deploy.sandbox.smtp import SmtpOptions
from libs.testing.clients import client
from notify_service.app import create_app
from tests.notify.asking import Person, ended
from tests.notify.world import SMTP_PASSWORD, SMTP_USER, World, eventually

CONTENT = {"subject": "Hello", "text": "It is done."}


@pytest.fixture
async def other(own_world: World, tmp_path: Any) -> AsyncIterator[Sandbox]:
    """Another provider of mail."""
    options = Options(
        smtp=SmtpOptions(SMTP_USER, SMTP_PASSWORD),
        http_port=0,
        smtp_port=0,
        certificate_file=tmp_path / "certificate.pem",
    )
    async with Sandbox(options) as running:
        yield running


@pytest.fixture
async def admin(own_world: World, issue_token: Any) -> AsyncIterator[Person]:
    async with own_world.working(), client(create_app(own_world.settings())) as http:
        yield Person(http, issue_token(roles=["admin"]))


@pytest.fixture
async def spare(admin: Person, other: Sandbox, tmp_path: Any) -> str:
    """An account there, behind the one of the settings."""
    config = {
        "host": "127.0.0.1",
        "port": other.smtp_port,
        "user": SMTP_USER,
        "sender": "Parley <parley@example.test>",
        "certificates": (tmp_path / "certificate.pem").read_text(),
    }
    body = {"name": "spare", "provider": "smtp", "rank": 200, "config": config, "secrets": {"password": SMTP_PASSWORD}}
    answer = await admin.call("POST", "/accounts", json=body)
    assert answer.status_code == 201, answer.text
    return "spare"


async def post(admin: Person, *to: str, **body: Any) -> Any:
    given = {"channel": "email", "to": [{"address": each} for each in to], "content": CONTENT, **body}
    answer = await admin.call("POST", "/deliveries", json=given)
    assert answer.status_code == 202, answer.text
    return answer.json()


def somebody() -> str:
    return f"{uuid4().hex}@example.test"


def got(sandbox: Sandbox) -> Counter[str]:
    found = sandbox.postbox.effects.since(0)
    return Counter(to for effect in found if effect.kind == "delivered" for to in effect.recipients)


async def states(admin: Person, made: Any, **wanted: int) -> None:
    async def check() -> bool:
        return bool((await admin.get(f"/deliveries/batches/{made['id']}"))["states"] == wanted)

    await eventually(check)


async def account_of(admin: Person, to: str) -> str:
    [made] = (await post(admin, to))["deliveries"]
    found = await ended(admin, made)
    assert found["state"] == "sent"
    return str(found["account"])


@pytest.mark.promise("N52")
async def test_what_waits_for_a_server_that_is_away_leaves_over_another_and_nothing_leaves_twice(
    own_world: World, admin: Person, other: Sandbox, spare: str
) -> None:
    world, doubtful = own_world, somebody()
    assert await account_of(admin, somebody()) == "smtp"
    world.sandbox.postbox.faults.add(Fault(match=doubtful, drop=True, after_data=True, keep=True))
    [lost] = (await post(admin, doubtful))["deliveries"]
    assert (await ended(admin, lost))["state"] == "unknown"
    await world.sandbox._smtp.stop()
    crowd, named = [somebody() for _ in range(20)], somebody()
    stays = await post(admin, named, account="smtp")
    made = await post(admin, *crowd)
    await states(admin, made, sent=20)
    assert got(other) == Counter(crowd)
    assert not got(world.sandbox).keys() & set(crowd)
    rows = await world.sql(
        "SELECT DISTINCT account, attempts FROM delivery WHERE batch_id = $1::text::uuid", made["id"]
    )
    assert [(row["account"], row["attempts"]) for row in rows] == [(spare, 1)]
    # What has left once is not sent again, and who named an account waits for it.
    found = await admin.get(f"/deliveries/{lost['id']}")
    assert (found["state"], found["account"]) == ("unknown", "smtp")
    assert (await admin.get(f"/deliveries/batches/{stays['id']}"))["states"].keys() <= {"queued", "retry", "sending"}
    await world.sandbox._smtp.start(listen("127.0.0.1", world.sandbox.smtp_port))
    await states(admin, stays, sent=1)
    assert got(world.sandbox)[named] == 1
    assert got(other)[doubtful] == 0

    async def is_well() -> bool:
        return bool((await admin.get("/accounts/smtp"))["state"] == "ok")

    await eventually(is_well)
    # But not for long enough.
    assert await account_of(admin, somebody()) == spare
    await world.sql("UPDATE account SET down_until = down_until - interval '6 minutes' WHERE name = 'smtp'")
    assert await account_of(admin, somebody()) == "smtp"


@pytest.mark.promise("N52")
async def test_what_waits_for_an_account_that_is_refused_leaves_over_another(
    own_world: World, admin: Person, other: Sandbox, spare: str
) -> None:
    wrong = {"password": "wrong"}
    changed = await admin.call("PATCH", f"/accounts/{spare}", json={"rank": 1, "secrets": wrong})
    assert changed.status_code == 200
    crowd = [somebody() for _ in range(3)]
    made = await post(admin, *crowd)
    await states(admin, made, sent=3)
    assert got(own_world.sandbox) == Counter(crowd)
    assert (await admin.get(f"/accounts/{spare}"))["state"] == "refused"
    # Once it is put right it is first again at once.
    await admin.call("PATCH", f"/accounts/{spare}", json={"secrets": {"password": SMTP_PASSWORD}})
    to = somebody()
    assert await account_of(admin, to) == spare
    assert got(other) == Counter([to])
