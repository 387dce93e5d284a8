"""Where a deployment wants it, a sign-in after failures must show work."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import httpx2
import pytest

from auth_service.domain.puzzles import zero_bits
from libs.testing.clients import some_address
from libs.testing.clock import StillClock
from tests.auth.api import PASSWORD, Api, unique
from tests.auth.conftest import OpenApi
from tests.auth.test_throttles import WRONG, fail

BITS = 8


@pytest.fixture(scope="module")
async def opened(open_api: OpenApi) -> AsyncIterator[Api]:
    async with open_api(proof_of_work_bits=BITS, hashing_memory_kib=1024, clock=StillClock()) as api:
        yield api


@pytest.fixture
async def guarded(opened: Api) -> AsyncIterator[Api]:
    """As in the tests of throttles, each test comes from an address of its own."""
    return Api(opened.http, opened.app, opened.clock)


async def suspect(api: Api, email: str, ip: str | None = None) -> dict[str, Any]:
    """The challenge of a name after as many failures from here as are free."""
    ip = ip or api.address
    assert [a.status_code for a in await fail(api, 5, email=email, ip=ip)] == [401] * 5
    api.clock.advance(1)
    refused = await api.sign_in(email=email, ip=ip)
    assert (refused.status_code, refused.json()["code"]) == (403, "challenge_required")
    challenge: dict[str, Any] = refused.json()["challenge"]
    return challenge


def solve(challenge: dict[str, Any], *, bits: int = BITS) -> str:
    """The cheapest solution with exactly or at least so many zero bits."""
    tries = (f"{challenge['token']}:{number}" for number in count())
    return next(solution for solution in tries if zero_bits(solution) >= bits)


async def sign_in(api: Api, solution: str, password: str = PASSWORD, **name: Any) -> httpx2.Response:
    return await api.sign_in(password, headers={"X-Challenge-Solution": solution}, **name)


@pytest.mark.promise("A58")
async def test_after_failures_a_sign_in_takes_work(guarded: Api) -> None:
    made = await guarded.register()
    challenge = await suspect(guarded, made.email)
    assert (challenge["kind"], challenge["bits"], challenge["expires_in"]) == ("sha256", BITS, 300)
    assert (await sign_in(guarded, solve(challenge), email=made.email)).status_code == 200
    assert (await guarded.sign_in(email=made.email)).status_code == 200


@pytest.mark.promise("A58")
async def test_before_that_it_takes_none(guarded: Api) -> None:
    made = await guarded.register()
    await fail(guarded, 4, email=made.email)
    assert (await guarded.sign_in(email=made.email)).status_code == 200


@pytest.mark.promise("A58")
async def test_a_solution_opens_one_try(guarded: Api) -> None:
    made = await guarded.register()
    solution = solve(await suspect(guarded, made.email))
    assert (await sign_in(guarded, solution, WRONG, email=made.email)).status_code == 401
    guarded.clock.advance(2)
    assert (await sign_in(guarded, solution, email=made.email)).json()["code"] == "challenge_required"


@pytest.mark.promise("A58")
async def test_of_ten_uses_of_a_solution_at_once_one_counts(guarded: Api) -> None:
    made = await guarded.register()
    solution = solve(await suspect(guarded, made.email))
    answers = await asyncio.gather(*(sign_in(guarded, solution, WRONG, email=made.email) for _ in range(10)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(401) == 1
    # Who comes after its failure has to wait.
    assert set(statuses) <= {401, 403, 429}


@pytest.mark.promise("A58")
async def test_a_solution_is_good_for_one_name_and_five_minutes(guarded: Api) -> None:
    ada, grace = await guarded.register(), await guarded.register()
    solution = solve(await suspect(guarded, ada.email))
    challenge = await suspect(guarded, grace.email)
    assert (await sign_in(guarded, solution, email=grace.email)).status_code == 403
    guarded.clock.advance(301)
    assert (await sign_in(guarded, solve(challenge), email=grace.email)).status_code == 403


@pytest.mark.promise("A58")
async def test_what_is_no_solution_opens_nothing(guarded: Api) -> None:
    made = await guarded.register()
    challenge = await suspect(guarded, made.email)
    token = challenge["token"]
    expires, rest = token.split(".", 1)
    lazy = next(f"{token}:{n}" for n in count() if zero_bits(f"{token}:{n}") < BITS)
    easier = token.replace(f".{BITS}.", ".0.")
    forged = [lazy, f"{easier}:0", f"{int(expires) + 9}.{rest}:0", token, "", ":", "x" * 5000, token[:-1] + "é:0"]
    for solution in forged:
        headers = {"X-Challenge-Solution": solution.encode()}
        refused = await guarded.sign_in(email=made.email, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "challenge_required")


@pytest.mark.promise("A58", "L1")
async def test_a_name_that_nobody_has_gets_the_same_challenge(guarded: Api) -> None:
    made = await guarded.register()
    known = await suspect(guarded, made.email)
    unknown, there = f"{unique()}@example.com", some_address()
    seen = await suspect(guarded, unknown, there)
    assert {**known, "token": ""} == {**seen, "token": ""}
    assert len(known["token"]) == len(seen["token"])
    assert (await sign_in(guarded, solve(seen), email=unknown, ip=there)).status_code == 401


@pytest.mark.promise("A58", "L3")
async def test_a_device_that_the_account_knows_takes_none(guarded: Api) -> None:
    made = await guarded.register()
    device = (await guarded.sign_in(email=made.email)).headers["X-Device-Token"]
    await suspect(guarded, made.email)
    assert (await guarded.sign_in(email=made.email, headers={"X-Device-Token": device})).status_code == 200


async def test_a_challenge_costs_no_hash(guarded: Api) -> None:
    """Who guesses at a thousand names is sent away before the queue for passwords."""
    made = await guarded.register()
    await suspect(guarded, made.email)
    answers = await asyncio.gather(*(guarded.sign_in(email=made.email) for _ in range(64)))
    assert {a.status_code for a in answers} == {403}
