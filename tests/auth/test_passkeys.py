"""Passkeys."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.auth.api import Api, claims
from tests.auth.authenticator import BACKED_UP, ELIGIBLE, PRESENT, VERIFIED, Authenticator, encoded
from tests.auth.conftest import OpenApi
from tests.auth.factors import (
    PASSKEYS,
    Person,
    add_passkey,
    audited,
    passkey_login,
    shown,
    signed_in,
    with_passkey,
    with_totp,
)

LOGIN = f"{PASSKEYS}/login/options"
VERIFY = f"{PASSKEYS}/login/verify"


def device_of(person: Person) -> Authenticator:
    assert person.passkey is not None
    return person.passkey


@pytest.mark.promise("A37")
async def test_signing_in_names_nobody_and_counts_as_both_factors(ahead: Api) -> None:
    person = await with_passkey(ahead)
    made = signed_in(await passkey_login(ahead, device_of(person)))
    said = claims(made.access)
    assert (made.id, said["aal"], said["amr"]) == (person.account.id, 2, ["hwk", "user", "mfa"])


@pytest.mark.promise("A37")
async def test_browsers_are_asked_for_a_verified_user_and_a_credential_of_its_own(ahead: Api) -> None:
    made = await ahead.register()
    options = (await ahead.post(f"{PASSKEYS}/register/options", token=made.access)).json()["options"]
    assert options["rp"] == {"id": "localhost", "name": "Parley"}
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["user"]["id"] == encoded(made.id.bytes)
    asked = (await ahead.post(LOGIN)).json()["options"]
    assert (asked["rpId"], asked["userVerification"], asked["allowCredentials"]) == ("localhost", "required", [])


@pytest.mark.promise("A37")
async def test_a_passkey_that_is_known_is_not_offered_again(ahead: Api) -> None:
    person = await with_passkey(ahead)
    options = (await ahead.post(f"{PASSKEYS}/register/options", token=person.access)).json()["options"]
    assert [each["id"] for each in options["excludeCredentials"]] == [encoded(device_of(person).credential_id)]
    assert (await add_passkey(ahead, person, person.passkey)).status_code == 401


@pytest.mark.promise("A37", "L12")
@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:8000.evil.example"},
        {"origin": "http://localhost"},
        {"rp_id": "evil.example"},
        {"flags": PRESENT},
        {"flags": VERIFIED},
        {"flags": PRESENT | VERIFIED | BACKED_UP},
        {"cross_origin": True},
    ],
    ids=str,
)
async def test_wrong_answers_are_refused(ahead: Api, wrong: dict[str, Any]) -> None:
    new = await with_totp(ahead)
    refused = await add_passkey(ahead, new, Authenticator(**wrong))
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_passkey")
    person = await with_passkey(ahead)
    for name, value in wrong.items():
        setattr(device_of(person), name, value)
    refused = await passkey_login(ahead, device_of(person))
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_passkey")


@pytest.mark.promise("L12")
@pytest.mark.parametrize("fmt", ["fido-u2f", "tpm", "android-key", "apple", "compound", "unheard-of"])
async def test_no_attestation_by_others_is_taken(ahead: Api, fmt: str) -> None:
    person = Person(made := await ahead.register(), made.access)
    assert (await add_passkey(ahead, person, Authenticator(fmt=fmt))).status_code == 401


@pytest.mark.promise("L12")
async def test_a_key_may_speak_for_itself_if_it_does_so_truly(ahead: Api) -> None:
    person = Person(made := await ahead.register(), made.access)
    assert (await add_passkey(ahead, person, Authenticator(fmt="packed", certified=True))).status_code == 401
    assert (await add_passkey(ahead, person, Authenticator(fmt="packed", attested=b"else"))).status_code == 401
    assert (await add_passkey(ahead, person, Authenticator(fmt="packed"))).status_code == 201


@pytest.mark.promise("L12")
async def test_a_challenge_works_once(ahead: Api) -> None:
    person = await with_passkey(ahead)
    answer = await shown(ahead, LOGIN, device_of(person))
    assert (await ahead.post(VERIFY, answer)).status_code == 200
    assert (await ahead.post(VERIFY, answer)).status_code == 401
    other = await shown(ahead, LOGIN, device_of(person))
    assert (await ahead.post(VERIFY, {**answer, "ceremony_id": other["ceremony_id"]})).status_code == 401
    # The failure has used it up.
    assert (await ahead.post(VERIFY, other)).status_code == 401


@pytest.mark.promise("A37", "L12")
async def test_a_challenge_lasts_five_minutes(ahead: Api) -> None:
    person = await with_passkey(ahead)
    answer = await shown(ahead, LOGIN, device_of(person))
    ahead.clock.advance(301)
    assert (await ahead.post(VERIFY, answer)).status_code == 401


@pytest.mark.promise("L12")
async def test_a_challenge_of_setting_up_is_for_who_began(ahead: Api) -> None:
    ada, grace = await with_passkey(ahead), await with_passkey(ahead)
    asking = (await ahead.post(f"{PASSKEYS}/register/options", token=ada.access)).json()
    body = {"ceremony_id": asking["ceremony_id"], "credential": Authenticator().create(asking["options"])}
    assert (await ahead.post(f"{PASSKEYS}/register/verify", body, grace.access)).status_code == 401
    assert (await ahead.post(f"{PASSKEYS}/register/verify", body, ada.access)).status_code == 201


@pytest.mark.promise("L12")
@pytest.mark.parametrize("change", ["signature", "user", "nobody", "credential"])
async def test_forged_answers_are_refused(ahead: Api, change: str) -> None:
    person, other = await with_passkey(ahead), await with_passkey(ahead)
    device = device_of(person)
    if change == "signature":
        device.key = Authenticator().key
    elif change == "user":
        device.user_handle = encoded(other.account.id.bytes)
    elif change == "nobody":
        device.user_handle = None
    else:
        device.credential_id = device_of(other).credential_id
    assert (await passkey_login(ahead, device)).status_code == 401


@pytest.mark.promise("A37", "A45", "L12")
async def test_a_copied_key_is_noticed(ahead: Api) -> None:
    person = await with_passkey(ahead)
    device = device_of(person)
    assert (await passkey_login(ahead, device)).status_code == 200
    for _ in range(2):
        device.sign_count -= 1
        assert (await passkey_login(ahead, device)).status_code == 401
    assert [row.result for row in await audited(ahead, person, "passkey.cloned")] == ["refused"] * 2
    kinds = [mail.kind for mail in await ahead.mails(person.account.email)]
    assert kinds.count("passkey_cloned") == 1


@pytest.mark.promise("A37", "L12")
async def test_of_two_keys_with_one_count_one_gets_in(ahead: Api) -> None:
    person = await with_passkey(ahead)
    device = device_of(person)
    answers = []
    for _ in range(3):
        answers.append(await shown(ahead, LOGIN, device))
        device.sign_count = 0
    results = await asyncio.gather(*(ahead.post(VERIFY, answer) for answer in answers))
    assert sorted(result.status_code for result in results) == [200, 401, 401]


@pytest.mark.promise("L12")
async def test_a_forged_counter_accuses_nobody(ahead: Api) -> None:
    person = await with_passkey(ahead)
    device = device_of(person)
    await passkey_login(ahead, device)
    device.key, device.sign_count = Authenticator().key, 0
    assert (await passkey_login(ahead, device)).status_code == 401
    assert await audited(ahead, person, "passkey.cloned") == []


async def test_a_key_that_does_not_count_goes_on_without(ahead: Api) -> None:
    person = await with_passkey(ahead, Authenticator(counts=False, flags=PRESENT | VERIFIED | ELIGIBLE | BACKED_UP))
    for _ in range(2):
        assert (await passkey_login(ahead, device_of(person))).status_code == 200
    (kept,) = (await ahead.get(PASSKEYS, person.access)).json()["results"]
    assert (kept["backed_up"], kept["transports"]) == (True, ["internal"])


@pytest.mark.promise("A37")
async def test_ten_are_the_most(ahead: Api) -> None:
    person = await with_passkey(ahead)
    for _ in range(8):
        assert (await add_passkey(ahead, person)).status_code == 201
    answers = [await creation(ahead, person) for _ in range(3)]
    made = [ahead.post(f"{PASSKEYS}/register/verify", answer, person.access) for answer in answers]
    assert sorted(answer.status_code for answer in await asyncio.gather(*made)) == [201, 409, 409]
    fresh = (await ahead.post(f"{PASSKEYS}/login/verify", await shown(ahead, LOGIN, device_of(person)))).json()
    answer = await ahead.post(f"{PASSKEYS}/register/options", token=fresh["access"])
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_passkeys")


async def creation(api: Api, person: Person) -> dict[str, Any]:
    asking = (await api.post(f"{PASSKEYS}/register/options", token=person.access)).json()
    return {"ceremony_id": asking["ceremony_id"], "credential": Authenticator().create(asking["options"])}


@pytest.mark.promise("A37")
async def test_they_are_listed_renamed_and_removed(ahead: Api) -> None:
    person = await with_passkey(ahead)
    path = f"{PASSKEYS}/{person.passkey_id}"
    assert (await ahead.call("PATCH", path, person.access, json={"name": "Kitchen"})).json()["name"] == "Kitchen"
    (kept,) = (await ahead.get(PASSKEYS, person.access)).json()["results"]
    assert (kept["id"], kept["name"], UUID(kept["aaguid"])) == (person.passkey_id, "Kitchen", UUID(int=0))
    assert (await ahead.call("DELETE", path, person.access)).status_code == 204
    assert (await passkey_login(ahead, device_of(person))).status_code == 401
    fresh = (await ahead.refresh((await ahead.sign_in(email=person.account.email)).json()["refresh"])).json()["access"]
    assert (await ahead.get(PASSKEYS, fresh)).json()["results"] == []


@pytest.mark.promise("A37")
async def test_the_last_way_in_is_not_removed(ahead: Api) -> None:
    person = await with_passkey(ahead)
    await ahead.sql("DELETE FROM passwords WHERE user_id = :id", id=person.account.id)
    first = person.passkey_id
    answer = await ahead.call("DELETE", f"{PASSKEYS}/{first}", person.access)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_method")
    await add_passkey(ahead, person)
    assert (await ahead.call("DELETE", f"{PASSKEYS}/{first}", person.access)).status_code == 204


@pytest.mark.promise("L3")
async def test_guessing_at_a_password_stops_no_passkey(ahead: Api) -> None:
    person = await with_passkey(ahead)
    for _ in range(8):
        await ahead.sign_in("wrong horse battery", email=person.account.email)
    assert (await ahead.sign_in(email=person.account.email)).status_code in {403, 429}
    assert (await passkey_login(ahead, device_of(person))).status_code == 200


@pytest.mark.promise("L1")
async def test_asking_tells_nothing_of_anybody(ahead: Api) -> None:
    answers = [(await ahead.post(LOGIN)).json()["options"] for _ in range(2)]
    assert answers[0]["challenge"] != answers[1]["challenge"]
    assert {**answers[0], "challenge": ""} == {**answers[1], "challenge": ""}
    unknown = await passkey_login(ahead, Authenticator(user_handle=encoded(bytes(16))))
    assert (unknown.status_code, unknown.json()["code"]) == (401, "invalid_passkey")


@pytest.mark.parametrize("field", ["clientDataJSON", "authenticatorData", "signature", "attestationObject"])
@pytest.mark.parametrize("junk", ["AA", "e30", "bnVsbA", "W1tb", "_w", "pA", "A" * 1001, "W1tb" * 2000])
async def test_junk_is_refused_and_no_fault(ahead: Api, field: str, junk: str) -> None:
    device = Authenticator()
    made = await ahead.register()
    if field == "attestationObject":
        asking = (await ahead.post(f"{PASSKEYS}/register/options", token=made.access)).json()
        credential = device.create(asking["options"])
        credential["response"][field] = junk
        body = {"ceremony_id": asking["ceremony_id"], "credential": credential}
        assert (await ahead.post(f"{PASSKEYS}/register/verify", body, made.access)).status_code == 401
        return
    person = await with_passkey(ahead, device)
    answer = await shown(ahead, LOGIN, device_of(person))
    answer["credential"]["response"][field] = junk
    assert (await ahead.post(VERIFY, answer)).status_code in {401, 422}


async def test_pages_must_be_below_the_domain(open_api: OpenApi) -> None:
    with pytest.raises(ValueError, match="not below the domain"):
        async with open_api(webauthn_rp_id="example.com", webauthn_origins=["https://example.com.evil.example"]):
            pass


async def test_pages_below_the_domain_share_passkeys(open_api: OpenApi) -> None:
    origins = ["https://app.example.com", "https://example.com"]
    async with open_api(webauthn_rp_id="example.com", webauthn_origins=origins) as api:
        person = await with_passkey(api, Authenticator(origin=origins[0]))
        device_of(person).origin = origins[1]
        assert (await passkey_login(api, device_of(person))).status_code == 200
