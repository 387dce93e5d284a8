"""Signing in from a country that is new to the account: the owner is told, or a mailed code is wanted."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.auth.api import Account, Api, account, claims
from tests.auth.conftest import OpenApi
from tests.auth.factors import MFA, mfa_token, with_totp
from tests.auth.test_devices import news

DAY = 24 * 3600


@pytest.fixture(scope="module")
async def opened(open_api: OpenApi) -> AsyncIterator[Api]:
    async with open_api(adaptive="step_up", hashing_memory_kib=1024) as api:
        yield api


@pytest.fixture
async def wary(opened: Api) -> Api:
    """An app where a password alone does not do from a country that is new to the account."""
    return Api(opened.http, opened.app, opened.clock)


async def at_home_in_sweden(api: Api, **changed: str) -> Account:
    made = await api.register(**changed)
    await api.sql("UPDATE identifiers SET verified_at = created_at WHERE user_id = :id", id=made.id)
    assert (await api.sign_in(email=made.email, country="SE")).status_code == 200
    return made


async def stopped(api: Api, made: Account, country: str = "NZ") -> str:
    """The mfa token of a sign-in from there."""
    refused = (await api.sign_in(email=made.email, country=country)).json()
    assert (refused["code"], refused["methods"]) == ("mfa_required", ["mailed_code"])
    token: str = refused["mfa_token"]
    return token


async def ask(api: Api, token: str) -> str:
    sent = await api.post(f"{MFA}/code", {"mfa_token": token})
    assert sent.status_code == 202, sent.text
    ceremony_id: str = sent.json()["ceremony_id"]
    return ceremony_id


async def answer(api: Api, token: str, ceremony_id: str, code: str) -> httpx2.Response:
    body = {"mfa_token": token, "method": "mailed_code", "ceremony_id": ceremony_id, "code": code}
    return await api.post(f"{MFA}/verify", body, country="NZ")


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06}"


@pytest.mark.promise("A57")
async def test_a_new_country_is_told_once_also_on_a_known_device(api: Api) -> None:
    made = await at_home_in_sweden(api)
    device = {"X-Device-Token": (await api.sign_in(email=made.email, country="SE")).headers["X-Device-Token"]}
    assert await news(api, made.email) == []
    for _ in range(2):
        assert (await api.sign_in(email=made.email, country="NZ", headers=device)).status_code == 200
    (told,) = await news(api, made.email)
    assert told["place"] == "NZ"


@pytest.mark.promise("A57")
async def test_a_place_that_no_database_knows_is_no_new_country(wary: Api) -> None:
    made = await at_home_in_sweden(wary)
    assert (await wary.sign_in(email=made.email)).status_code == 200
    assert await news(wary, made.email) == []


@pytest.mark.promise("A57")
async def test_a_country_is_new_again_after_ninety_days(aging: Api) -> None:
    made = await at_home_in_sweden(aging)
    for days, country in ((1, "NZ"), (60, "SE"), (31, "NZ")):
        aging.clock.advance(days * DAY)
        await aging.sign_in(email=made.email, country=country)
    assert [told["place"] for told in await news(aging, made.email)] == ["NZ", "NZ"]


@pytest.mark.promise("A57")
async def test_an_account_that_slept_for_a_year_still_knows_where_it_was(aging: Api) -> None:
    made = await at_home_in_sweden(aging)
    aging.clock.advance(300 * DAY)
    await aging.sign_in(email=made.email, country="NZ")
    assert [told["place"] for told in await news(aging, made.email)] == ["NZ"]


@pytest.mark.promise("A57")
async def test_it_can_be_switched_off(open_api: OpenApi) -> None:
    async with open_api(adaptive="off") as api:
        made = await at_home_in_sweden(api)
        assert (await api.sign_in(email=made.email, country="NZ")).status_code == 200
        assert await news(api, made.email) == []


@pytest.mark.promise("A57")
async def test_a_mailed_code_lets_the_owner_in(wary: Api) -> None:
    made = await at_home_in_sweden(wary)
    token = await stopped(wary, made)
    ceremony_id = await ask(wary, token)
    assert (await wary.mails(made.email))[-1].kind == "sign_in_code"
    done = await answer(wary, token, ceremony_id, await wary.link_token(made.email))
    assert done.status_code == 200
    said = claims(account(done).access)
    assert (said["aal"], said["amr"]) == (1, ["pwd", "otp"])
    assert (await wary.sign_in(email=made.email, country="NZ")).status_code == 200


@pytest.mark.promise("A57", "L10")
async def test_a_code_works_once_and_wrong_ones_are_counted(wary: Api) -> None:
    made = await at_home_in_sweden(wary)
    token, other = await stopped(wary, made), await stopped(wary, made)
    ceremony_id = await ask(wary, token)
    code = await wary.link_token(made.email)
    assert (await answer(wary, token, ceremony_id, wrong(code))).status_code == 401
    at_once = await asyncio.gather(*(answer(wary, each, ceremony_id, code) for each in (token, other)))
    assert sorted(a.status_code for a in at_once) == [200, 401]
    guesses = [await answer(wary, other, ceremony_id, code) for _ in range(6)]
    assert [a.status_code for a in guesses][-1] == 429


@pytest.mark.promise("L10")
async def test_a_code_of_somebody_else_lets_nobody_in(wary: Api) -> None:
    ada, grace = await at_home_in_sweden(wary), await at_home_in_sweden(wary)
    token = await stopped(wary, ada)
    ceremony_id = await ask(wary, await stopped(wary, grace))
    assert (await answer(wary, token, ceremony_id, await wary.link_token(grace.email))).status_code == 401


@pytest.mark.promise("A57", "L10")
async def test_a_mailed_code_is_no_way_around_a_second_factor(wary: Api) -> None:
    """Neither asked for, nor sent to an account before it had one."""
    person = await with_totp(wary)
    await wary.sql("UPDATE identifiers SET verified_at = created_at WHERE user_id = :id", id=person.account.id)
    token = await mfa_token(wary, person)
    refused = await wary.post(f"{MFA}/code", {"mfa_token": token})
    assert (refused.status_code, refused.json()["methods"]) == (403, ["totp", "recovery_code"])
    made = await at_home_in_sweden(wary)
    token = await stopped(wary, made)
    ceremony_id = await ask(wary, token)
    await wary.sql("UPDATE totp SET user_id = :id WHERE user_id = :other", id=made.id, other=person.account.id)
    late = await answer(wary, token, ceremony_id, await wary.link_token(made.email))
    assert (late.status_code, late.json()["methods"]) == (403, ["totp"])


@pytest.mark.promise("A57")
async def test_who_has_no_confirmed_address_is_let_in_and_told(wary: Api) -> None:
    made = await at_home_in_sweden(wary)
    await wary.sql("UPDATE identifiers SET verified_at = NULL WHERE user_id = :id", id=made.id)
    assert (await wary.sign_in(email=made.email, country="NZ")).status_code == 200
    assert [told["place"] for told in await news(wary, made.email)] == ["NZ"]


async def test_five_codes_an_hour_are_sent(wary: Api) -> None:
    made = await at_home_in_sweden(wary)
    token = await stopped(wary, made)
    for _ in range(5):
        await ask(wary, token)
    assert (await wary.post(f"{MFA}/code", {"mfa_token": token})).status_code == 429
    assert (await wary.post(f"{MFA}/code", {"mfa_token": "x"})).status_code == 401
