"""Recovery codes."""

import asyncio
import re

import pytest

from tests.auth.api import Api
from tests.auth.factors import MFA, Person, add_passkey, mfa_token, verify, with_passkey, with_totp


async def used(api: Api, person: Person, code: str) -> int:
    return (await verify(api, await mfa_token(api, person), "recovery_code", code)).status_code


@pytest.mark.promise("A36")
async def test_ten_codes_come_with_the_first_factor(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert len(set(person.codes)) == 10
    for code in person.codes:
        # Eleven characters of this alphabet would be 54 bits.
        assert re.fullmatch(r"[2-9A-HJKMNP-Z]{4}(-[2-9A-HJKMNP-Z]{4}){2}", code)
    assert person.codes == await add_again(ahead, person)


async def add_again(api: Api, person: Person) -> list[str]:
    """The codes after a second factor was set up: those of the first."""
    answer = await add_passkey(api, person)
    assert answer.json()["recovery_codes"] == []
    return person.codes


@pytest.mark.promise("A36")
async def test_a_passkey_brings_them_too(ahead: Api) -> None:
    assert len((await with_passkey(ahead)).codes) == 10


@pytest.mark.promise("A36")
async def test_they_are_kept_as_hashes(ahead: Api) -> None:
    person = await with_totp(ahead)
    rows = await ahead.sql("SELECT lookup, hash FROM recovery_codes WHERE user_id = :id", id=person.account.id)
    assert {row.lookup for row in rows} == {code[:4] for code in person.codes}
    assert all(row.hash.startswith("$argon2id$") for row in rows)


@pytest.mark.promise("A36", "L11")
async def test_each_works_once(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert await used(ahead, person, person.codes[0]) == 200
    assert await used(ahead, person, person.codes[0]) == 401
    assert await used(ahead, person, person.codes[1].replace("-", " ").lower()) == 200


@pytest.mark.promise("A36", "L11")
async def test_of_parallel_uses_one_succeeds(ahead: Api) -> None:
    person = await with_totp(ahead)
    tokens = [await mfa_token(ahead, person) for _ in range(4)]
    answers = await asyncio.gather(*(verify(ahead, token, "recovery_code", person.codes[0]) for token in tokens))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


@pytest.mark.promise("L11")
async def test_the_code_of_somebody_else_opens_nothing(ahead: Api) -> None:
    ada, grace = await with_totp(ahead), await with_totp(ahead)
    assert await used(ahead, ada, grace.codes[0]) == 401
    assert await used(ahead, grace, grace.codes[0]) == 200


@pytest.mark.promise("A36", "L11")
async def test_new_codes_kill_the_old_ones(ahead: Api) -> None:
    person = await with_totp(ahead)
    answer = await ahead.post(f"{MFA}/recovery-codes", token=person.access)
    assert (await ahead.mails(person.account.email))[-1].variables == {"what": "recovery_codes_renewed"}
    assert await used(ahead, person, person.codes[0]) == 401
    assert await used(ahead, person, answer.json()["recovery_codes"][0]) == 200


@pytest.mark.promise("A36", "A45")
async def test_the_owner_hears_of_a_use_and_sees_what_is_left(ahead: Api) -> None:
    person = await with_totp(ahead)
    await used(ahead, person, person.codes[0])
    mail = (await ahead.mails(person.account.email))[-1]
    assert (mail.kind, mail.variables) == ("recovery_code_used", {"remaining": "9"})
    factors = (await ahead.get(MFA, person.access)).json()
    assert factors == {"enabled": True, "methods": ["totp", "recovery_code"], "recovery_codes_remaining": 9}


async def test_they_are_no_factor_of_their_own(ahead: Api) -> None:
    made = await ahead.register()
    answer = await ahead.post(f"{MFA}/recovery-codes", token=made.access)
    assert (answer.status_code, answer.json()["code"]) == (409, "no_second_factor")


async def test_they_go_with_the_last_factor(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert (await ahead.call("DELETE", f"{MFA}/totp", person.access)).status_code == 204
    assert await ahead.sql("SELECT 1 FROM recovery_codes WHERE user_id = :id", id=person.account.id) == []


@pytest.mark.parametrize("code", ["", "ABCD", "----", "\u0663\u0663\u0663\u0663-\u0663", "x" * 33])
async def test_nonsense_is_refused(ahead: Api, code: str) -> None:
    person = await with_totp(ahead)
    assert await used(ahead, person, code) in {401, 422}
