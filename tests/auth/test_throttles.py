"""Guessing passwords gets slower, for one account, from one network, and for names that nobody has."""

import asyncio
from uuid import UUID

import httpx2
import pytest

from libs.testing.clients import some_address
from tests.auth.api import Account, Api, unique
from tests.auth.phones import new_address

WRONG = "wrong horse battery"
HOUR = 3600


async def fail(api: Api, times: int, *, ip: str | None = None, **name: str) -> list[httpx2.Response]:
    """Waits as long as it is told to, each time."""
    answers = []
    for _ in range(times):
        answer = await api.sign_in(WRONG, ip=ip or api.address, **name)
        while answer.status_code == 429:
            api.clock.advance(int(answer.headers["Retry-After"]))
            answer = await api.sign_in(WRONG, ip=ip or api.address, **name)
        answers.append(answer)
    return answers


async def fail_up_to(api: Api, victim: Account, count: int) -> None:
    """Many failures of many strangers; most of them are written by hand, for each costs a hash."""
    await fail(api, 2, email=victim.email, ip=some_address())
    key = f"password:{victim.id}"
    await api.sql("UPDATE throttles SET failures = :n WHERE key = :key", n=count - 2, key=key)
    await fail(api, 2, email=victim.email, ip=some_address())


async def failures(api: Api, user_id: UUID) -> int:
    rows = await api.sql("SELECT failures FROM throttles WHERE key = :key", key=f"password:{user_id}")
    return rows[0].failures if rows else 0


@pytest.mark.promise("A10")
async def test_each_failure_after_the_first_few_doubles_the_wait_up_to_five_minutes(still: Api) -> None:
    made = await still.register()
    assert [a.status_code for a in await fail(still, 5, email=made.email)] == [401] * 5
    waits = []
    while len(waits) < 11:
        refused = await still.sign_in(WRONG, email=made.email)
        if refused.status_code == 429:
            waits.append(int(refused.headers["Retry-After"]))
            still.clock.advance(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.promise("A10")
async def test_the_right_password_waits_too_and_ends_the_waiting(still: Api) -> None:
    made = await still.register()
    await fail(still, 8, email=made.email)
    refused = await still.sign_in(email=made.email)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    still.clock.advance(int(refused.headers["Retry-After"]))
    assert (await still.sign_in(email=made.email)).status_code == 200
    assert await failures(still, made.id) == 0
    assert [a.status_code for a in await fail(still, 4, email=made.email)] == [401] * 4


@pytest.mark.promise("A10")
async def test_what_is_refused_unread_is_not_counted(still: Api) -> None:
    made = await still.register()
    await fail(still, 5, email=made.email)
    for _ in range(5):
        assert (await still.sign_in(WRONG, email=made.email)).status_code == 429
    assert await failures(still, made.id) == 5


@pytest.mark.promise("A10")
async def test_from_many_networks_the_account_itself_slows_down(still: Api) -> None:
    made = await still.register()
    answers = [await still.sign_in(WRONG, email=made.email, ip=some_address()) for _ in range(12)]
    assert [a.status_code for a in answers] == [401] * 10 + [429] * 2


@pytest.mark.promise("A10")
async def test_a_network_of_ipv6_is_one_place(still: Api) -> None:
    made = await still.register()
    home = new_address().rsplit(":", 4)[0]
    answers = [await still.sign_in(WRONG, email=made.email, ip=f"{home}::{number + 1:x}") for number in range(6)]
    assert [a.status_code for a in answers] == [401] * 5 + [429]


@pytest.mark.promise("A8", "A10", "L1")
@pytest.mark.parametrize("pace", ["patient", "hasty"])
async def test_a_name_that_nobody_has_is_slowed_down_like_an_account(still: Api, pace: str) -> None:
    known, unknown = (await still.register()).email, f"{unique()}@example.com"
    seen = []
    for email in (known, unknown):
        answers = [await still.sign_in(WRONG, email=email, ip="198.51.100.7") for _ in range(8)]
        if pace == "patient":
            answers += await fail(still, 8, email=email, ip="198.51.100.8")
        bodies = [{k: v for k, v in a.json().items() if k not in ("request_id", "detail")} for a in answers]
        seen.append([(a.status_code, sorted(a.headers), a.headers["X-Database-Queries"]) for a in answers])
        seen[-1] += bodies
    assert seen[0] == seen[1]


@pytest.mark.promise("A10")
async def test_of_fifty_failures_at_once_none_is_lost(still: Api) -> None:
    made = await still.register()
    at_once = [still.sign_in(WRONG, email=made.email, ip=some_address()) for _ in range(50)]
    statuses = [answer.status_code for answer in await asyncio.gather(*at_once)]
    # The others found the queue full, or the account slowed down already.
    assert statuses.count(401) > 10
    assert await failures(still, made.id) == statuses.count(401)


@pytest.mark.promise("A10", "L2")
async def test_of_many_guesses_at_once_only_the_first_few_count_even_if_one_is_right(still: Api) -> None:
    made = await still.register()
    wrong = [still.sign_in(WRONG, email=made.email, ip=some_address()) for _ in range(24)]
    guesses = asyncio.as_completed(wrong)
    for _ in range(12):
        await next(guesses)
    assert (await still.sign_in(email=made.email, ip=some_address())).status_code == 429
    await asyncio.gather(*guesses)


@pytest.mark.promise("L2")
async def test_one_password_for_many_accounts_is_slowed_down_by_network(still: Api) -> None:
    answers = [await still.sign_in(WRONG, email=f"{unique()}@example.com") for _ in range(60)]
    assert [a.status_code for a in answers] == [401] * 50 + [429] * 10
    assert (await still.sign_in(WRONG, email=f"{unique()}@example.com", ip=some_address())).status_code == 401
    still.clock.advance(HOUR)
    assert (await still.sign_in(WRONG, email=f"{unique()}@example.com")).status_code == 401


async def test_a_name_that_cannot_be_anybodys_is_counted_by_network_alone(still: Api) -> None:
    answers = [await still.sign_in(WRONG, phone_number="nonsense") for _ in range(51)]
    assert [a.status_code for a in answers] == [401] * 50 + [429]


@pytest.mark.promise("A10", "L2")
async def test_a_hundred_failures_in_a_row_close_the_account_to_strangers_and_its_owner_hears_of_it(still: Api) -> None:
    made = await still.register()
    await fail_up_to(still, made, 100)
    refused = await still.sign_in(email=made.email, ip=some_address())
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 29 * 24 * HOUR
    assert [m.kind for m in await still.mails(made.email)].count("password_attacked") == 1


@pytest.mark.promise("A11")
async def test_wrong_passwords_leave_other_counters_alone(still: Api) -> None:
    made = await still.register()
    await fail(still, 6, email=made.email)
    keys = [row.key for row in await still.sql("SELECT key FROM throttles WHERE key LIKE :key", key=f"%{made.id}%")]
    assert keys
    assert all(key.startswith("password:") for key in keys)
    # The log counts what it does not tell.
    other = "SELECT key FROM quotas WHERE key LIKE :key AND key NOT LIKE 'audit:%'"
    assert not await still.sql(other, key=f"%{made.id}%")


async def test_a_suspended_account_is_slowed_down_like_any_other(still: Api) -> None:
    made = await still.register()
    await still.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=made.id)
    answers = [await still.sign_in(email=made.email) for _ in range(6)]
    assert [a.status_code for a in answers] == [401] * 5 + [429]


async def test_refusals_are_in_the_audit_log(api: Api) -> None:
    made = await api.register()
    await api.sign_in(WRONG, email=made.email)
    rows = await api.sql(
        "SELECT result, reason, ip FROM audit WHERE subject_id = :id AND action = 'sign_in.refused'", id=made.id
    )
    assert [tuple(row) for row in rows] == [("refused", "invalid_credentials", api.address)]
