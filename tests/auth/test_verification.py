"""Confirming an e-mail address by a link."""

import asyncio
import hashlib

import pytest

from tests.auth.api import Api, unique
from tests.auth.phones import new_phone

VERIFY = "/api/v1/auth/email/verify"
SEND = "/api/v1/auth/email/verify/send"


@pytest.mark.promise("A40")
async def test_posting_the_token_of_a_link_confirms_the_address(api: Api) -> None:
    made = await api.register()
    answer = await api.post(VERIFY, {"token": await api.link_token(made.email)})
    assert answer.status_code == 200
    assert answer.json() == {"status": "verified"}
    me = (await api.me(made.access)).json()
    assert me["email_verified"]
    assert me["is_verified"]
    assert me["version"] == 2
    kind, data = (await api.events(made.id))[-1]
    assert kind == "UserUpdated"
    assert data["profile"]["email_verified"]


@pytest.mark.promise("A40")
async def test_opening_a_link_confirms_nothing(api: Api) -> None:
    made = await api.register()
    token = await api.link_token(made.email)
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (await api.call(method, VERIFY, params={"token": token})).status_code == 405
    assert not (await api.me(made.access)).json()["email_verified"]
    assert (await api.post(VERIFY, {"token": token})).status_code == 200


@pytest.mark.promise("A40")
async def test_a_link_works_once(api: Api) -> None:
    made = await api.register()
    token = await api.link_token(made.email)
    answers = await asyncio.gather(*(api.post(VERIFY, {"token": token}) for _ in range(20)))
    assert sorted(a.status_code for a in answers) == [200] + [410] * 19
    assert next(a for a in answers if a.status_code == 410).json()["code"] == "link_spent"


@pytest.mark.promise("A40")
async def test_a_link_works_for_a_day(aging: Api) -> None:
    punctual, late = await aging.register(), await aging.register()
    aging.clock.advance(23.9 * 3600)
    assert (await aging.post(VERIFY, {"token": await aging.link_token(punctual.email)})).status_code == 200
    aging.clock.advance(0.2 * 3600)
    assert (await aging.post(VERIFY, {"token": await aging.link_token(late.email)})).status_code == 410


@pytest.mark.promise("A40")
async def test_only_the_digest_of_a_link_is_kept(api: Api) -> None:
    made = await api.register()
    token = await api.link_token(made.email)
    assert len(token) >= 43
    rows = await api.sql("SELECT hash FROM one_time_tokens WHERE user_id = :id", id=made.id)
    assert [row.hash for row in rows] == [hashlib.sha256(token.encode()).digest()]
    outbox = await api.sql("SELECT data::text AS data FROM outbox WHERE data->>'email' = :email", email=made.email)
    assert all(token not in row.data for row in outbox)


@pytest.mark.parametrize("token", ["x", "A" * 43, "ü" * 43, "A" * 200])
async def test_a_link_that_nobody_sent_is_refused(api: Api, token: str) -> None:
    answer = await api.post(VERIFY, {"token": token})
    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_code"


async def test_another_link_can_be_asked_for_and_both_work(api: Api) -> None:
    made = await api.register()
    first = await api.link_token(made.email)
    answer = await api.post(SEND, token=made.access)
    assert answer.status_code == 202
    assert answer.json() == {"status": "verification_sent"}
    second = await api.link_token(made.email)
    assert first != second
    assert (await api.post(VERIFY, {"token": second})).status_code == 200
    assert (await api.post(VERIFY, {"token": first})).status_code == 200


async def test_five_links_an_hour_are_sent_and_no_more(aging: Api) -> None:
    made = await aging.register()
    answers = await asyncio.gather(*(aging.post(SEND, token=made.access) for _ in range(8)))
    assert sorted(a.status_code for a in answers) == [202] * 4 + [429] * 4
    assert len(await aging.mails(made.email)) == 5
    limited = next(a for a in answers if a.status_code == 429)
    wait = int(limited.headers["Retry-After"])
    assert 0 < wait <= 3601
    aging.clock.advance(wait)
    renewed = (await aging.sign_in(email=made.email)).json()["access"]
    assert (await aging.post(SEND, token=renewed)).status_code == 202


async def test_nothing_is_sent_where_nothing_is_to_be_confirmed(api: Api) -> None:
    made = await api.register()
    await api.post(VERIFY, {"token": await api.link_token(made.email)})
    assert (await api.post(SEND, token=made.access)).json()["code"] == "already_verified"
    body = {"phone_number": new_phone(), "password": "correct horse battery"}
    by_phone = (await api.post("/api/v1/auth/register", body)).json()["access"]
    assert (await api.post(SEND, token=by_phone)).json()["code"] == "no_email"
    assert (await api.post(SEND)).status_code == 401


async def test_a_link_for_an_address_that_was_replaced_proves_nothing(api: Api) -> None:
    made = await api.register()
    token = await api.link_token(made.email)
    await api.sql(
        "UPDATE identifiers SET value = :new, value_norm = :new WHERE user_id = :id AND kind = 'email'",
        new=f"{unique()}@example.com",
        id=made.id,
    )
    assert (await api.post(VERIFY, {"token": token})).status_code == 410
    assert not (await api.me(made.access)).json()["email_verified"]
