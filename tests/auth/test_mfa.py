"""The second half of a sign-in, and what a change of factors does to everything else."""

import asyncio
import re
from uuid import uuid4

import pytest

from libs import auth
from libs.errors import WrongTokenType
from libs.tokens import AUDIENCE, ServiceTokens, Verifier
from tests.architecture.apps import routes
from tests.architecture.test_routes import dependencies
from tests.auth.api import PASSWORD, Api, account, claims, session_of
from tests.auth.authenticator import Authenticator
from tests.auth.clients import FAMILIES
from tests.auth.factors import (
    MFA,
    PASSKEYS,
    REAUTH,
    App,
    Person,
    add_passkey,
    audited,
    mfa_token,
    shown,
    signed_in,
    verify,
    with_passkey,
    with_totp,
)
from tests.auth.phones import Phone


@pytest.mark.promise("A39")
async def test_the_second_factor_makes_the_session(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    token = await mfa_token(ahead, person)
    made = signed_in(await verify(ahead, token, "totp", person.app.next_code()))
    said = claims(made.access)
    assert (said["aal"], said["amr"]) == (2, ["pwd", "otp", "mfa"])
    renewed = claims((await ahead.refresh(made.refresh)).json()["access"])
    assert (renewed["aal"], renewed["amr"], renewed["sid"]) == (2, ["pwd", "otp", "mfa"], said["sid"])


@pytest.mark.promise("A39", "R11")
async def test_no_session_exists_before_it(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    token = await mfa_token(ahead, person)
    assert claims(token)["sid"] == ""
    (count,) = await ahead.sql("SELECT count(*) AS n FROM sessions WHERE user_id = :id", id=person.account.id)
    assert count.n == 1
    made = signed_in(await verify(ahead, token, "totp", person.app.next_code()))
    assert session_of(made.access) != session_of(person.access)


@pytest.mark.promise("A39", "L10")
async def test_an_mfa_token_opens_no_other_route(ahead: Api) -> None:
    person = await with_totp(ahead)
    token = await mfa_token(ahead, person)
    for route in routes(ahead.app):
        if not str(route.path).startswith("/api/v1") or "openapi.json" in str(route.path):
            continue
        if auth._current_user not in set(dependencies(route.dependant)):
            continue
        for method in route.methods or set():
            answer = await ahead.call(method, re.sub(r"{[\w:]+}", str(uuid4()), str(route.path)), token)
            if method != "HEAD":
                assert (answer.status_code, answer.json()["code"]) == (401, "wrong_token_type"), route.path
    assert (await ahead.refresh(token)).json()["code"] == "wrong_token_type"


@pytest.mark.promise("A39", "L10")
async def test_no_other_token_opens_the_second_half(ahead: Api) -> None:
    person = await with_totp(ahead)
    others = [person.access, ServiceTokens(ahead.ring, "chat", ahead.clock).token_for("auth")]
    for token in others:
        assert (await verify(ahead, token, "totp", "123456")).json()["code"] == "wrong_token_type"
        assert (await ahead.post(f"{MFA}/passkey/options", {"mfa_token": token})).json()["code"] == "wrong_token_type"
    answer = await verify(ahead, person.account.refresh, "totp", "123456")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


@pytest.mark.promise("A39", "L10")
async def test_other_services_take_no_mfa_token(ahead: Api) -> None:
    token = await mfa_token(ahead, await with_totp(ahead))
    assert claims(token)["aud"] == "auth"
    for audience in (AUDIENCE, "auth", "chat"):
        with pytest.raises(WrongTokenType):
            Verifier(ahead.ring, ahead.clock, audience=audience).verify(token)


@pytest.mark.promise("A38", "L10")
async def test_a_device_that_is_known_spares_nobody_the_factor(ahead: Api) -> None:
    ada, grace = await with_totp(ahead), await with_totp(ahead)
    assert ada.app is not None
    made = await verify(ahead, await mfa_token(ahead, ada), "totp", ada.app.next_code())
    device = {"X-Device-Token": made.headers["X-Device-Token"]}
    for person in (ada, grace):
        answer = await ahead.sign_in(email=person.account.email, headers=device)
        assert (answer.status_code, answer.json()["code"]) == (403, "mfa_required")


@pytest.mark.promise("A38", "L10")
async def test_a_code_on_the_phone_is_the_first_half_only(ahead: Api) -> None:
    phone = Phone.new(ahead)
    made = account(await phone.sign_in())
    person = Person(made, made.access)
    await add_passkey(ahead, person)
    ahead.clock.advance(61)
    answer = await phone.sign_in()
    assert (answer.status_code, answer.json()["methods"]) == (403, ["passkey", "recovery_code"])
    finished = signed_in(await verify(ahead, answer.json()["mfa_token"], "recovery_code", person.codes[0]))
    assert claims(finished.access)["aal"] == 2


@pytest.mark.promise("A38", "L10")
@pytest.mark.parametrize("name", FAMILIES)
async def test_existing_clients_are_asked_for_it_too(ahead: Api, name: str) -> None:
    person, calls = await with_totp(ahead), FAMILIES[name]
    login = {"email": person.account.email, "username": person.account.username}[calls.name]
    refused = await ahead.post(calls.login, {calls.name: login, "password": PASSWORD})
    token = re.search(r'"mfa_token":\s*"([\w.-]+)"', refused.text)
    assert refused.status_code == 403, refused.text
    assert token, refused.text
    made = signed_in(await verify(ahead, token[1], "recovery_code", person.codes[0]))
    assert (await ahead.post(calls.refresh, {calls.refresh_field: made.refresh})).status_code == 200


@pytest.mark.promise("A39")
async def test_it_lasts_five_minutes(ahead: Api) -> None:
    person = await with_totp(ahead)
    token = await mfa_token(ahead, person)
    ahead.clock.advance(331)
    answer = await verify(ahead, token, "recovery_code", person.codes[0])
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


@pytest.mark.promise("A39")
async def test_it_makes_one_session(ahead: Api) -> None:
    person = await with_totp(ahead)
    token = await mfa_token(ahead, person)
    answers = await asyncio.gather(*(verify(ahead, token, "recovery_code", code) for code in person.codes[:3]))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    again = await verify(ahead, token, "recovery_code", person.codes[3])
    assert (again.status_code, again.json()["code"]) == (401, "invalid_token")


@pytest.mark.promise("A39", "L10")
async def test_it_dies_with_a_change_of_factors(ahead: Api) -> None:
    person = await with_totp(ahead)
    ahead.clock.advance(1)
    token = await mfa_token(ahead, person)
    ahead.clock.advance(1)
    codes = (await ahead.post(f"{MFA}/recovery-codes", token=person.access)).json()["recovery_codes"]
    assert (await verify(ahead, token, "recovery_code", codes[0])).json()["code"] == "invalid_token"


@pytest.mark.promise("L9")
async def test_five_guesses_then_nothing_for_a_quarter_of_an_hour(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    for _ in range(4):
        token = await mfa_token(ahead, person)
        assert (await verify(ahead, token, "totp", person.app.wrong_code())).status_code == 401
    assert (await verify(ahead, token, "recovery_code", "ABCD-EFGH-JKMN")).status_code == 401
    for method, code in (("totp", person.app.next_code()), ("recovery_code", person.codes[0])):
        answer = await verify(ahead, await mfa_token(ahead, person), method, code)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) <= 900
    ahead.clock.advance(901)
    assert (await verify(ahead, await mfa_token(ahead, person), "totp", person.app.code())).status_code == 200


@pytest.mark.promise("L9")
async def test_guesses_that_come_at_once_are_no_more(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    token = await mfa_token(ahead, person)
    answers = await asyncio.gather(*(verify(ahead, token, "totp", person.app.wrong_code()) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 7


@pytest.mark.promise("L9", "A45")
async def test_the_owner_hears_of_guesses_once(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    token = await mfa_token(ahead, person)
    for _ in range(8):
        await verify(ahead, token, "totp", person.app.wrong_code())
    assert [mail.kind for mail in await ahead.mails(person.account.email)].count("factor_locked") == 1
    assert len(await audited(ahead, person, "factor.locked")) == 1


@pytest.mark.promise("L9")
async def test_guesses_at_one_account_slow_nobody_else(ahead: Api) -> None:
    ada, grace = await with_totp(ahead), await with_totp(ahead)
    assert ada.app is not None
    assert grace.app is not None
    token = await mfa_token(ahead, ada)
    for _ in range(6):
        await verify(ahead, token, "totp", ada.app.wrong_code())
    assert (await verify(ahead, await mfa_token(ahead, grace), "totp", grace.app.next_code())).status_code == 200


@pytest.mark.promise("A11", "L9")
async def test_wrong_passwords_and_wrong_codes_are_counted_apart(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    token = await mfa_token(ahead, person)
    for _ in range(4):
        await ahead.sign_in("wrong horse battery", email=person.account.email)
    for _ in range(4):
        assert (await verify(ahead, token, "totp", person.app.wrong_code())).status_code == 401
    assert (await ahead.sign_in(email=person.account.email)).json()["code"] == "mfa_required"
    assert (await verify(ahead, token, "totp", person.app.next_code())).status_code == 200


@pytest.mark.promise("L9")
async def test_right_codes_are_not_counted(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    for _ in range(7):
        assert (await verify(ahead, await mfa_token(ahead, person), "totp", person.app.next_code())).status_code == 200


@pytest.mark.promise("A37", "A39")
async def test_a_passkey_ends_a_sign_in_too(ahead: Api) -> None:
    person = await with_passkey(ahead)
    assert person.passkey is not None
    token = await mfa_token(ahead, person)
    answer = await shown(ahead, f"{MFA}/passkey/options", person.passkey, {"mfa_token": token})
    made = signed_in(await ahead.post(f"{MFA}/verify", {"mfa_token": token, "method": "passkey", **answer}))
    assert (claims(made.access)["aal"], claims(made.access)["amr"]) == (2, ["pwd", "hwk", "user", "mfa"])


@pytest.mark.promise("L12")
async def test_the_passkey_of_somebody_else_ends_no_sign_in(ahead: Api) -> None:
    ada, grace = await with_passkey(ahead), await with_passkey(ahead)
    assert grace.passkey is not None
    token = await mfa_token(ahead, ada)
    for handle in (grace.passkey.user_handle, None):
        grace.passkey.user_handle = handle
        answer = await shown(ahead, f"{MFA}/passkey/options", grace.passkey, {"mfa_token": token})
        refused = await ahead.post(f"{MFA}/verify", {"mfa_token": token, "method": "passkey", **answer})
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_passkey")


@pytest.mark.promise("L12")
async def test_a_challenge_is_for_one_purpose(ahead: Api) -> None:
    person = await with_passkey(ahead)
    assert person.passkey is not None
    token = await mfa_token(ahead, person)
    answer = await shown(ahead, f"{PASSKEYS}/login/options", person.passkey)
    assert (await ahead.post(f"{MFA}/verify", {"mfa_token": token, "method": "passkey", **answer})).status_code == 401
    answer = await shown(ahead, f"{MFA}/passkey/options", person.passkey, {"mfa_token": token})
    assert (await ahead.post(f"{PASSKEYS}/login/verify", answer)).status_code == 401
    answer = await shown(ahead, f"{MFA}/passkey/options", person.passkey, {"mfa_token": token})
    assert (await ahead.post(REAUTH, {"method": "passkey", **answer}, person.access)).status_code == 401


async def test_what_a_method_needs_is_said(ahead: Api) -> None:
    person = await with_totp(ahead)
    token = await mfa_token(ahead, person)
    for body in ({"method": "totp"}, {"method": "passkey", "code": "123456"}, {"method": "sms", "code": "1"}):
        assert (await ahead.post(f"{MFA}/verify", {"mfa_token": token, **body})).status_code == 422


@pytest.mark.promise("A23")
async def test_a_new_factor_makes_older_access_tokens_stale(ahead: Api) -> None:
    made = await ahead.register()
    ahead.clock.advance(1)
    secret = (await ahead.post(f"{MFA}/totp", token=made.access)).json()["secret"]
    body = {"code": App(ahead, secret).code()}
    added = (await ahead.post(f"{MFA}/totp/confirm", body, made.access)).json()
    assert await ahead.ended(made.access) == "token_stale"
    fresh = claims(added["tokens"]["access"])
    assert (fresh["aal"], fresh["amr"], fresh["sid"]) == (2, ["pwd", "otp", "mfa"], session_of(made.access))
    assert (await ahead.me(added["tokens"]["access"])).status_code == 200


@pytest.mark.promise("A36")
async def test_of_two_first_factors_at_once_one_brings_codes(ahead: Api) -> None:
    made = await ahead.register()
    app = App(ahead, (await ahead.post(f"{MFA}/totp", token=made.access)).json()["secret"])
    asking = (await ahead.post(f"{PASSKEYS}/register/options", token=made.access)).json()
    credential = {"ceremony_id": asking["ceremony_id"], "credential": Authenticator().create(asking["options"])}
    answers = await asyncio.gather(
        ahead.post(f"{MFA}/totp/confirm", {"code": app.code()}, made.access),
        ahead.post(f"{PASSKEYS}/register/verify", credential, made.access),
    )
    codes = [len(answer.json().get("recovery_codes", [])) for answer in answers]
    assert sum(codes) == 10, [answer.text for answer in answers]


@pytest.mark.promise("A23")
@pytest.mark.parametrize("keep", [False, True])
async def test_removing_a_factor_ends_other_sessions(ahead: Api, keep: bool) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    other = signed_in(await verify(ahead, await mfa_token(ahead, person), "totp", person.app.next_code()))
    ahead.clock.advance(1)
    path = f"{MFA}/totp?keep_sessions={str(keep).lower()}"
    assert (await ahead.call("DELETE", path, person.access)).status_code == 204
    assert await ahead.ended(other.access) in ({"token_stale"} if keep else {"token_revoked", "token_stale"})
    assert (await ahead.refresh(other.refresh)).status_code == (200 if keep else 401)


@pytest.mark.promise("A45")
async def test_the_owner_hears_of_each_change(ahead: Api) -> None:
    person = await with_passkey(ahead)
    await ahead.call("DELETE", f"{PASSKEYS}/{person.passkey_id}", person.access)
    told = [mail.variables for mail in await ahead.mails(person.account.email) if mail.kind == "mfa_changed"]
    assert told == [{"what": "passkey_added"}, {"what": "passkey_removed"}]


@pytest.mark.promise("L10")
async def test_a_stolen_session_cannot_remove_the_factor(ahead: Api) -> None:
    person = await with_totp(ahead)
    ahead.clock.advance(301)
    answer = await ahead.call("DELETE", f"{MFA}/totp", person.access)
    assert (answer.status_code, answer.json()["methods"]) == (403, ["totp", "recovery_code"])
    refused = await ahead.post(REAUTH, {"password": "correct horse battery"}, person.access)
    assert (refused.status_code, refused.json()["code"]) == (403, "reauth_required")
    assert (await ahead.sign_in(email=person.account.email)).status_code == 403


@pytest.mark.promise("L10")
async def test_a_session_of_the_first_factor_alone_stays_one(ahead: Api) -> None:
    """Begun before the factor was set up: it refreshes, and never to more than it was."""
    made = await ahead.register()
    other = signed_in(await ahead.sign_in(email=made.email))
    person = Person(made, made.access)
    await add_passkey(ahead, person, Authenticator())
    renewed = (await ahead.refresh(other.refresh)).json()["access"]
    assert claims(renewed)["aal"] == 1
    answer = await ahead.call("DELETE", f"{PASSKEYS}/{person.passkey_id}", renewed)
    assert (answer.status_code, answer.json()["methods"]) == (403, ["passkey", "recovery_code"])


@pytest.mark.promise("A38", "L10")
async def test_a_suspended_account_gets_no_further(ahead: Api) -> None:
    person = await with_totp(ahead)
    token = await mfa_token(ahead, person)
    await ahead.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=person.account.id)
    assert (await verify(ahead, token, "recovery_code", person.codes[0])).status_code == 401


async def test_foreign_passkeys_do_not_exist(ahead: Api) -> None:
    ada, grace = await with_passkey(ahead), await with_passkey(ahead)
    for method, body in (("PATCH", {"name": "mine"}), ("DELETE", None)):
        for passkey_id in (grace.passkey_id, uuid4()):
            answer = await ahead.call(method, f"{PASSKEYS}/{passkey_id}", ada.access, json=body)
            assert answer.status_code == 404
