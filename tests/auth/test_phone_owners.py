"""A number that somebody typed and never proved, and then its owner comes with a code."""

import pytest

from libs.testing.tokens import access_claims, access_token
from tests.auth.api import PASSWORD, Account, Api, account
from tests.auth.phones import VERIFY, Phone


@pytest.fixture
def phone(api: Api) -> Phone:
    return Phone.new(api)


async def squat(phone: Phone) -> Account:
    """Somebody who is not its owner registers with the number."""
    return account(await phone.api.post("/api/v1/auth/register", {"phone_number": phone.number, "password": PASSWORD}))


@pytest.mark.promise("A29")
async def test_who_had_the_account_has_bound_it_to_no_country(phone: Phone) -> None:
    squatter = await squat(phone)
    body = {"allowed_countries": ["SE"]}
    bound = await phone.api.call("PUT", "/api/v1/users/me/countries", squatter.access, json=body, country="SE")
    assert bound.status_code == 200
    body = {"challenge_id": await phone.challenge(), "code": await phone.code()}
    owner = await phone.api.post(VERIFY, body, country="DE")
    assert (owner.status_code, owner.json()["user"]["id"]) == (200, str(squatter.id))
    answer = await phone.api.get("/api/v1/users/me/countries", owner.json()["access"])
    assert answer.json() == {"allowed_countries": None}


@pytest.mark.promise("A29")
async def test_every_token_of_who_had_the_account_is_refused(phone: Phone) -> None:
    """Those of programs too, which other services remember for a while: an epoch makes them ask anew."""
    squatter = await squat(phone)
    claims = access_claims(squatter.id, iat_ms=phone.api.clock.ms() - 2000)
    stray = access_token(phone.api.ring, claims)
    assert (await phone.api.me(stray)).status_code == 200
    owner = await phone.sign_in()
    assert await phone.api.ended(squatter.access) == "token_revoked"
    assert await phone.api.ended(stray) == "token_stale"
    assert (await phone.api.me(owner.json()["access"])).status_code == 200
