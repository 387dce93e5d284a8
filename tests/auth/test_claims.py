"""Addresses and numbers that people typed and never proved, when their owners come."""

import asyncio

import httpx2
import pytest
from sqlalchemy import text

from tests.auth.api import Account, Api
from tests.auth.factors import Person, add_passkey, passkey_login
from tests.auth.phones import Phone, secret_of

CHANGE = "/api/v1/users/me/phone"
EMAIL = "/api/v1/users/me/email"
ROUNDS = 6


@pytest.fixture
def phone(ahead: Api) -> Phone:
    return Phone.new(ahead)


async def asked(phone: Phone, person: Account) -> dict[str, str]:
    """What the person has in hand who wants this number."""
    answer = await phone.post(CHANGE, {"phone_number": phone.number}, person.access)
    return {"challenge_id": answer.json()["challenge_id"], "code": await phone.code()}


async def waiting(api: Api, people: int) -> None:
    """Until so many wait for an account that somebody else has locked."""
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%users%'"
    async with asyncio.timeout(30):
        while len(await api.sql(query)) < people:
            await asyncio.sleep(0.01)


async def ring(api: Api, people: int) -> list[httpx2.Response]:
    """Each has typed the number of the next one, and all prove their own at the same moment."""
    phones = [Phone.new(api) for _ in range(people)]
    claiming = [await api.register(phone_number=phones[n - 1].number) for n in range(people)]
    given = [await asked(phone, person) for phone, person in zip(phones, claiming, strict=True)]
    calls = zip(phones, claiming, given, strict=True)
    answers = await asyncio.gather(*(each.post(f"{CHANGE}/confirm", body, who.access) for each, who, body in calls))
    assert [a.json().get("phone_number") for a in answers] == [each.number for each in phones]
    return list(answers)


@pytest.mark.promise("A41")
@pytest.mark.parametrize("people", [2, 3])
async def test_people_who_prove_each_others_numbers_at_once_all_get_their_own(ahead: Api, people: int) -> None:
    for _ in range(ROUNDS):
        assert {answer.status_code for answer in await ring(ahead, people)} == {200}


@pytest.mark.promise("A41")
async def test_two_who_prove_each_others_numbers_lock_both_accounts_in_one_order(phone: Phone) -> None:
    """Both are let go on at the same moment, so that each has its first lock before it asks for its second."""
    api, other = phone.api, Phone.new(phone.api)
    ada, grace = await api.register(phone_number=other.number), await api.register(phone_number=phone.number)
    mine, theirs = await asked(phone, ada), await asked(other, grace)
    async with api.db.transaction() as db:
        both = text("SELECT 1 FROM users WHERE id IN (:ada, :grace) FOR NO KEY UPDATE")
        await db.execute(both, {"ada": ada.id, "grace": grace.id})
        proving = asyncio.gather(
            phone.post(f"{CHANGE}/confirm", mine, ada.access), other.post(f"{CHANGE}/confirm", theirs, grace.access)
        )
        await waiting(api, 2)
    assert [answer.status_code for answer in await proving] == [200, 200]


@pytest.mark.promise("A41")
async def test_people_who_prove_each_others_addresses_at_once_do_not_wait_for_ever(ahead: Api) -> None:
    for _ in range(ROUNDS):
        ada, grace = await ahead.register(), await ahead.register()
        await ahead.post(EMAIL, {"email": grace.email}, ada.access)
        await ahead.post(EMAIL, {"email": ada.email}, grace.access)
        tokens = [await ahead.link_token(each.email) for each in (ada, grace)]
        confirming = (ahead.post("/api/v1/auth/email/confirm", {"token": token}) for token in tokens)
        # Whoever comes second has lost the address that the link was to replace.
        assert sorted(answer.status_code for answer in await asyncio.gather(*confirming)) == [200, 410]


async def squat(phone: Phone) -> Person:
    """Somebody has typed the number of this phone, and made sure of coming back."""
    made = await phone.api.register(phone_number=phone.number)
    person = Person(made, made.access)
    await add_passkey(phone.api, person)
    await phone.api.sql(
        "UPDATE users SET allowed_countries = '{FR}', must_change_password = true WHERE id = :id", id=made.id
    )
    return person


@pytest.mark.promise("A29")
async def test_who_registered_with_the_number_before_its_owner_is_out(phone: Phone) -> None:
    api, squatter = phone.api, await squat(phone)
    made = squatter.account
    assert squatter.passkey is not None
    link = secret_of(api, (await api.mails(made.email))[0])
    owner = await phone.sign_in()
    assert (owner.status_code, owner.json()["created"], owner.json()["user"]["id"]) == (200, False, str(made.id))
    assert await api.ended(squatter.access) in ("token_revoked", "token_stale")
    for answer in (
        await api.refresh(made.refresh),
        await api.sign_in(email=made.email),
        await passkey_login(api, squatter.passkey),
    ):
        assert answer.status_code == 401
    assert (await api.post("/api/v1/auth/email/verify", {"token": link})).status_code == 401
    assert (await api.post("/api/v1/auth/password/forgot", {"email": made.email})).status_code == 202
    assert "reset_password" not in [mail.kind for mail in await api.mails(made.email)]
    [entry] = await api.audit("account.reclaimed", subject_id=made.id)
    assert entry.reason == "phone_proved"


@pytest.mark.promise("A29")
async def test_owner_of_the_number_is_bound_to_nothing_that_the_squatter_chose(phone: Phone) -> None:
    squatter = await squat(phone)
    body = {"challenge_id": await phone.challenge(), "code": await phone.code()}
    owner = await phone.api.post("/api/v1/auth/otp/verify", body, country="DE")
    assert owner.status_code == 200
    me = (await phone.api.me(owner.json()["access"])).json()
    assert (me["id"], me["email"], me["phone_verified"]) == (str(squatter.account.id), None, True)
    [row] = await phone.api.sql(
        "SELECT allowed_countries, must_change_password FROM users WHERE id = :id", id=squatter.account.id
    )
    assert (row.allowed_countries, row.must_change_password) == (None, False)


@pytest.mark.promise("A29")
async def test_member_of_staff_only_loses_a_number_that_was_never_proved(phone: Phone) -> None:
    support = await squat(phone)
    await phone.api.sql("UPDATE users SET roles = '{user,support}' WHERE id = :id", id=support.account.id)
    owner = (await phone.sign_in()).json()
    assert owner["created"]
    assert owner["user"]["id"] != str(support.account.id)
    [lost] = await phone.api.audit("phone.lost", subject_id=support.account.id)
    assert lost.reason == "proved_by_another"


@pytest.mark.promise("A41")
async def test_number_that_its_claimant_has_replaced_meanwhile_is_all_that_is_lost(phone: Phone) -> None:
    """Whoever is about to lose a claim may be proving another number at that moment."""
    for _ in range(ROUNDS):
        mine, other = Phone.new(phone.api), Phone.new(phone.api)
        claimant, ada = await phone.api.register(phone_number=mine.number), await phone.api.register()
        bodies = [await asked(other, claimant), await asked(mine, ada)]
        answers = await asyncio.gather(
            other.post(f"{CHANGE}/confirm", bodies[0], claimant.access),
            mine.post(f"{CHANGE}/confirm", bodies[1], ada.access),
        )
        assert [a.status_code for a in answers] == [200, 200]
        numbers = [(await phone.api.me(who.access)).json()["phone_number"] for who in (claimant, ada)]
        assert numbers == [other.number, mine.number]
