"""A new password by mail."""

import asyncio

import httpx2
import pytest

from libs.testing.clients import some_address
from tests.auth.api import Account, Api, fields, unique
from tests.auth.test_accounts import phone_number
from tests.auth.test_password_change import NEW, SECOND_FACTOR, change
from tests.auth.test_throttles import WRONG, fail_up_to

FORGOT = "/api/v1/auth/password/forgot"
RESET = "/api/v1/auth/password/reset"


async def forgot(api: Api, email: str, **request: object) -> httpx2.Response:
    return await api.post(FORGOT, {"email": email}, **request)


async def link(api: Api, email: str) -> str:
    assert (await forgot(api, email)).status_code == 202
    assert (await api.mails(email))[-1].kind == "reset_password"
    return await api.link_token(email)


async def reset(api: Api, token: str, new: str = NEW) -> httpx2.Response:
    return await api.post(RESET, {"token": token, "new_password": new})


async def confirmed(api: Api, **changed: str) -> Account:
    made = await api.register(**changed)
    await api.sql("UPDATE identifiers SET verified_at = created_at WHERE user_id = :id", id=made.id)
    return made


@pytest.mark.promise("A40", "L13")
async def test_a_link_sets_the_password_once(api: Api) -> None:
    made = await confirmed(api)
    token = await link(api, made.email)
    answers = await asyncio.gather(*(reset(api, token) for _ in range(5)))
    assert sorted(a.status_code for a in answers) == [200] + [410] * 4
    assert (await api.sign_in(email=made.email)).status_code == 401
    assert (await api.sign_in(NEW, email=made.email)).status_code == 200


@pytest.mark.promise("A38")
async def test_it_signs_nobody_in_and_every_session_ends(api: Api) -> None:
    made = await confirmed(api)
    answer = await reset(api, await link(api, made.email))
    assert answer.json() == {"status": "password_changed"}
    assert await api.ended(made.access) in ("token_revoked", "token_stale")
    assert (await api.refresh(made.refresh)).status_code == 401
    assert [mail.kind for mail in await api.mails(made.email)][-1] == "password_changed"


@pytest.mark.promise("A38")
async def test_the_second_factor_is_still_wanted(api: Api) -> None:
    made = await confirmed(api)
    await api.sql(SECOND_FACTOR, id=made.id)
    assert (await reset(api, await link(api, made.email))).status_code == 200
    assert (await api.sign_in(NEW, email=made.email)).json()["code"] == "mfa_required"


@pytest.mark.promise("L1")
async def test_known_unknown_and_impossible_addresses_are_answered_alike(api: Api) -> None:
    made, suspended = await confirmed(api), await confirmed(api)
    await api.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=suspended.id)
    answers = [await forgot(api, email) for email in (made.email, f"{unique()}@example.com", suspended.email)]
    assert {(a.status_code, a.text, a.headers["X-Database-Queries"]) for a in answers} == {
        (202, '{"status":"reset_sent"}', answers[0].headers["X-Database-Queries"])
    }
    assert (await forgot(api, "no address")).status_code == 202
    assert "reset_password" not in [mail.kind for mail in await api.mails(suspended.email)]


async def test_five_links_an_hour_are_sent_and_the_answer_stays_the_same(still: Api) -> None:
    made = await confirmed(still)
    answers = await asyncio.gather(*(forgot(still, made.email, ip=some_address()) for _ in range(8)))
    assert {a.status_code for a in answers} == {202}
    assert [mail.kind for mail in await still.mails(made.email)].count("reset_password") == 5
    still.clock.advance(3601)
    await link(still, made.email)
    assert [mail.kind for mail in await still.mails(made.email)].count("reset_password") == 6


async def test_one_network_asks_twenty_times_an_hour(api: Api) -> None:
    answers = [await forgot(api, f"{unique()}@example.com") for _ in range(21)]
    assert [a.status_code for a in answers] == [202] * 20 + [429]


@pytest.mark.promise("L13")
async def test_other_links_die_with_the_first_that_is_used_and_when_the_password_changes(api: Api) -> None:
    made = await confirmed(api)
    first, second, third = [await link(api, made.email) for _ in range(3)]
    assert (await reset(api, second)).status_code == 200
    assert [(await reset(api, token)).status_code for token in (first, third)] == [410, 410]
    other = await confirmed(api)
    fourth = await link(api, other.email)
    assert (await change(api, other.access)).status_code == 200
    assert (await reset(api, fourth)).status_code == 410


@pytest.mark.promise("L13")
async def test_a_link_lives_for_half_an_hour_and_only_as_long_as_the_address_is_the_accounts(aging: Api) -> None:
    late, moved = await confirmed(aging), await confirmed(aging)
    token = await link(aging, late.email)
    aging.clock.advance(1801)
    assert (await reset(aging, token)).status_code == 410
    token = await link(aging, moved.email)
    statement = "UPDATE identifiers SET value = :new, value_norm = :new WHERE user_id = :id AND kind = 'email'"
    await aging.sql(statement, new=f"{unique()}@example.com", id=moved.id)
    assert (await reset(aging, token)).status_code == 410
    assert (await aging.sign_in(username=moved.username)).status_code == 200


@pytest.mark.promise("L13")
async def test_opening_a_link_and_made_up_tokens_change_nothing(api: Api) -> None:
    made = await confirmed(api)
    token = await link(api, made.email)
    for method in ("GET", "HEAD"):
        assert (await api.call(method, RESET, params={"token": token})).status_code == 405
    verifying = await api.register()
    for wrong in ("x", token[:-1], await api.link_token(verifying.email)):
        assert (await reset(api, wrong)).status_code == 401
    assert (await api.sign_in(email=made.email)).status_code == 200


@pytest.mark.promise("L13")
async def test_the_host_of_the_request_gets_into_no_mail(api: Api) -> None:
    made = await confirmed(api)
    await forgot(api, made.email, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    rows = await api.sql("SELECT data::text AS data FROM outbox WHERE data->>'email' = :email", email=made.email)
    assert all("evil.example" not in row.data for row in rows)


async def test_a_bad_password_leaves_the_link_alive(api: Api) -> None:
    made = await confirmed(api)
    token = await link(api, made.email)
    assert list(fields(await reset(api, token, "password1"))) == ["new_password"]
    assert (await reset(api, token)).status_code == 200


@pytest.mark.promise("L3")
async def test_a_reset_works_while_strangers_guess_and_its_device_signs_in(still: Api) -> None:
    made = await confirmed(still)
    await fail_up_to(still, made, 100)
    answer = await reset(still, await link(still, made.email))
    for _ in range(12):
        await still.sign_in(WRONG, email=made.email, ip=some_address())
    device = {"X-Device-Token": answer.headers["X-Device-Token"]}
    assert (await still.sign_in(NEW, email=made.email, headers=device)).status_code == 200


async def test_the_mailbox_takes_an_account_over_whose_address_nobody_had_confirmed(api: Api) -> None:
    """Registered by a stranger, with a number of theirs: nothing of that opens it any more."""
    made = await api.register(phone_number=phone_number())
    await api.sql("UPDATE users SET allowed_countries = ARRAY['NZ'] WHERE id = :id", id=made.id)
    assert (await reset(api, await link(api, made.email))).status_code == 200
    signed_in = await api.sign_in(NEW, email=made.email, country="DE")
    me = (await api.me(signed_in.json()["access"])).json()
    assert (me["email_verified"], me["phone_number"]) == (True, None)


async def test_an_unconfirmed_address_opens_no_account_that_has_something_better(api: Api) -> None:
    made = await api.register(phone_number=phone_number())
    await api.sql("UPDATE identifiers SET verified_at = now() WHERE user_id = :id AND kind = 'phone'", id=made.id)
    await forgot(api, made.email)
    assert "reset_password" not in [mail.kind for mail in await api.mails(made.email)]


@pytest.mark.promise("L13")
async def test_nor_does_a_link_that_was_sent_before_it_had_something_better(api: Api) -> None:
    """Else whoever registered it adds a key of theirs in the meantime, and the owner takes it over with that."""
    made = await api.register()
    token = await link(api, made.email)
    await api.sql(SECOND_FACTOR, id=made.id)
    assert (await reset(api, token)).status_code == 410
    assert (await api.sign_in(email=made.email)).json()["code"] == "mfa_required"


async def test_asking_and_resetting_are_in_the_audit_log(api: Api) -> None:
    made = await confirmed(api)
    await reset(api, await link(api, made.email))
    assert [row.ip for row in await api.audit("password.reset_requested", subject_id=made.id)] == [api.address]
    assert len(await api.audit("password.reset", subject_id=made.id)) == 1
