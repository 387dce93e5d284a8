"""Refusals in floods are in the audit log, which does not grow by each of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from libs.testing.clients import some_address
from libs.testing.clock import StillClock
from tests.auth.api import Account, Api, session_of, unique
from tests.auth.conftest import OpenApi
from tests.auth.phones import Phone

WRONG = "wrong horse battery"
HOUR = 3600
REFUSED = "sign_in.refused"
CHANGE = "/api/v1/users/me/password"


@pytest.fixture
async def cheap(open_api: OpenApi) -> AsyncIterator[Api]:
    """Where a hash costs little, and the clock stands."""
    async with open_api(hashing_memory_kib=1024, hashing_rounds=1, clock=StillClock()) as api:
        yield api


async def slow_down(api: Api, victim: Account) -> None:
    """The account as it is after many failures of strangers."""
    await api.sql(
        "INSERT INTO throttles (key, failures, last_at, until) VALUES (:key, 50, :now, :until)",
        key=f"password:{victim.id}",
        now=api.clock.now(),
        until=api.clock.now().replace(year=9999),
    )


async def attempts(api: Api, action: str, user_id: UUID) -> list[int]:
    """How many of them each row tells of."""
    rows: list[Any] = await api.audit(action, subject_id=user_id)
    return [row.data["attempts"] for row in rows if row.reason == "rate_limited"]


def counted() -> float:
    labels = {"action": REFUSED, "result": "refused", "reason": "rate_limited"}
    return REGISTRY.get_sample_value("parley_auth_events_total", labels) or 0.0


@pytest.mark.promise("A44")
async def test_a_sign_in_that_must_wait_is_in_the_log_of_the_account(cheap: Api) -> None:
    made = await cheap.register()
    await slow_down(cheap, made)
    assert (await cheap.sign_in(email=made.email, ip="203.0.113.9", country="SE")).status_code == 429
    [row] = await cheap.audit(REFUSED, subject_id=made.id)
    assert (row.result, row.reason, row.country, row.data) == ("refused", "rate_limited", "SE", {"attempts": 1})
    [shown, *_] = (await cheap.get("/api/v1/users/me/audit", made.access)).json()["results"]
    assert (shown["action"], shown["ip"]) == (REFUSED, "203.0.113.0")


@pytest.mark.promise("A44")
async def test_a_flood_of_them_is_told_at_the_first_the_tenth_and_the_hundredth(cheap: Api) -> None:
    made, other = await cheap.register(), await cheap.register()
    await slow_down(cheap, made)
    before = counted()
    for _ in range(11):
        await asyncio.gather(*(cheap.sign_in(WRONG, email=made.email, ip=some_address()) for _ in range(10)))
    assert await attempts(cheap, REFUSED, made.id) == [1, 10, 100]
    assert counted() == before + 110
    await slow_down(cheap, other)
    await cheap.sign_in(email=other.email)
    assert await attempts(cheap, REFUSED, other.id) == [1]


@pytest.mark.promise("A44")
async def test_each_hour_begins_anew(cheap: Api) -> None:
    made = await cheap.register()
    await slow_down(cheap, made)
    for seconds in (0, HOUR - 1, 1):
        cheap.clock.advance(seconds)
        await cheap.sign_in(email=made.email)
    assert await attempts(cheap, REFUSED, made.id) == [1, 1]


@pytest.mark.promise("A44")
async def test_of_one_network_that_tries_many_names_little_is_told(cheap: Api) -> None:
    network = "password:@" + cheap.address
    bucket = int(cheap.clock.seconds()) // 900
    await cheap.sql(
        "INSERT INTO throttles (key, failures, last_at, until) VALUES (:key, 90, :now, :until)",
        key=f"{network}/32/{bucket}",
        now=cheap.clock.now(),
        until=cheap.clock.now().replace(year=9999),
    )
    answers = [await cheap.sign_in(WRONG, email=f"{unique()}@example.com") for _ in range(30)]
    assert {answer.status_code for answer in answers} == {429}
    [told] = await cheap.sql(
        "SELECT count(*) AS rows FROM audit WHERE reason = 'rate_limited' AND ip = :ip", ip=cheap.address
    )
    assert told.rows == 20


@pytest.mark.promise("A8", "A44", "L1")
async def test_the_log_does_not_tell_a_name_that_nobody_has(cheap: Api) -> None:
    """Not by the number of statements either, however often it is tried."""
    known = await cheap.register()
    names = (known.email, f"{unique()}@example.com")
    seen = []
    for name in names:
        answers = [await cheap.sign_in(WRONG, email=name, ip=some_address()) for _ in range(24)]
        seen.append([(a.status_code, a.headers["X-Database-Queries"]) for a in answers])
    assert seen[0] == seen[1]
    assert seen[0][-1][0] == 429


@pytest.mark.promise("A44")
async def test_a_phone_that_had_its_wrong_codes_is_told_of_once(phone: Phone) -> None:
    user_id = (await phone.sign_in()).json()["user"]["id"]
    phone.api.clock.advance(61)
    challenge = await phone.challenge()
    await phone.api.sql("UPDATE phone_codes SET failures = 10 WHERE id = :id", id=challenge)
    for _ in range(4):
        assert (await phone.verify(challenge, "000000")).status_code == 429
    rows = await phone.api.audit(REFUSED, subject_id=user_id)
    assert [(row.reason, row.data) for row in rows] == [("code_blocked", {"attempts": 1})]


@pytest.mark.promise("A44")
async def test_a_session_that_refreshes_too_often_is_told_of_once(aging: Api) -> None:
    made = await aging.register()
    await aging.sql(
        "UPDATE sessions SET window_count = 120, window_started_at = :now WHERE id = :id",
        now=aging.clock.now(),
        id=session_of(made.access),
    )
    assert [(await aging.refresh(made.refresh)).status_code for _ in range(4)] == [429] * 4
    assert await attempts(aging, "session.refused", made.id) == [1]


@pytest.mark.promise("A44")
async def test_guesses_at_the_password_of_a_stolen_session_are_told_of(cheap: Api) -> None:
    made = await cheap.register()
    body = {"current_password": WRONG, "new_password": "another horse battery"}
    answers = [(await cheap.post(CHANGE, body, made.access)).status_code for _ in range(13)]
    assert answers == [422] * 10 + [429] * 3
    assert await attempts(cheap, "password.changed", made.id) == [1]
