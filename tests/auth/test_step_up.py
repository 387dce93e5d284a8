"""Step-up: proving again who one is before what a stolen session must not do."""

import asyncio
import re
from uuid import uuid4

import pytest
from fastapi.routing import RouteContext
from sqlalchemy import text

from auth_service import deps
from tests.architecture.apps import routes
from tests.architecture.test_routes import dependencies
from tests.auth.api import PASSWORD, Account, Api, claims, session_of
from tests.auth.factors import (
    MFA,
    PASSKEYS,
    REAUTH,
    Person,
    add_passkey,
    audited,
    passkey_login,
    shown,
    signed_in,
    with_passkey,
    with_totp,
)

SENSITIVE = f"{MFA}/totp"
CLOSED = {
    f"POST {MFA}/totp",
    f"POST {MFA}/totp/confirm",
    f"DELETE {MFA}/totp",
    f"POST {MFA}/recovery-codes",
    f"POST {PASSKEYS}/register/options",
    f"POST {PASSKEYS}/register/verify",
    f"DELETE {PASSKEYS}/{{passkey_id}}",
    "POST /api/v1/auth/api-tokens",
    "POST /api/v1/users/me/email",
    "POST /api/v1/users/me/phone",
    "POST /api/v1/users/me/identities/begin",
    "DELETE /api/v1/users/me/identities/{identity_id}",
}


def asks(route: RouteContext) -> bool:
    return "openapi.json" not in str(route.path) and deps._confirmed in set(dependencies(route.dependant))


async def refused(api: Api, token: str) -> list[str] | None:
    """The methods that a sensitive change asks for; None when it is allowed."""
    answer = await api.post(SENSITIVE, token=token)
    if answer.status_code in {200, 409}:
        return None
    assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required"), answer.text
    methods: list[str] = answer.json()["methods"]
    return methods


async def without_password(api: Api, *, verified: bool = True) -> Account:
    made = await api.register()
    await api.sql("DELETE FROM passwords WHERE user_id = :id", id=made.id)
    if verified:
        await api.sql("UPDATE identifiers SET verified_at = now() WHERE user_id = :id AND kind = 'email'", id=made.id)
    return made


@pytest.mark.promise("A26")
async def test_a_fresh_sign_in_is_proof_for_five_minutes(ahead: Api) -> None:
    made = await ahead.register()
    ahead.clock.advance(290)
    assert await refused(ahead, made.access) is None
    ahead.clock.advance(11)
    assert await refused(ahead, made.access) == ["password"]


@pytest.mark.promise("A26")
async def test_whatever_asks_for_it_is_closed_to_an_older_sign_in(ahead: Api) -> None:
    made = await ahead.register()
    ahead.clock.advance(301)
    asking = [(route.methods, re.sub(r":\w+}", "}", str(route.path))) for route in routes(ahead.app) if asks(route)]
    closed = {f"{method} {path}" for methods, path in asking for method in methods or ()}
    assert closed >= CLOSED
    for each in closed:
        method, path = each.split()
        answer = await ahead.call(method, re.sub(r"{\w+}", str(uuid4()), path), made.access, json={})
        assert (answer.status_code, answer.json()["code"], answer.json()["methods"]) == (
            403,
            "reauth_required",
            ["password"],
        ), each


@pytest.mark.promise("A26")
async def test_the_password_proves_it_and_the_session_goes_on(ahead: Api) -> None:
    made = await ahead.register()
    ahead.clock.advance(301)
    again = signed_in(await ahead.post(REAUTH, {"password": PASSWORD}, made.access))
    assert await refused(ahead, again.access) is None
    assert session_of(again.access) == session_of(made.access)
    assert (await ahead.refresh(again.refresh)).status_code == 200


@pytest.mark.promise("A26")
async def test_refreshing_is_no_proof(ahead: Api) -> None:
    made = await ahead.register()
    ahead.clock.advance(301)
    renewed = (await ahead.refresh(made.refresh)).json()
    assert await refused(ahead, renewed["access"]) == ["password"]
    again = signed_in(await ahead.post(REAUTH, {"password": PASSWORD}, renewed["access"]))
    ahead.clock.advance(200)
    assert await refused(ahead, (await ahead.refresh(again.refresh)).json()["access"]) is None


@pytest.mark.promise("R11", "A26")
async def test_who_held_the_old_tokens_gains_nothing(ahead: Api) -> None:
    made = await ahead.register()
    ahead.clock.advance(301)
    again = signed_in(await ahead.post(REAUTH, {"password": PASSWORD}, made.access))
    assert await refused(ahead, made.access) == ["password"]
    assert (await ahead.me(made.access)).status_code == 200
    stolen = await ahead.refresh(made.refresh)
    assert (stolen.status_code, stolen.json()["code"]) == (401, "invalid_token")
    # The theft of the old one is not the owner's loss.
    assert (await ahead.refresh(again.refresh)).status_code == 200


@pytest.mark.promise("R11", "A26")
async def test_a_refresh_that_waits_for_it_gains_nothing(ahead: Api) -> None:
    """Whoever asks once more for the successor of a token while its owner confirms who they are."""
    made = await ahead.register()
    await ahead.refresh(made.refresh)
    async with ahead.db.transaction() as db:
        confirming = "UPDATE sessions SET salt = :salt, counter = counter + 1 WHERE id = CAST(:id AS uuid)"
        await db.execute(text(confirming), {"salt": b"s" * 16, "id": session_of(made.access)})
        late = asyncio.create_task(ahead.refresh(made.refresh))
        async with asyncio.timeout(20):
            while not await waiting(ahead):
                await asyncio.sleep(0.01)
    assert ((await late).status_code, (await late).json()["code"]) == (401, "invalid_token")


async def waiting(api: Api) -> bool:
    return bool(await api.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'sessions'"))


@pytest.mark.promise("A26")
async def test_other_sessions_are_not_confirmed_by_it(ahead: Api) -> None:
    made = await ahead.register()
    other = signed_in(await ahead.sign_in(email=made.email))
    ahead.clock.advance(301)
    await ahead.post(REAUTH, {"password": PASSWORD}, made.access)
    assert await refused(ahead, other.access) == ["password"]


@pytest.mark.promise("A26", "L9")
async def test_five_wrong_passwords_then_a_quarter_of_an_hour(ahead: Api) -> None:
    made = await ahead.register()
    for _ in range(5):
        answer = await ahead.post(REAUTH, {"password": "wrong horse battery"}, made.access)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert (await ahead.post(REAUTH, {"password": PASSWORD}, made.access)).status_code == 429
    assert (await ahead.sign_in(email=made.email)).status_code == 200
    assert [row.result for row in await audited(ahead, Person(made, ""), "session.confirmed")] == ["refused"] * 5


@pytest.mark.promise("A26")
async def test_where_there_is_a_second_factor_the_password_is_none(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    ahead.clock.advance(301)
    assert await refused(ahead, person.access) == ["totp", "recovery_code"]
    answer = await ahead.post(REAUTH, {"password": PASSWORD}, person.access)
    assert (answer.status_code, answer.json()["methods"]) == (403, ["totp", "recovery_code"])
    body = {"method": "totp", "code": person.app.next_code()}
    again = signed_in(await ahead.post(REAUTH, body, person.access))
    assert await refused(ahead, again.access) is None
    assert (await ahead.post(REAUTH, body, again.access)).status_code == 401


@pytest.mark.promise("A26", "R11")
async def test_a_factor_lifts_a_session_that_began_without(ahead: Api) -> None:
    made = await ahead.register()
    other = signed_in(await ahead.sign_in(email=made.email))
    person = Person(made, made.access)
    await add_passkey(ahead, person)
    assert person.passkey is not None
    weak = (await ahead.refresh(other.refresh)).json()["access"]
    assert await refused(ahead, weak) == ["passkey", "recovery_code"]
    answer = await shown(ahead, f"{REAUTH}/passkey/options", person.passkey, token=weak)
    lifted = signed_in(await ahead.post(REAUTH, {"method": "passkey", **answer}, weak))
    assert (claims(lifted.access)["aal"], claims(lifted.access)["amr"]) == (2, ["pwd", "hwk", "user", "mfa"])
    assert await refused(ahead, lifted.access) is None


@pytest.mark.promise("L12")
async def test_the_passkey_of_somebody_else_confirms_nobody(ahead: Api) -> None:
    ada, grace = await with_passkey(ahead), await with_passkey(ahead)
    assert grace.passkey is not None
    answer = await shown(ahead, f"{REAUTH}/passkey/options", grace.passkey, token=ada.access)
    assert (await ahead.post(REAUTH, {"method": "passkey", **answer}, ada.access)).status_code == 401
    answer = await shown(ahead, f"{REAUTH}/passkey/options", grace.passkey, token=grace.access)
    assert (await ahead.post(REAUTH, {"method": "passkey", **answer}, ada.access)).status_code == 401


@pytest.mark.promise("A26")
async def test_a_passkey_sign_in_is_proof_by_itself(ahead: Api) -> None:
    person = await with_passkey(ahead)
    assert person.passkey is not None
    made = signed_in(await passkey_login(ahead, person.passkey))
    assert await refused(ahead, made.access) is None


@pytest.mark.promise("L9")
async def test_guesses_here_and_at_signing_in_are_counted_together(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    for _ in range(5):
        body = {"method": "totp", "code": person.app.wrong_code()}
        assert (await ahead.post(REAUTH, body, person.access)).status_code == 401
    token = (await ahead.sign_in(email=person.account.email)).json()["mfa_token"]
    body = {"mfa_token": token, "method": "recovery_code", "code": person.codes[0]}
    assert (await ahead.post(f"{MFA}/verify", body)).status_code == 429


@pytest.mark.promise("A26")
async def test_without_password_and_factor_a_mailed_code_proves_it(ahead: Api) -> None:
    made = await without_password(ahead)
    ahead.clock.advance(301)
    assert await refused(ahead, made.access) == ["code"]
    sent = await ahead.post(f"{REAUTH}/code", token=made.access)
    assert sent.status_code == 202
    assert (await ahead.mails(made.email))[-1].kind == "reauth_code"
    body = {"method": "code", "ceremony_id": sent.json()["ceremony_id"], "code": await ahead.link_token(made.email)}
    wrong = {**body, "code": "000000" if body["code"] != "000000" else "111111"}
    assert (await ahead.post(REAUTH, wrong, made.access)).status_code == 401
    again = signed_in(await ahead.post(REAUTH, body, made.access))
    assert await refused(ahead, again.access) is None
    assert (await ahead.post(REAUTH, body, again.access)).status_code == 401


@pytest.mark.promise("A26")
async def test_a_mailed_code_is_for_its_owner_and_five_minutes(ahead: Api) -> None:
    ada, grace = await without_password(ahead), await without_password(ahead)
    sent = (await ahead.post(f"{REAUTH}/code", token=ada.access)).json()["ceremony_id"]
    body = {"method": "code", "ceremony_id": sent, "code": await ahead.link_token(ada.email)}
    assert (await ahead.post(REAUTH, body, grace.access)).status_code == 401
    ahead.clock.advance(301)
    assert (await ahead.post(REAUTH, body, ada.access)).status_code == 401


async def test_codes_are_for_those_who_have_nothing_better(ahead: Api) -> None:
    made = await ahead.register()
    answer = await ahead.post(f"{REAUTH}/code", token=made.access)
    assert (answer.status_code, answer.json()["methods"]) == (403, ["password"])
    nothing = await without_password(ahead, verified=False)
    assert (await ahead.post(f"{REAUTH}/code", token=nothing.access)).status_code == 409


async def test_codes_are_sent_five_times_an_hour(ahead: Api) -> None:
    made = await without_password(ahead)
    for status in (202, 202, 202, 202, 202, 429):
        assert (await ahead.post(f"{REAUTH}/code", token=made.access)).status_code == status


async def test_what_a_method_needs_is_said(ahead: Api) -> None:
    made = await ahead.register()
    for body in ({}, {"method": "totp"}, {"method": "code", "code": "1"}, {"method": "passkey"}, {"method": "wish"}):
        assert (await ahead.post(REAUTH, body, made.access)).status_code == 422


async def test_one_sees_whether_a_second_factor_is_set_up(ahead: Api) -> None:
    made = await ahead.register()
    assert (await ahead.me(made.access)).json()["mfa_enabled"] is False
    person = await with_totp(ahead)
    assert (await ahead.me(person.access)).json()["mfa_enabled"] is True
