"""Giving an account another phone number."""

from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.auth.api import PASSWORD, Account, Api, unique
from tests.auth.conftest import OpenApi
from tests.auth.factors import MFA, App
from tests.auth.phones import Phone, new_phone, secret_of, together, withheld

CHANGE = "/api/v1/users/me/phone"
CONFIRM = "/api/v1/users/me/phone/confirm"
UNDO = "/api/v1/auth/phone/undo"
DAY = 24 * 3600


async def member(api: Api, **changed: Any) -> Account:
    """Somebody with an address that is proved."""
    made = await api.register(**changed)
    await api.post("/api/v1/auth/email/verify", {"token": await api.link_token(made.email)})
    return made


async def ask(phone: Phone, token: str) -> httpx2.Response:
    return await phone.post(CHANGE, {"phone_number": phone.number}, token)


async def confirm(phone: Phone, token: str, challenge: str, code: str | None = None) -> httpx2.Response:
    body = {"challenge_id": challenge, "code": code or await phone.code()}
    return await phone.post(CONFIRM, body, token)


async def change(phone: Phone, token: str) -> httpx2.Response:
    asked = await ask(phone, token)
    assert asked.status_code == 202, asked.text
    return await confirm(phone, token, asked.json()["challenge_id"])


async def undo_token(api: Api, email: str) -> str:
    """The token of the newest link that takes a change back, as the mail has it."""
    return secret_of(api, [m for m in await api.mails(email) if m.kind == "phone_change_undo"][-1])


async def number_of(api: Api, user_id: UUID) -> tuple[str, bool] | None:
    """And whether it is proved."""
    rows = await api.sql(
        "SELECT value, verified_at IS NOT NULL AS proved FROM identifiers WHERE user_id = :id AND kind = 'phone'",
        id=user_id,
    )
    return (rows[0].value, rows[0].proved) if rows else None


@pytest.mark.promise("A41")
async def test_code_makes_the_number_ones_own(phone: Phone) -> None:
    ada = await member(phone.api)
    answer = await change(phone, ada.access)
    assert answer.status_code == 200
    assert (answer.json()["phone_number"], answer.json()["phone_verified"]) == (phone.number, True)
    assert answer.headers["ETag"] == f'"{answer.json()["version"]}"'
    kind, data = (await phone.api.events(ada.id))[-1]
    assert (kind, data["profile"]["phone_number"]) == ("UserUpdated", phone.number)
    assert (await phone.texts())[0].kind == "phone_change"


@pytest.mark.promise("A41")
async def test_nothing_changes_before_the_code_comes_back(phone: Phone) -> None:
    ada = await member(phone.api)
    await ask(phone, ada.access)
    assert (await phone.api.me(ada.access)).json()["phone_number"] is None


@pytest.mark.promise("A41")
async def test_change_needs_a_recent_proof(phone: Phone) -> None:
    ada = await member(phone.api)
    phone.api.clock.advance(301)
    answer = await ask(phone, ada.access)
    assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required")
    assert await phone.texts() == []
    assert (await phone.post(CHANGE, {"phone_number": phone.number})).status_code == 401


@pytest.mark.promise("A41")
async def test_old_number_comes_back_by_a_link_and_everybody_is_signed_out(phone: Phone) -> None:
    ada, thief = await member(phone.api, phone_number=new_phone()), Phone.new(phone.api)
    await change(phone, ada.access)
    phone.api.clock.advance(61)
    assert (await change(thief, ada.access)).json()["phone_number"] == thief.number
    kinds = [mail.kind for mail in await phone.api.mails(ada.email)]
    assert kinds[-1] == "phone_change_undo"
    assert "phone_changed" not in kinds
    answer = await phone.post(UNDO, {"token": await undo_token(phone.api, ada.email)})
    assert (answer.status_code, answer.json()) == (200, {"status": "restored"})
    assert (await phone.api.refresh(ada.refresh)).status_code == 401
    assert await number_of(phone.api, ada.id) == (phone.number, True)


@pytest.mark.promise("A41")
async def test_link_works_for_seven_days_and_once(phone: Phone) -> None:
    ada, late = await member(phone.api, phone_number=new_phone()), await member(phone.api, phone_number=new_phone())
    await change(phone, ada.access)
    await change(Phone.new(phone.api), late.access)
    phone.api.clock.advance(6.9 * DAY)
    token = await undo_token(phone.api, ada.email)
    answers = await together(*(phone.post(UNDO, {"token": token}) for _ in range(5)))
    assert sorted(a.status_code for a in answers) == [200] + [410] * 4
    phone.api.clock.advance(0.2 * DAY)
    assert (await phone.post(UNDO, {"token": await undo_token(phone.api, late.email)})).status_code == 410


@pytest.mark.promise("A41")
async def test_changing_twice_does_not_keep_the_number_from_its_owner(phone: Phone) -> None:
    ada = await member(phone.api, phone_number=(own := new_phone()))
    await change(phone, ada.access)
    token = await undo_token(phone.api, ada.email)
    await change(Phone.new(phone.api), ada.access)
    second = await undo_token(phone.api, ada.email)
    assert (await phone.post(UNDO, {"token": token})).status_code == 200
    assert (await phone.post(UNDO, {"token": second})).status_code == 410
    assert await number_of(phone.api, ada.id) == (own, False)
    assert (await phone.post(UNDO, {"token": "nobody's"})).status_code == 401


async def test_address_that_was_never_proved_gets_no_link(phone: Phone) -> None:
    ada = await phone.api.register(phone_number=new_phone())
    await change(phone, ada.access)
    assert [m.kind for m in await phone.api.mails(ada.email)][-1] == "phone_changed"


@pytest.mark.promise("A41")
async def test_undoing_voids_the_password_and_brings_a_link_for_another(phone: Phone) -> None:
    ada = await member(phone.api, phone_number=new_phone())
    await change(phone, ada.access)
    await phone.post(UNDO, {"token": await undo_token(phone.api, ada.email)})
    assert (await phone.api.sign_in(email=ada.email)).status_code == 401
    assert (await phone.api.mails(ada.email))[-1].kind == "reset_password"
    body = {"token": await phone.api.link_token(ada.email), "new_password": f"{PASSWORD} again"}
    assert (await phone.post("/api/v1/auth/password/reset", body)).status_code == 200
    assert (await phone.api.sign_in(f"{PASSWORD} again", email=ada.email)).status_code == 200


@pytest.mark.promise("A41")
async def test_first_number_of_an_account_can_be_undone_as_well(phone: Phone) -> None:
    ada = await member(phone.api)
    await change(phone, ada.access)
    assert (await phone.post(UNDO, {"token": await undo_token(phone.api, ada.email)})).status_code == 200
    assert await number_of(phone.api, ada.id) is None


@pytest.mark.promise("A41")
async def test_claiming_the_old_number_does_not_keep_it_from_its_owner(phone: Phone) -> None:
    ada, thief = await member(phone.api), Phone.new(phone.api)
    await change(phone, ada.access)
    await change(thief, ada.access)
    claimant = await phone.api.register(phone_number=phone.number)
    assert (await phone.post(UNDO, {"token": await undo_token(phone.api, ada.email)})).status_code == 200
    assert await number_of(phone.api, ada.id) == (phone.number, True)
    assert await number_of(phone.api, claimant.id) is None


@pytest.mark.promise("A41")
async def test_old_number_that_somebody_else_has_proved_stays_theirs(phone: Phone) -> None:
    ada = await member(phone.api)
    await change(phone, ada.access)
    await change(thief := Phone.new(phone.api), ada.access)
    phone.api.clock.advance(61)
    assert (await phone.sign_in()).json()["created"]
    answer = await phone.post(UNDO, {"token": await undo_token(phone.api, ada.email)})
    assert (answer.status_code, answer.json()["code"]) == (409, "phone_number_taken")
    assert await number_of(phone.api, ada.id) == (thief.number, True)


@pytest.mark.promise("A41")
async def test_taking_an_address_back_takes_the_number_back_that_came_after(phone: Phone) -> None:
    ada, thief, moved = await member(phone.api), Phone.new(phone.api), f"{unique()}@example.com"
    await change(phone, ada.access)
    await phone.api.post("/api/v1/users/me/email", {"email": moved}, ada.access)
    await phone.api.post("/api/v1/auth/email/confirm", {"token": await phone.api.link_token(moved)})
    undo = await phone.api.link_token(ada.email)
    await change(thief, ada.access)
    assert (await phone.api.post("/api/v1/auth/email/undo", {"token": undo})).status_code == 200
    assert await number_of(phone.api, ada.id) == (phone.number, True)
    phone.api.clock.advance(61)
    assert (await thief.sign_in()).json()["created"]
    assert (await phone.post(UNDO, {"token": await undo_token(phone.api, moved)})).status_code == 410


@pytest.mark.promise("A41")
async def test_account_without_an_address_gets_the_link_at_its_old_number(phone: Phone) -> None:
    signed_in = (await phone.sign_in()).json()
    await change(thief := Phone.new(phone.api), signed_in["access"])
    told = (await phone.texts())[-1]
    assert (told.kind, told.channel) == ("phone_undo", "sms")
    assert (await phone.post(UNDO, {"token": secret_of(phone.api, told)})).status_code == 200
    phone.api.clock.advance(61)
    assert (await phone.sign_in()).json()["user"]["id"] == signed_in["user"]["id"]
    assert (await thief.sign_in()).json()["created"]


@pytest.mark.promise("A41")
async def test_change_ends_the_codes_of_other_changes(phone: Phone) -> None:
    ada, other = await member(phone.api), Phone.new(phone.api)
    pending = (await ask(other, ada.access)).json()["challenge_id"]
    await change(phone, ada.access)
    answer = await confirm(other, ada.access, pending)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_code")


@pytest.mark.promise("A41", "L6")
async def test_code_for_a_sign_in_changes_no_number_and_the_other_way_round(phone: Phone) -> None:
    ada, other = await member(phone.api), Phone.new(phone.api)
    login = await phone.challenge()
    changing = (await ask(other, ada.access)).json()["challenge_id"]
    assert (await confirm(phone, ada.access, login)).json()["code"] == "invalid_code"
    assert (await other.verify(changing, await other.code())).json()["code"] == "invalid_code"
    assert (await phone.verify(login, await phone.code())).status_code == 200
    assert (await confirm(other, ada.access, changing)).status_code == 200


@pytest.mark.promise("L6")
async def test_code_of_somebody_else_changes_nothing(phone: Phone) -> None:
    ada, mallory = await member(phone.api), await member(phone.api)
    challenge = (await ask(phone, ada.access)).json()["challenge_id"]
    assert (await confirm(phone, mallory.access, challenge)).status_code == 401
    assert (await confirm(phone, ada.access, challenge)).status_code == 200


@pytest.mark.promise("A41")
async def test_number_that_was_taken_meanwhile_is_refused(phone: Phone) -> None:
    ada = await member(phone.api)
    challenge = (await ask(phone, ada.access)).json()["challenge_id"]
    code = await phone.code()
    phone.api.clock.advance(61)
    await phone.sign_in()
    answer = await confirm(phone, ada.access, challenge, code)
    assert (answer.status_code, answer.json()["code"]) == (409, "phone_number_taken")


@pytest.mark.promise("A41")
async def test_asking_does_not_say_whose_a_number_is(phone: Phone) -> None:
    ada = await member(phone.api)
    await phone.sign_in()
    phone.api.clock.advance(61)
    known, unknown = await ask(phone, ada.access), await ask(Phone.new(phone.api), ada.access)
    assert known.status_code == unknown.status_code == 202
    assert known.json().keys() == unknown.json().keys()


async def test_number_that_was_only_claimed_goes_to_who_proves_it(phone: Phone) -> None:
    squatter, ada = await member(phone.api, phone_number=phone.number), await member(phone.api)
    assert (await change(phone, ada.access)).status_code == 200
    assert (await phone.api.me(squatter.access)).json()["phone_number"] is None
    kind, data = (await phone.api.events(squatter.id))[-1]
    assert (kind, data["profile"]["phone_number"]) == ("UserUpdated", None)


async def test_number_of_ones_own_is_verified_and_the_password_stays(phone: Phone) -> None:
    ada = await phone.api.register(phone_number=phone.number)
    answer = await change(phone, ada.access)
    assert answer.json()["phone_verified"]
    assert (await phone.api.sign_in(phone_number=phone.number, password=PASSWORD)).status_code == 200


async def test_change_is_in_the_log(phone: Phone) -> None:
    ada = await member(phone.api)
    await change(phone, ada.access)
    rows = await phone.api.sql("SELECT action, data::text AS data FROM audit WHERE subject_id = :id", id=ada.id)
    assert "phone.changed" in {row.action for row in rows}
    assert all(phone.number not in row.data for row in rows)


@pytest.mark.promise("A44")
async def test_code_that_changes_nothing_is_in_the_log(phone: Phone) -> None:
    ada = await member(phone.api)
    await confirm(phone, ada.access, await phone.challenge())
    refused = (await phone.api.audit("phone.changed", subject_id=ada.id))[-1]
    assert (refused.result, refused.reason, refused.actor_id) == ("refused", "code_foreign", ada.id)


@pytest.mark.promise("A14", "L7")
async def test_link_that_is_not_texted_to_the_old_number_is_counted_and_noted(open_api: OpenApi) -> None:
    async with open_api(sms_prefix_budgets="+336=0") as api:
        phone, before = Phone.new(api), withheld("prefix", "phone_undo")
        signed_in = (await phone.sign_in()).json()
        await api.sql("UPDATE identifiers SET value = '+33612345678' WHERE user_id = :id AND kind = 'phone'",
                      id=signed_in["user"]["id"])  # fmt: skip
        answer = await change(Phone.new(api), signed_in["access"])
        assert answer.status_code == 200
        assert withheld("prefix", "phone_undo") == before + 1
        query = "SELECT result, reason, data FROM audit WHERE action = 'text.sent' AND request_id = :id"
        [row] = await api.sql(query, id=answer.headers["X-Request-Id"])
        data = {"kind": "phone_undo", "prefix": "+336", "account": signed_in["user"]["id"], "attempts": 1}
        assert (row.result, row.reason, row.data) == ("refused", "prefix", data)


@pytest.mark.promise("A41")
async def test_what_was_added_to_sign_in_with_goes_with_the_number(phone: Phone) -> None:
    api, ada = phone.api, await member(phone.api, phone_number=new_phone())
    await change(phone, ada.access)
    secret = (await api.post(f"{MFA}/totp", token=ada.access)).json()["secret"]
    await api.post(f"{MFA}/totp/confirm", {"code": App(api, secret).code()}, ada.access)
    assert (await phone.post(UNDO, {"token": await undo_token(api, ada.email)})).status_code == 200
    for table in ("totp", "recovery_codes"):
        assert await api.sql(f"SELECT 1 FROM {table} WHERE user_id = :id", id=ada.id) == []
