"""Signing in with a code that is texted to a phone."""

import pytest

from auth_service.domain import housekeeping
from tests.auth.api import PASSWORD, Api, claims, unique
from tests.auth.conftest import OpenApi
from tests.auth.phones import REQUEST, VERIFY, Phone, count, new_address, new_phone, other_than, refusal, together

HOUR = 3600


def premium(prefix: str) -> str:
    return new_phone(prefix, 6)


@pytest.mark.promise("A12", "K35")
async def test_new_phone_makes_an_account_and_the_next_time_signs_in(phone: Phone) -> None:
    first = await phone.sign_in(first_name="Ada", last_name="Lovelace")
    phone.api.clock.advance(61)
    second = await phone.sign_in(first_name="Grace")
    assert (first.status_code, second.status_code) == (200, 200)
    assert (first.json()["created"], second.json()["created"]) == (True, False)
    assert first.json()["user"] == second.json()["user"]
    assert first.json()["user"]["display_name"] == "Ada Lovelace"
    assert first.json()["user"]["is_verified"]


@pytest.mark.promise("A12", "K35")
async def test_account_of_a_phone_is_verified_and_told_to_others(phone: Phone) -> None:
    body = (await phone.sign_in()).json()
    me = (await phone.api.me(body["access"])).json()
    assert (me["phone_number"], me["phone_verified"], me["is_verified"]) == (phone.number, True, True)
    assert me["email"] is None
    assert me["username"] == f"user{me['number']}"
    [(_, data)] = [event for event in await phone.api.events(me["id"]) if event[0] == "UserRegistered"]
    assert data["profile"]["phone_verified"]
    [row] = await phone.api.sql("SELECT direct_messages FROM users WHERE id = :id", id=me["id"])
    assert row.direct_messages == "contacts"
    assert await phone.api.sql("SELECT 1 FROM passwords WHERE user_id = :id", id=me["id"]) == []


@pytest.mark.promise("K35")
async def test_answer_has_all_names_of_the_tokens(phone: Phone) -> None:
    body = (await phone.sign_in()).json()
    assert body["access"] == body["accessToken"] == body["tokens"]["accessToken"] == body["data"]["access"]
    assert claims(body["access"])["amr"] == ["otp", "sms"]
    assert (await phone.api.refresh(body["refresh"])).json()["user"]["is_verified"]


@pytest.mark.promise("A49")
@pytest.mark.parametrize("path", [REQUEST, VERIFY])
async def test_form_of_another_site_asks_for_no_code_and_signs_nobody_in(phone: Phone, path: str) -> None:
    content = f'{{"phone_number": "{phone.number}"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = await phone.api.call("POST", path, content=content, headers={"Content-Type": kind})
        assert answer.status_code == 415
    assert await phone.texts() == []


@pytest.mark.promise("A14", "K35", "L1")
async def test_asking_says_the_same_for_every_phone(phone: Phone) -> None:
    await phone.sign_in()
    known, unknown = await phone.ask(), await Phone.new(phone.api).ask()
    blocked = Phone.new(phone.api)
    body = (await blocked.sign_in()).json()
    await phone.api.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=body["user"]["id"])
    for answer in (known, unknown, await blocked.ask()):
        assert answer.status_code == 202
        assert answer.json() == {**answer.json(), "expires_in": 300, "resend_after": 60}
        assert answer.json().keys() == {"challenge_id", "expires_in", "resend_after"}


@pytest.mark.promise("A14", "L1")
async def test_same_work_is_done_for_every_phone(phone: Phone) -> None:
    await phone.sign_in()
    phone.api.clock.advance(61)
    known, unknown, again = await phone.ask(), await Phone.new(phone.api).ask(), await phone.ask()
    dear = await Phone(phone.api, premium("+499001")).ask()
    assert len(await phone.texts()) == 2
    told = [(sorted(a.headers), a.headers["X-Database-Queries"]) for a in (known, unknown, again, dear)]
    assert told == [told[0]] * 4


@pytest.mark.promise("L1")
async def test_wrong_code_says_the_same_for_every_phone(phone: Phone) -> None:
    await phone.sign_in()
    phone.api.clock.advance(61)
    unknown = Phone.new(phone.api)
    [mine], [theirs] = await phone.fail(await phone.challenge(), 1), await unknown.fail(await unknown.challenge(), 1)
    assert mine.headers["X-Database-Queries"] == theirs.headers["X-Database-Queries"]
    assert refusal(mine) == refusal(theirs)


@pytest.mark.promise("A14")
async def test_message_that_is_withheld_uses_no_budget(open_api: OpenApi) -> None:
    async with open_api(sms_network_budget=1) as api:
        phone, ip = Phone.new(api), new_address()
        for number in (premium("+499001"), premium("+19002")):
            await Phone(api, number).ask(ip=ip)
        await phone.ask(ip=ip)
        assert len(await phone.texts()) == 1


@pytest.mark.parametrize("number", ["", "12345", "0151 2345678", "+1", "hello"])
async def test_what_is_no_phone_number_is_refused(api: Api, number: str) -> None:
    answer = await Phone(api, number).ask()
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


@pytest.mark.promise("A12")
async def test_code_has_six_digits_and_only_its_keyed_hash_is_kept(phone: Phone) -> None:
    challenge = await phone.challenge()
    code = await phone.code()
    assert len(code) == 6
    assert code.isdecimal()
    [row] = await phone.api.sql("SELECT code FROM phone_codes WHERE id = :id", id=challenge)
    assert len(row.code) == 32
    [sent] = await phone.texts()
    assert (sent.kind, sent.channel) == ("phone_code", "sms")
    assert code not in sent.model_dump_json(exclude={"id", "phone_number"})


async def test_codes_may_be_longer(open_api: OpenApi) -> None:
    async with open_api(code_digits=8) as api:
        phone = Phone.new(api)
        assert (await phone.sign_in()).status_code == 200
        assert len(await phone.code()) == 8


@pytest.mark.promise("A12", "L5", "K36")
async def test_code_is_dead_after_five_tries(phone: Phone) -> None:
    challenge = await phone.challenge()
    assert {a.status_code for a in await phone.fail(challenge, 5)} == {401}
    assert (await phone.verify(challenge, await phone.code())).status_code == 401


@pytest.mark.promise("A12")
async def test_fifth_try_may_be_right(phone: Phone) -> None:
    challenge = await phone.challenge()
    await phone.fail(challenge, 4)
    assert (await phone.verify(challenge, await phone.code())).status_code == 200


@pytest.mark.promise("L5")
async def test_parallel_tries_are_no_more_tries(phone: Phone) -> None:
    challenge = await phone.challenge()
    wrong = other_than(await phone.code())
    await together(*(phone.verify(challenge, wrong) for _ in range(20)))
    [row] = await phone.api.sql("SELECT failures FROM phone_codes WHERE id = :id", id=challenge)
    assert row.failures == 5


@pytest.mark.promise("A13", "L5", "K37")
async def test_ten_failures_block_a_phone_over_all_its_codes_for_a_day(phone: Phone) -> None:
    await phone.fail_all_day()
    challenge = await phone.challenge()
    assert len(await phone.texts()) == 3
    refused = await phone.verify(challenge, await phone.code())
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    phone.api.clock.advance(int(refused.headers["Retry-After"]))
    assert (await phone.sign_in()).status_code == 200


@pytest.mark.promise("A13", "K37")
async def test_right_code_is_refused_on_a_blocked_phone(phone: Phone) -> None:
    for times in (5, 4):
        await phone.fail(await phone.challenge(), times)
        phone.api.clock.advance(61)
    challenge = await phone.challenge()
    await phone.fail(challenge, 1)
    assert (await phone.verify(challenge, await phone.code())).status_code == 429


@pytest.mark.promise("A13")
async def test_blocked_phone_blocks_nobody_else(phone: Phone) -> None:
    await phone.fail_all_day()
    assert (await Phone.new(phone.api).sign_in()).status_code == 200


@pytest.mark.promise("A11")
async def test_codes_and_passwords_are_counted_apart(phone: Phone) -> None:
    user_id = (await phone.sign_in()).json()["user"]["id"]
    by_mail = await phone.api.register()
    await phone.api.sql("UPDATE identifiers SET user_id = :to WHERE user_id = :id AND kind = 'phone'",
                        to=by_mail.id, id=user_id)  # fmt: skip
    phone.api.clock.advance(61)
    await phone.fail_all_day()
    assert (await phone.api.sign_in(phone_number=phone.number)).status_code == 200


@pytest.mark.promise("L5")
async def test_address_that_tries_many_phones_is_stopped(phone: Phone) -> None:
    sprayer, codes = new_address(), []
    for _ in range(22):
        other = Phone.new(phone.api)
        codes.append((other, await other.challenge()))
    answers = [await each.verify(challenge, "000000", ip=sprayer) for each, challenge in codes]
    assert [a.status_code for a in answers[-2:]] == [429, 429]
    assert {a.status_code for a in answers[:20]} <= {200, 401}


@pytest.mark.promise("A12", "L6", "K36")
async def test_code_lives_five_minutes(phone: Phone) -> None:
    late = Phone.new(phone.api)
    challenge, too_late = await phone.challenge(), await late.challenge()
    phone.api.clock.advance(290)
    assert (await phone.verify(challenge, await phone.code())).status_code == 200
    phone.api.clock.advance(11)
    assert (await late.verify(too_late, await late.code())).status_code == 401


@pytest.mark.promise("A12", "L6", "K36")
async def test_code_works_once(phone: Phone) -> None:
    challenge = await phone.challenge()
    answers = [await phone.verify(challenge, await phone.code()) for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 401]


@pytest.mark.promise("A12", "L6", "K36")
async def test_of_parallel_uses_one_succeeds(phone: Phone) -> None:
    challenge, code = await phone.challenge(), await phone.code()
    answers = await together(*(phone.verify(challenge, code) for _ in range(10)))
    assert sorted(a.status_code for a in answers) == [200] + [401] * 9


@pytest.mark.promise("A12", "L6", "K36")
async def test_code_belongs_to_its_challenge_and_its_phone(phone: Phone) -> None:
    other = Phone.new(phone.api)
    challenge, foreign = await phone.challenge(), await other.challenge()
    code = await phone.code()
    if code != await other.code():
        assert (await phone.verify(foreign, code)).status_code == 401
    assert (await phone.verify(challenge, code, phone_number=other.number)).status_code == 401
    assert (await phone.verify(challenge, code, phone_number=phone.number)).status_code == 200


@pytest.mark.promise("A12", "L6")
async def test_new_code_ends_the_one_before(phone: Phone) -> None:
    first = await phone.challenge()
    phone.api.clock.advance(61)
    second = await phone.challenge()
    assert (await phone.verify(first, await phone.code(0))).status_code == 401
    assert (await phone.verify(second, await phone.code(1))).status_code == 200


@pytest.mark.promise("L6", "K36")
async def test_every_refusal_is_the_same(phone: Phone) -> None:
    wrong, used = await phone.challenge(), Phone.new(phone.api)
    answers = await phone.fail(wrong, 6)
    spent = await used.challenge()
    await used.verify(spent, await used.code())
    answers.append(await used.verify(spent, await used.code()))
    answers.append(await phone.verify("0190a1b2-0000-4000-8000-000000000000", "123456"))
    answers.append(await phone.verify(await phone.challenge(), "123456"))
    answers.append(await phone.verify(wrong, "x"))
    phone.api.clock.advance(301)
    answers.append(await phone.verify(wrong, await phone.code()))
    assert len({str(refusal(answer)) for answer in answers}) == 1
    assert answers[0].json()["code"] == "invalid_code"
    assert answers[0].json()["detail"] == "Invalid or expired code."


@pytest.mark.promise("A44")
async def test_refused_codes_are_in_the_log_of_the_account(phone: Phone) -> None:
    user_id = (await phone.sign_in()).json()["user"]["id"]
    phone.api.clock.advance(61)
    await phone.fail(await phone.challenge(), 1)
    await phone.api.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=user_id)
    phone.api.clock.advance(61)
    await phone.sign_in()
    entries = await phone.api.audit("sign_in.refused", subject_id=user_id)
    assert [(e.result, e.reason) for e in entries] == [("refused", "code_wrong"), ("refused", "invalid_credentials")]
    assert entries[0].ip is not None


async def test_account_that_is_bound_to_countries_is_opened_there_only(phone: Phone) -> None:
    user_id = (await phone.sign_in()).json()["user"]["id"]
    await phone.api.sql("UPDATE users SET allowed_countries = '{DE}' WHERE id = :id", id=user_id)
    phone.api.clock.advance(61)
    body = {"challenge_id": await phone.challenge(), "code": await phone.code()}
    answer = await phone.api.post(VERIFY, body, country="FR")
    assert (answer.status_code, answer.json()["code"]) == (403, "country_blocked")
    [refused] = await phone.api.audit("sign_in.refused", subject_id=user_id)
    assert (refused.reason, refused.country) == ("country_blocked", "FR")


async def test_suspended_account_is_not_told_of(phone: Phone) -> None:
    body = (await phone.sign_in()).json()
    await phone.api.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=body["user"]["id"])
    phone.api.clock.advance(61)
    answer = await phone.sign_in()
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_code")


async def test_second_factor_is_asked_for(phone: Phone) -> None:
    user_id = (await phone.sign_in()).json()["user"]["id"]
    await phone.api.sql(
        "INSERT INTO totp (user_id, secret, last_counter, created_at, confirmed_at) VALUES (:id, 'x', 0, now(), now())",
        id=user_id,
    )
    phone.api.clock.advance(61)
    challenge = await phone.challenge()
    answer = await phone.verify(challenge, await phone.code())
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_required")
    assert claims(answer.json()["mfa_token"])["amr"] == ["otp", "sms"]
    assert (await phone.verify(challenge, await phone.code())).status_code == 401


@pytest.mark.promise("A60")
async def test_sent_and_verified_codes_are_counted(phone: Phone) -> None:
    sent, verified, refused = count("sent", purpose="login"), count("verified"), count("refused", reason="wrong")
    challenge = await phone.challenge()
    await phone.fail(challenge, 2)
    await phone.verify(challenge, await phone.code())
    assert count("sent", purpose="login") == sent + 1
    assert count("verified") == verified + 1
    assert count("refused", reason="wrong") == refused + 2


async def test_password_of_who_registered_somebody_elses_phone_opens_nothing(phone: Phone) -> None:
    body = {"phone_number": phone.number, "password": PASSWORD}
    squatter = (await phone.api.post("/api/v1/auth/register", body)).json()
    owner = await phone.sign_in()
    assert (owner.status_code, owner.json()["created"]) == (200, False)
    assert (await phone.api.sign_in(phone_number=phone.number)).status_code == 401
    assert (await phone.api.refresh(squatter["refresh"])).status_code == 401
    assert (await phone.api.me(owner.json()["access"])).json()["phone_verified"]


async def test_account_with_another_proof_only_loses_an_unproved_phone(phone: Phone) -> None:
    other = await phone.api.register(phone_number=phone.number)
    await phone.api.post("/api/v1/auth/email/verify", {"token": await phone.api.link_token(other.email)})
    owner = await phone.sign_in()
    assert owner.json()["created"]
    assert owner.json()["user"]["id"] != str(other.id)
    assert (await phone.api.me(other.access)).json()["phone_number"] is None
    assert (await phone.api.sign_in(email=other.email)).status_code == 200


async def test_registration_that_nobody_confirmed_keeps_no_phone(strict: Api) -> None:
    phone = Phone.new(strict)
    body = {"email": f"{unique()}@example.com", "phone_number": phone.number, "password": PASSWORD}
    await strict.post("/api/v1/auth/register", body)
    answer = await phone.sign_in()
    assert (answer.status_code, answer.json()["created"]) == (200, True)


async def test_codes_are_forgotten_after_two_days(aging: Api) -> None:
    phone = Phone.new(aging)
    challenge = await phone.challenge()
    phone.api.clock.advance(47 * HOUR)
    await housekeeping.forget(phone.api.db, phone.api.clock)
    assert await phone.api.sql("SELECT 1 FROM phone_codes WHERE id = :id", id=challenge)
    phone.api.clock.advance(2 * HOUR)
    await housekeeping.forget(phone.api.db, phone.api.clock)
    assert not await phone.api.sql("SELECT 1 FROM phone_codes WHERE id = :id", id=challenge)


async def test_names_beyond_reason_are_refused(phone: Phone) -> None:
    body = {"challenge_id": await phone.challenge(), "code": "1" * 21, "roles": ["admin"], "first_name": "x" * 151}
    answer = await phone.post(VERIFY, body)
    assert answer.status_code == 422
    assert {e["field"] for e in answer.json()["errors"]} == {"code", "roles", "first_name"}
