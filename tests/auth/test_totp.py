"""Authenticator apps."""

import asyncio
import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from auth_service.domain.totp import code_at
from tests.auth.api import Api, account
from tests.auth.factors import MFA, App, audited, mfa_token, verify, with_totp
from tests.auth.phones import Phone


@pytest.mark.parametrize(
    ("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_codes_are_those_of_the_standard(seconds: int, code: str) -> None:
    assert code_at(b"12345678901234567890", seconds // 30) == code


@pytest.mark.promise("A34")
async def test_a_secret_is_random_long_and_shown_once(ahead: Api) -> None:
    made = await ahead.register()
    first = (await ahead.post(f"{MFA}/totp", token=made.access)).json()
    second = (await ahead.post(f"{MFA}/totp", token=made.access)).json()
    assert len(base64.b32decode(first["secret"])) == 20
    assert first["secret"] != second["secret"]
    address = urlsplit(second["otpauth_uri"])
    assert (address.scheme, address.netloc, address.path) == ("otpauth", "totp", f"/Parley:{made.email}")
    assert parse_qs(address.query)["secret"] == [second["secret"]]


@pytest.mark.promise("A34")
async def test_the_secret_is_encrypted_for_its_owner(ahead: Api) -> None:
    person = await with_totp(ahead)
    (row,) = await ahead.sql("SELECT secret FROM totp WHERE user_id = :id", id=person.account.id)
    assert person.app is not None
    assert base64.b32decode(person.app.secret).hex() not in row.secret
    assert ahead.app.state.cipher.decrypt(row.secret, f"totp:{person.account.id}")


@pytest.mark.promise("A34")
async def test_it_counts_after_it_was_confirmed(ahead: Api) -> None:
    made = await ahead.register()
    app = App(ahead, (await ahead.post(f"{MFA}/totp", token=made.access)).json()["secret"])
    assert (await ahead.sign_in(email=made.email)).status_code == 200
    wrong = await ahead.post(f"{MFA}/totp/confirm", {"code": app.wrong_code()}, made.access)
    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_code")
    assert (await ahead.post(f"{MFA}/totp/confirm", {"code": app.code()}, made.access)).status_code == 200
    assert (await ahead.sign_in(email=made.email)).json()["methods"] == ["totp", "recovery_code"]


@pytest.mark.promise("A34")
@pytest.mark.parametrize("steps", [-1, 0, 1])
async def test_a_clock_may_be_half_a_minute_off(ahead: Api, steps: int) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    ahead.clock.advance(90 - ahead.clock.seconds() % 30)
    code = person.app.code(steps=steps)
    assert (await verify(ahead, await mfa_token(ahead, person), "totp", code)).status_code == 200


async def test_a_clock_may_not_be_more_than_that_off(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    ahead.clock.advance(120)
    token = await mfa_token(ahead, person)
    for steps in (-3, 3):
        assert (await verify(ahead, token, "totp", person.app.code(steps=steps))).status_code == 401


@pytest.mark.promise("A35", "L8")
async def test_a_code_counts_once(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    code = person.app.next_code()
    assert (await verify(ahead, await mfa_token(ahead, person), "totp", code)).status_code == 200
    assert (await verify(ahead, await mfa_token(ahead, person), "totp", code)).status_code == 401
    ahead.clock.advance(30)
    assert (await verify(ahead, await mfa_token(ahead, person), "totp", code)).status_code == 401


@pytest.mark.promise("A35", "L8")
async def test_the_code_that_confirmed_the_app_is_spent(still: Api) -> None:
    person = await with_totp(still)
    assert person.app is not None
    token = await mfa_token(still, person)
    assert (await verify(still, token, "totp", person.app.code())).status_code == 401


@pytest.mark.promise("A35", "L8")
async def test_an_earlier_code_is_spent_with_a_later_one(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    ahead.clock.advance(60)
    later, earlier = person.app.code(steps=1), person.app.code()
    assert (await verify(ahead, await mfa_token(ahead, person), "totp", later)).status_code == 200
    assert (await verify(ahead, await mfa_token(ahead, person), "totp", earlier)).status_code == 401


@pytest.mark.promise("A35", "L8")
async def test_of_parallel_uses_one_succeeds(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    code = person.app.next_code()
    tokens = [await mfa_token(ahead, person) for _ in range(5)]
    answers = await asyncio.gather(*(verify(ahead, token, "totp", code) for token in tokens))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]


async def test_without_an_address_it_is_set_up_all_the_same(ahead: Api) -> None:
    made = account(await Phone.new(ahead).sign_in())
    begun = (await ahead.post(f"{MFA}/totp", token=made.access)).json()
    assert urlsplit(begun["otpauth_uri"]).path == f"/Parley:{made.username}"
    code = App(ahead, begun["secret"]).code()
    assert (await ahead.post(f"{MFA}/totp/confirm", {"code": code}, made.access)).status_code == 200


async def test_a_second_app_needs_the_first_removed(ahead: Api) -> None:
    person = await with_totp(ahead)
    answer = await ahead.post(f"{MFA}/totp", token=person.access)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_enrolled")
    assert (await ahead.call("DELETE", f"{MFA}/totp", person.access)).status_code == 204
    assert (await ahead.sign_in(email=person.account.email)).status_code == 200


async def test_setting_up_needs_a_recent_proof(ahead: Api) -> None:
    made = await ahead.register()
    ahead.clock.advance(301)
    answer = await ahead.post(f"{MFA}/totp", token=made.access)
    assert (answer.status_code, answer.json()["code"], answer.json()["methods"]) == (
        403,
        "reauth_required",
        ["password"],
    )


async def test_what_is_not_there_is_not_removed(ahead: Api) -> None:
    made = await ahead.register()
    assert (await ahead.call("DELETE", f"{MFA}/totp", made.access)).status_code == 404


async def test_setting_up_and_using_are_audited(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    assert len(await audited(ahead, person, "factor.totp_added")) == 1
    token = await mfa_token(ahead, person)
    await verify(ahead, token, "totp", person.app.wrong_code())
    await verify(ahead, token, "totp", person.app.next_code())
    assert [tuple(row) for row in await audited(ahead, person, "factor.used")] == [("refused", "totp"), ("ok", "totp")]
