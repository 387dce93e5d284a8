"""Another e-mail address: proved before it counts, and taken back for a week."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from auth_service.domain import links
from auth_service.errors import LinkSpent
from tests.auth.api import Account, Api, unique
from tests.auth.authenticator import Authenticator
from tests.auth.factors import MFA, App, Person, add_passkey, passkey_login, signed_in
from tests.auth.phones import Phone, new_phone

CHANGE = "/api/v1/users/me/email"
CONFIRM = "/api/v1/auth/email/confirm"
UNDO = "/api/v1/auth/email/undo"
VERIFY = "/api/v1/auth/email/verify"
SENT = {"status": "confirmation_sent"}


def address() -> str:
    return f"{unique()}@example.com"


async def verified(api: Api, **changed: Any) -> Account:
    made = await api.register(**changed)
    assert (await api.post(VERIFY, {"token": await api.link_token(made.email)})).status_code == 200
    return made


async def ask(api: Api, made: Account, email: str) -> Any:
    return await api.post(CHANGE, {"email": email}, made.access)


async def change(api: Api, made: Account, email: str) -> Any:
    """As somebody does it who is signed in and reads the new mailbox."""
    assert (await ask(api, made, email)).status_code == 202
    return await api.post(CONFIRM, {"token": await api.link_token(email)})


async def kinds(api: Api, email: str) -> list[str]:
    return [mail.kind for mail in await api.mails(email)]


async def token_of(api: Api, email: str, kind: str) -> str:
    """The token of the latest mail of a kind."""
    mail = next(mail for mail in reversed(await api.mails(email)) if mail.kind == kind)
    assert mail.secret is not None
    opened: str = api.app.state.cipher.decrypt(mail.secret, f"message:{mail.id}")
    return opened


@pytest.mark.promise("A41")
async def test_nothing_changes_before_the_new_address_is_proved(api: Api) -> None:
    made, new = await verified(api), address()
    answer = await ask(api, made, new)
    assert (answer.status_code, answer.json()) == (202, SENT)
    assert (await api.me(made.access)).json()["email"] == made.email
    assert (await api.sign_in(email=new)).status_code == 401
    assert await kinds(api, new) == ["email_change_confirm"]


@pytest.mark.promise("A41")
async def test_the_link_makes_the_new_address_the_accounts(api: Api) -> None:
    made, new = await verified(api), address()
    answer = await change(api, made, new)
    assert (answer.status_code, answer.json()) == (200, {"status": "email_changed"})
    me = (await api.me(made.access)).json()
    assert (me["email"], me["email_verified"]) == (new, True)
    assert (await api.sign_in(email=new)).status_code == 200
    assert (await api.sign_in(email=made.email)).status_code == 401
    kind, data = next(e for e in reversed(await api.events(made.id)) if e[0] == "UserUpdated")
    assert (kind, data["profile"]["email"], data["profile"]["email_verified"]) == ("UserUpdated", new, True)
    assert [row.result for row in await api.audit("email.changed", subject_id=made.id)] == ["ok"]


@pytest.mark.promise("A41", "A45")
async def test_the_old_address_gets_a_link_that_takes_the_change_back(api: Api) -> None:
    made, new = await verified(api), address()
    await change(api, made, new)
    mail = (await api.mails(made.email))[-1]
    assert (mail.kind, mail.variables) == ("email_change_undo", {"new_email": new})
    answer = await api.post(UNDO, {"token": await api.link_token(made.email)})
    assert (answer.status_code, answer.json()) == (200, {"status": "email_restored"})
    assert (await api.sign_in(email=new)).status_code == 401
    (row,) = await api.sql("SELECT * FROM identifiers WHERE user_id = :id AND kind = 'email'", id=made.id)
    assert (row.value, row.verified_at is not None) == (made.email, True)
    assert len(await api.audit("email.restored", subject_id=made.id)) == 1


@pytest.mark.promise("A41")
async def test_undoing_shuts_out_whoever_was_in(api: Api) -> None:
    made = await verified(api)
    await change(api, made, address())
    other = (await api.sign_in(username=made.username)).json()
    await api.post(UNDO, {"token": await api.link_token(made.email)})
    for token in (made.access, other["access"]):
        assert await api.ended(token) in ("token_revoked", "token_stale")
    assert (await api.refresh(other["refresh"])).status_code == 401
    assert (await api.sign_in(email=made.email)).status_code == 401
    assert (await kinds(api, made.email))[-1] == "choose_password"
    rows = await api.sql("SELECT purpose FROM one_time_tokens WHERE user_id = :id AND used_at IS NULL", id=made.id)
    assert [row.purpose for row in rows] == ["reset_password"]


@pytest.mark.promise("A41")
async def test_what_a_thief_has_added_goes_too(aging: Api) -> None:
    made, own, thief = await verified(aging, phone_number=new_phone()), Authenticator(), Phone.new(aging)
    number = (await aging.me(made.access)).json()["phone_number"]
    await add_passkey(aging, owner := Person(made, made.access), own)
    aging.clock.advance(2 * 86_400)
    access = signed_in(await passkey_login(aging, own)).access
    secret = (await aging.post(f"{MFA}/totp", token=access)).json()["secret"]
    answer = await aging.post(f"{MFA}/totp/confirm", {"code": App(aging, secret).code()}, access)
    access = answer.json()["tokens"]["access"]
    program = await aging.post("/api/v1/auth/api-tokens", {"name": "x", "scopes": ["auth:read"]}, access)
    await change(aging, replace(made, access=access), address())
    asked = await thief.post("/api/v1/users/me/phone", {"phone_number": thief.number}, access)
    body = {"challenge_id": asked.json()["challenge_id"], "code": await thief.code()}
    assert (await thief.post("/api/v1/users/me/phone/confirm", body, access)).status_code == 200
    assert (await aging.post(UNDO, {"token": await aging.link_token(made.email)})).status_code == 200
    assert await aging.ended(program.json()["token"]) == "invalid_token"
    again = signed_in(await passkey_login(aging, own)).access
    assert (await aging.get(MFA, again)).json()["methods"] == ["passkey", "recovery_code"]
    me = (await aging.me(again)).json()
    assert (me["phone_number"], me["phone_verified"]) == (number, False)
    assert len(owner.codes) == 10


@pytest.mark.promise("A41")
async def test_a_phone_that_was_added_opens_nothing_any_more(aging: Api) -> None:
    made, thief = await verified(aging), Phone.new(aging)
    await change(aging, made, address())
    undo = await aging.link_token(made.email)
    asked = await thief.post("/api/v1/users/me/phone", {"phone_number": thief.number}, made.access)
    body = {"challenge_id": asked.json()["challenge_id"], "code": await thief.code()}
    assert (await thief.post("/api/v1/users/me/phone/confirm", body, made.access)).status_code == 200
    await aging.post(UNDO, {"token": undo})
    aging.clock.advance(61)
    assert (await thief.sign_in()).json()["user"]["id"] != str(made.id)


@pytest.mark.promise("A41")
async def test_changing_twice_does_not_keep_the_account_from_its_owner(api: Api) -> None:
    made, first, second = await verified(api), address(), address()
    await change(api, made, first)
    owners = await api.link_token(made.email)
    await change(api, made, second)
    thiefs = await api.link_token(first)
    assert (await api.post(UNDO, {"token": owners})).status_code == 200
    assert (await api.post(UNDO, {"token": thiefs})).status_code == 410
    (row,) = await api.sql("SELECT value FROM identifiers WHERE user_id = :id AND kind = 'email'", id=made.id)
    assert row.value == made.email


@pytest.mark.promise("A41", "L14")
async def test_a_change_can_be_taken_back_for_a_week(aging: Api) -> None:
    punctual, late = await verified(aging), await verified(aging)
    await change(aging, punctual, address())
    await change(aging, late, address())
    aging.clock.advance(7 * 86_400 - 60)
    assert (await aging.post(UNDO, {"token": await aging.link_token(punctual.email)})).status_code == 200
    aging.clock.advance(61)
    assert (await aging.post(UNDO, {"token": await aging.link_token(late.email)})).status_code == 410


@pytest.mark.promise("A41")
async def test_a_new_address_can_be_confirmed_for_a_day(aging: Api) -> None:
    made, new = await verified(aging), address()
    await ask(aging, made, new)
    aging.clock.advance(24 * 3600)
    assert (await aging.post(CONFIRM, {"token": await aging.link_token(new)})).status_code == 410


@pytest.mark.promise("A41", "Z14")
@pytest.mark.parametrize("path", [CONFIRM, UNDO])
async def test_of_many_uses_of_one_link_one_succeeds(api: Api, path: str) -> None:
    made, new = await verified(api), address()
    await ask(api, made, new)
    token = await api.link_token(new)
    if path == UNDO:
        await api.post(CONFIRM, {"token": token})
        token = await api.link_token(made.email)
    answers = await asyncio.gather(*(api.post(path, {"token": token}) for _ in range(10)))
    assert sorted(a.status_code for a in answers) == [200] + [410] * 9


@pytest.mark.promise("A40", "L13")
@pytest.mark.parametrize("path", [CONFIRM, UNDO])
async def test_opening_a_link_changes_nothing(api: Api, path: str) -> None:
    made, new = await verified(api), address()
    await ask(api, made, new)
    for method in ("GET", "HEAD", "PUT"):
        assert (await api.call(method, path, params={"token": await api.link_token(new)})).status_code == 405
    assert (await api.me(made.access)).json()["email"] == made.email


@pytest.mark.promise("A41", "L1")
async def test_the_answer_does_not_tell_whether_an_address_is_taken(api: Api) -> None:
    made, other, unproved = await verified(api), await verified(api), await api.register()
    free, taken = await ask(api, made, address()), await ask(api, made, other.email)
    claimed, own = await ask(api, made, unproved.email), await ask(api, made, made.email)
    assert [(a.status_code, a.json()) for a in (free, taken, claimed, own)] == [(202, SENT)] * 4
    assert free.headers.keys() == taken.headers.keys()
    assert len({answer.headers["X-Database-Queries"] for answer in (free, taken, claimed)}) == 1
    assert (await kinds(api, other.email))[-1] == "account_exists"
    assert "email_change_confirm" not in await kinds(api, made.email)


@pytest.mark.promise("A41")
async def test_an_address_that_was_proved_by_another_meanwhile_is_theirs(api: Api) -> None:
    made, new = await verified(api), address()
    await ask(api, made, new)
    await verified(api, email=new)
    answer = await api.post(CONFIRM, {"token": await token_of(api, new, "email_change_confirm")})
    assert (answer.status_code, answer.json()["code"]) == (409, "email_taken")
    assert (await api.me(made.access)).json()["email"] == made.email


@pytest.mark.promise("A41")
async def test_two_who_prove_one_address_at_once_do_not_both_get_it(api: Api) -> None:
    ada, grace, new = await verified(api), await verified(api), address()
    await ask(api, ada, new)
    first = await api.link_token(new)
    await ask(api, grace, new)
    tokens = [first, await api.link_token(new)]
    answers = await asyncio.gather(*(api.post(CONFIRM, {"token": token}) for token in tokens))
    assert sorted(a.status_code for a in answers) == [200, 409]


@pytest.mark.promise("A41")
async def test_claiming_the_old_address_does_not_keep_it_from_its_owner(api: Api) -> None:
    made = await verified(api)
    await change(api, made, address())
    undo = await api.link_token(made.email)
    squatter = await api.register(email=made.email)
    assert (await api.post(UNDO, {"token": undo})).status_code == 200
    assert (await api.me(squatter.access)).json()["email"] is None
    lost = await api.audit("email.lost", subject_id=squatter.id)
    assert [row.reason for row in lost] == ["proved_by_another"]


@pytest.mark.promise("A41")
async def test_an_address_that_was_never_proved_cannot_take_the_change_back(api: Api) -> None:
    made, new = await api.register(), address()
    await change(api, made, new)
    mail = (await api.mails(made.email))[-1]
    assert (mail.kind, mail.secret, mail.variables) == ("email_changed", None, {})


@pytest.mark.promise("A41", "L14")
async def test_a_verification_link_for_the_old_address_is_spent(api: Api) -> None:
    made = await api.register()
    old = await api.link_token(made.email)
    await change(api, made, address())
    assert (await api.post(VERIFY, {"token": old})).status_code == 410


@pytest.mark.promise("A41")
async def test_a_later_request_voids_the_earlier(api: Api) -> None:
    made, mistyped, right = await verified(api), address(), address()
    await ask(api, made, mistyped)
    strangers = await api.link_token(mistyped)
    assert (await change(api, made, right)).status_code == 200
    assert (await api.post(CONFIRM, {"token": strangers})).status_code == 410


@pytest.mark.promise("A41")
async def test_a_pending_change_dies_with_the_address_that_it_replaces(api: Api) -> None:
    made, new = await verified(api), address()
    await ask(api, made, new)
    values = {"new": address(), "id": made.id}
    await api.sql(
        "UPDATE identifiers SET value = :new, value_norm = :new WHERE user_id = :id AND kind = 'email'", **values
    )
    assert (await api.post(CONFIRM, {"token": await api.link_token(new)})).status_code == 410
    assert (await api.me(made.access)).json()["email"] == values["new"]


@pytest.mark.promise("A41", "L13")
async def test_a_change_voids_links_for_a_new_password(api: Api) -> None:
    made = await verified(api)
    async with api.db.transaction() as db:
        now = api.clock.now()
        token = await links.issue(db, links.RESET_PASSWORD, made.id, target=made.email, now=now)
    await change(api, made, address())
    async with api.db.transaction() as db:
        with pytest.raises(LinkSpent):
            await links.look(db, links.RESET_PASSWORD, token, now=api.clock.now())


async def test_an_account_without_an_address_gets_its_first(api: Api) -> None:
    body = {"phone_number": new_phone(), "password": "correct horse battery"}
    answer = await api.post("/api/v1/auth/register", body)
    access, new = answer.json()["access"], address()
    assert (await api.post(CHANGE, {"email": new}, access)).status_code == 202
    assert (await api.post(CONFIRM, {"token": await api.link_token(new)})).status_code == 200
    me = (await api.me(access)).json()
    assert (me["email"], me["email_verified"]) == (new, True)


async def test_asking_for_the_own_unproved_address_proves_it(api: Api) -> None:
    made = await api.register()
    assert (await change(api, made, made.email)).status_code == 200
    assert (await api.me(made.access)).json()["email_verified"]
    assert "email_changed" not in await kinds(api, made.email)


@pytest.mark.promise("A41")
async def test_five_changes_an_hour_can_be_asked_for(aging: Api) -> None:
    made, new = await verified(aging), address()
    answers = await asyncio.gather(*(ask(aging, made, address()) for _ in range(8)))
    assert sorted(a.status_code for a in answers) == [202] * 5 + [429] * 3
    aging.clock.advance(3601)
    renewed = (await aging.sign_in(email=made.email)).json()["access"]
    assert (await aging.post(CHANGE, {"email": new}, renewed)).status_code == 202


async def test_one_mailbox_is_not_filled_by_many_accounts(api: Api) -> None:
    victim = address()
    for _ in range(7):
        assert (await ask(api, await api.register(), victim)).status_code == 202
    assert len(await api.mails(victim)) == 5


@pytest.mark.promise("A41")
async def test_an_old_session_must_prove_itself_first(aging: Api) -> None:
    made, new = await verified(aging), address()
    aging.clock.advance(301)
    answer = await ask(aging, made, new)
    assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required")
    assert await aging.mails(new) == []


@pytest.mark.parametrize(
    "body", [{}, {"email": "nobody"}, {"email": None}, {"email": "a@example.com", "verified": True}]
)
async def test_bad_requests_change_nothing(api: Api, body: Any) -> None:
    made = await verified(api)
    assert (await api.post(CHANGE, body, made.access)).status_code == 422
    assert (await api.post(CHANGE, body)).status_code == 401


@pytest.mark.promise("L13")
async def test_links_of_other_purposes_open_nothing(api: Api) -> None:
    made, new = await verified(api), address()
    await ask(api, made, new)
    token = await api.link_token(new)
    for path in (UNDO, VERIFY):
        assert (await api.post(path, {"token": token})).status_code == 401
    assert (await api.post(CONFIRM, {"token": "A" * 43})).status_code == 401
    assert (await api.post(CONFIRM, {"token": token})).status_code == 200
