"""Changing one's own password."""

import asyncio

import httpx2
import pytest

from tests.auth.api import PASSWORD, Account, Api, account, claims, fields, session_of, unique
from tests.auth.conftest import OpenApi

PATH = "/api/v1/users/me/password"
NEW = "staple battery horse"
SECOND_FACTOR = (
    "INSERT INTO totp (user_id, secret, last_counter, created_at, confirmed_at) VALUES (:id, 'x', 0, now(), now())"
)


async def change(api: Api, access: str, new: str = NEW, **body: object) -> httpx2.Response:
    return await api.post(PATH, {"new_password": new, "current_password": PASSWORD, **body}, access)


async def elsewhere(api: Api, made: Account) -> Account:
    return account(await api.sign_in(email=made.email))


@pytest.mark.promise("A23")
async def test_the_new_password_opens_and_the_old_one_does_not(api: Api) -> None:
    made = await api.register()
    assert (await change(api, made.access)).status_code == 200
    assert (await api.sign_in(email=made.email)).status_code == 401
    assert (await api.sign_in(NEW, email=made.email)).status_code == 200


@pytest.mark.promise("A23")
async def test_other_sessions_end_and_this_one_goes_on_with_new_tokens(api: Api) -> None:
    made = await api.register()
    other = await elsewhere(api, made)
    fresh = account(await change(api, made.access))
    assert session_of(fresh.access) == session_of(made.access)
    assert await api.ended(other.access) in ("token_revoked", "token_stale")
    assert (await api.refresh(other.refresh)).status_code == 401
    assert (await api.me(fresh.access)).status_code == 200
    assert (await api.refresh(fresh.refresh)).status_code == 200


@pytest.mark.promise("A23")
async def test_tokens_of_this_session_from_before_are_refused(api: Api) -> None:
    """Whoever copied them is out."""
    made = await api.register()
    fresh = account(await change(api, made.access))
    assert await api.ended(made.access) == "token_stale"
    assert (await api.refresh(made.refresh)).status_code == 401
    assert (await api.me(fresh.access)).status_code == 200


@pytest.mark.promise("A23")
async def test_other_sessions_can_be_kept(api: Api) -> None:
    made = await api.register()
    other = await elsewhere(api, made)
    await change(api, made.access, keep_sessions=True)
    assert await api.ended(other.access) == "token_stale"
    assert (await api.refresh(other.refresh)).status_code == 200


async def test_the_current_password_is_wanted_or_a_recent_proof(aging: Api) -> None:
    made = await aging.register()
    wrong = await change(aging, made.access, current_password="wrong horse battery")
    assert (wrong.status_code, list(fields(wrong))) == (422, ["current_password"])
    aging.clock.advance(301)
    unproved = await aging.post(PATH, {"new_password": NEW}, made.access)
    assert (unproved.status_code, unproved.json()["code"]) == (403, "reauth_required")
    assert (await change(aging, made.access)).status_code == 200


@pytest.mark.promise("A26")
async def test_where_there_is_a_second_factor_the_password_alone_changes_nothing(api: Api) -> None:
    made = await api.register()
    await api.sql(SECOND_FACTOR, id=made.id)
    refused = await change(api, made.access)
    assert (refused.status_code, refused.json()["code"]) == (403, "reauth_required")
    await api.sql("UPDATE sessions SET aal = 2 WHERE user_id = :id", id=made.id)
    assert (await change(api, made.access)).status_code == 200


async def test_a_recent_proof_is_enough(api: Api) -> None:
    made = await api.register()
    assert (await api.post(PATH, {"new_password": NEW}, made.access)).status_code == 200


async def test_who_has_a_session_cannot_find_out_the_password_with_it(api: Api) -> None:
    made = await api.register()
    answers = [await change(api, made.access, current_password=f"wrong horse {n}") for n in range(11)]
    assert [a.status_code for a in answers] == [422] * 10 + [429]


@pytest.mark.parametrize("new", ["short", "password1", PASSWORD, "Lovelace!!"])
async def test_a_bad_new_password_changes_nothing(api: Api, new: str) -> None:
    made = await api.register(last_name="Lovelace")
    refused = await change(api, made.access, new)
    assert (refused.status_code, list(fields(refused))) == (422, ["new_password"])
    assert (await api.me(made.access)).status_code == 200
    assert (await api.sign_in(email=made.email)).status_code == 200


@pytest.mark.promise("A4")
async def test_beside_a_second_factor_it_may_be_shorter(open_api: OpenApi) -> None:
    async with open_api(password_profile="nist") as api:
        made = await api.register()
        assert (await change(api, made.access, "14 characters!")).status_code == 422
        await api.sql(SECOND_FACTOR, id=made.id)
        await api.sql("UPDATE sessions SET aal = 2 WHERE user_id = :id", id=made.id)
        assert (await change(api, made.access, "14 characters!")).status_code == 200


async def test_of_two_changes_at_once_one_succeeds(api: Api) -> None:
    made = await api.register()
    answers = await asyncio.gather(change(api, made.access), change(api, made.access, "battery staple horse"))
    assert sorted(a.status_code for a in answers) == [200, 409]


@pytest.mark.promise("A45")
async def test_the_owner_is_told_and_it_is_in_the_audit_log(api: Api) -> None:
    made = await api.register()
    await change(api, made.access)
    assert [mail.kind for mail in await api.mails(made.email)][-1] == "password_changed"
    await change(api, account(await api.sign_in(NEW, email=made.email)).access, current_password="wrong horse battery")
    assert [(row.result, row.reason) for row in await api.audit("password.changed", subject_id=made.id)] == [
        ("ok", None),
        ("refused", "invalid_credentials"),
    ]


@pytest.mark.promise("L13")
async def test_a_change_of_address_that_was_under_way_is_void(api: Api) -> None:
    """Whoever held a stolen session must not end up with the account's mailbox."""
    made, elsewhere = await api.register(), f"{unique()}@example.com"
    assert (await api.post("/api/v1/users/me/email", {"email": elsewhere}, made.access)).status_code == 202
    token = await api.link_token(elsewhere)
    assert (await change(api, made.access)).status_code == 200
    assert (await api.post("/api/v1/auth/email/confirm", {"token": token})).status_code == 410


async def test_roles_wait_for_a_password_that_the_owner_chose(api: Api) -> None:
    made = await api.register()
    await api.sql(
        "UPDATE users SET must_change_password = true, roles = ARRAY['user', 'admin'] WHERE id = :id", id=made.id
    )
    signed_in = account(await api.sign_in(email=made.email))
    assert claims(signed_in.access)["roles"] == ["user"]
    refreshed = (await api.refresh(signed_in.refresh)).json()["access"]
    assert claims(refreshed)["roles"] == ["user"]
    assert claims(account(await change(api, refreshed)).access)["roles"] == ["user", "admin"]


async def test_nobody_changes_a_password_without_a_session(api: Api) -> None:
    assert (await api.post(PATH, {"new_password": NEW})).status_code == 401
