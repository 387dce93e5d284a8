"""Registering: what is made, what is refused, and what strangers learn from it."""

import asyncio

import pytest

from tests.auth.api import PASSWORD, Api, account, claims, fields, unique
from tests.auth.phones import new_phone

REGISTER = "/api/v1/auth/register"
VERIFY = "/api/v1/auth/email/verify"
STRANGERS = "stranger horse battery"


async def test_registering_makes_an_account_and_signs_it_in(api: Api) -> None:
    name = unique()
    body = {"email": f"{name}@Example.COM", "username": name, "password": PASSWORD, "first_name": "Ada"}
    answer = await api.post(REGISTER, body)
    assert answer.status_code == 201
    me = (await api.me(answer.json()["access"])).json()
    assert me["email"] == f"{name}@example.com"
    assert me["username"] == name
    assert me["first_name"] == "Ada"
    assert me["display_name"] == "Ada"
    assert not me["is_verified"]
    assert me["roles"] == ["user"]


async def test_the_answer_carries_the_tokens_under_every_name(api: Api) -> None:
    name = unique()
    body = (await api.post(REGISTER, {"email": f"{name}@example.com", "password": PASSWORD})).json()
    access, refresh = body["access"], body["refresh"]
    assert body["success"] is True
    assert body["tokens"] == {"accessToken": access, "refreshToken": refresh}
    assert (body["accessToken"], body["refreshToken"]) == (access, refresh)
    user = body["user"]
    assert body["data"] == {"access": access, "refresh": refresh, "userId": user["id"], "email": user["email"]}
    assert user["createdAt"].endswith("Z")
    assert claims(access)["sub"] == user["id"]


async def test_an_account_without_a_username_is_named_after_its_number(api: Api) -> None:
    made = await api.register(username=None)
    me = (await api.me(made.access)).json()
    assert me["username"] == f"user{me['number']}"


async def test_a_number_whose_name_is_taken_is_skipped(api: Api) -> None:
    before = (await api.me((await api.register(username=None)).access)).json()["number"]
    await api.register(username=f"user{before + 2}")
    me = (await api.me((await api.register(username=None)).access)).json()
    assert me["username"] == f"user{me['number']}"
    assert me["number"] > before + 2


@pytest.mark.promise("A1")
@pytest.mark.parametrize("variant", [str.upper, str.lower, lambda n: "".join(chr(ord(c) + 0xFEE0) for c in n)])
async def test_a_username_is_taken_in_every_spelling(api: Api, variant: object) -> None:
    taken = (await api.register(username=f"Admin{unique()}")).username
    body = {"email": f"{unique()}@example.com", "username": variant(taken), "password": PASSWORD}  # type: ignore[operator]
    answer = await api.post(REGISTER, body)
    assert answer.status_code == 409
    assert answer.json()["code"] == "username_taken"


@pytest.mark.promise("A1")
async def test_an_address_is_taken_in_every_spelling(api: Api) -> None:
    taken = await api.register()
    answer = await api.post(REGISTER, {"email": taken.email.upper(), "password": PASSWORD})
    assert answer.status_code == 409
    assert answer.json()["code"] == "email_taken"
    assert fields(answer) == {"email": "user with this email already exists."}


@pytest.mark.promise("A1")
async def test_a_phone_number_is_taken_in_every_spelling(api: Api) -> None:
    number = phone_number()
    made = await api.post(REGISTER, {"phone_number": number, "password": PASSWORD})
    assert made.status_code == 201
    assert made.json()["user"]["email"] is None
    spaced = f"+1 ({number[2:5]}) {number[5:8]}-{number[8:]}"
    answer = await api.post(REGISTER, {"phone_number": spaced, "password": PASSWORD})
    assert answer.status_code == 409
    assert answer.json()["code"] == "phone_number_taken"


async def test_a_refused_registration_leaves_nothing(api: Api) -> None:
    taken = await api.register()
    name = unique()
    await api.post(REGISTER, {"email": taken.email, "username": name, "password": PASSWORD})
    assert (await api.sign_in(username=name)).status_code == 401
    assert (await api.register(username=name)).username == name


@pytest.mark.promise("Z14")
async def test_of_simultaneous_registrations_one_wins(api: Api) -> None:
    body = {"email": f"{unique()}@example.com", "password": PASSWORD}
    answers = await asyncio.gather(*(api.post(REGISTER, body) for _ in range(20)))
    assert sorted(a.status_code for a in answers) == [201] + [409] * 19


async def test_simultaneous_registrations_with_crossed_names_end(api: Api) -> None:
    """Names are claimed in one order, so nobody waits for somebody who waits for them."""
    names = [unique(), unique()]
    bodies = [
        {"username": names[n % 2], "email": f"{names[(n // 2) % 2]}@example.com", "password": PASSWORD}
        for n in range(16)
    ]
    answers = await asyncio.gather(*(api.post(REGISTER, body) for body in bodies))
    assert {a.status_code for a in answers} == {201, 409}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"email": None}, ""),
        ({"email": "nobody"}, "email"),
        ({"email": "a@b@example.com"}, "email"),
        ({"email": "a\r\nBcc: b@example.com"}, "email"),
        ({"email": "a@127.0.0.1"}, "email"),
        ({"phone_number": "12345"}, "phone_number"),
        ({"phone_number": "+" + "1" * 40}, "phone_number"),
        ({"username": "ab"}, "username"),
        ({"username": "-abc"}, "username"),
        ({"username": "a b c"}, "username"),
        ({"username": "a@b.c"}, "username"),
        ({"username": "\u0430dmin"}, "username"),
        ({"username": "a" * 51}, "username"),
        ({"first_name": "a\nb"}, "first_name"),
        ({"last_name": "a" * 151}, "last_name"),
        ({"password": "short"}, "password"),
        ({"password": None}, "password"),
    ],
)
async def test_what_cannot_be_a_name_is_refused(api: Api, changed: dict[str, str | None], field: str) -> None:
    body = {"email": f"{unique()}@example.com", "password": PASSWORD, **changed}
    answer = await api.post(REGISTER, {k: v for k, v in body.items() if v is not None})
    assert answer.status_code == 422
    assert field in fields(answer)


async def test_others_are_told_of_a_new_user(api: Api) -> None:
    made = await api.register(first_name="Grace", last_name="Hopper")
    events = await api.events(made.id)
    kind, data = events[0]
    assert kind == "UserRegistered"
    profile = data["profile"]
    assert profile["username"] == made.username
    assert profile["email"] == made.email
    assert not profile["email_verified"]
    assert (profile["first_name"], profile["last_name"], profile["version"]) == ("Grace", "Hopper", 1)
    assert [kind for kind, _ in events[1:]] == ["MessageRequested"]


@pytest.mark.promise("A2", "L1")
async def test_a_known_and_an_unknown_address_get_the_same_answer_where_they_are_confirmed(strict: Api) -> None:
    owner = await confirmed(strict)
    fresh = f"{unique()}@example.com"
    answers = [
        await strict.post(REGISTER, {"email": email, "username": unique(), "password": PASSWORD})
        for email in (owner, fresh, owner)
    ]
    for answer in answers:
        assert answer.headers["X-Database-Queries"] == answers[0].headers["X-Database-Queries"]
        assert answer.status_code == 202
        assert answer.json() == {"status": "verification_sent"}
    assert answers[0].headers.keys() == answers[1].headers.keys()
    assert [mail.kind for mail in await strict.mails(owner)] == ["verify_email", "account_exists"]
    assert [mail.kind for mail in await strict.mails(fresh)] == ["verify_email"]


@pytest.mark.promise("A2")
async def test_registering_with_a_known_address_changes_nothing_for_its_owner(strict: Api) -> None:
    owner = await confirmed(strict)
    await strict.post(REGISTER, {"email": owner, "password": "another battery horse", "first_name": "Mallory"})
    assert (await strict.sign_in(email=owner, password="another battery horse")).status_code == 401
    signed_in = await strict.sign_in(email=owner)
    assert signed_in.json()["user"]["first_name"] == ""


async def test_a_taken_username_is_said_also_where_addresses_are_confirmed(strict: Api) -> None:
    name = unique()
    first = await strict.post(REGISTER, {"email": f"{name}@example.com", "username": name, "password": PASSWORD})
    assert first.status_code == 202
    body = {"email": f"{unique()}@example.com", "username": name.upper(), "password": PASSWORD}
    assert (await strict.post(REGISTER, body)).status_code == 409


async def test_nobody_signs_in_before_confirming_where_that_is_required(strict: Api) -> None:
    email = f"{unique()}@example.com"
    await strict.post(REGISTER, {"email": email, "password": PASSWORD})
    assert (await strict.sign_in(email=email, password="wrong horse battery")).json()["code"] == "invalid_credentials"
    refused = await strict.sign_in(email=email)
    assert refused.status_code == 403
    assert refused.json()["code"] == "email_not_verified"
    await strict.post(VERIFY, {"token": await strict.link_token(email)})
    assert (await strict.sign_in(email=email)).status_code == 200


async def test_an_unconfirmed_registration_is_unknown_to_other_services(strict: Api) -> None:
    email = f"{unique()}@example.com"
    await strict.post(REGISTER, {"email": email, "password": PASSWORD})
    user_id = (await strict.mails(email))[0].user_id
    assert [kind for kind, _ in await strict.events(user_id)] == ["MessageRequested"]
    await strict.post(VERIFY, {"token": await strict.link_token(email)})
    kind, data = (await strict.events(user_id))[-1]
    assert kind == "UserRegistered"
    assert data["profile"]["email_verified"]


@pytest.mark.promise("A29")
@pytest.mark.parametrize("owner_is_first", [True, False])
async def test_no_stranger_has_the_password_of_an_address_that_its_owner_confirms(
    strict: Api, owner_is_first: bool
) -> None:
    email, chosen = f"{unique()}@example.com", [PASSWORD, STRANGERS]
    first, last = chosen if owner_is_first else reversed(chosen)
    links = []
    for password in (first, last):
        answer = await strict.post(REGISTER, {"email": email, "password": password})
        assert (answer.status_code, answer.json()) == (202, {"status": "verification_sent"})
        links.append(await strict.link_token(email))
    assert (await strict.post(VERIFY, {"token": links[0]})).status_code == 401
    assert (await strict.post(VERIFY, {"token": links[1]})).status_code == 200
    for password in chosen:
        assert (await strict.sign_in(password, email=email)).status_code == 401
    assert [mail.kind for mail in await strict.mails(email)][-1] == "reset_password"
    reset = {"token": await strict.link_token(email), "new_password": PASSWORD}
    assert (await strict.post("/api/v1/auth/password/reset", reset)).status_code == 200
    assert (await strict.sign_in(email=email)).status_code == 200
    assert (await strict.sign_in(STRANGERS, email=email)).status_code == 401


async def test_who_registers_again_with_the_same_password_has_it(strict: Api) -> None:
    name = unique()
    email = f"{name}@example.com"
    for _ in range(3):
        await strict.post(REGISTER, {"email": email, "username": name, "password": PASSWORD})
    await strict.post(VERIFY, {"token": await strict.link_token(email)})
    assert (await strict.sign_in(email=email)).status_code == 200
    assert "reset_password" not in [mail.kind for mail in await strict.mails(email)]


@pytest.mark.promise("A29")
async def test_a_third_registration_does_not_settle_it(strict: Api) -> None:
    email = f"{unique()}@example.com"
    for password in (PASSWORD, STRANGERS, STRANGERS):
        await strict.post(REGISTER, {"email": email, "password": password})
    await strict.post(VERIFY, {"token": await strict.link_token(email)})
    assert (await strict.sign_in(STRANGERS, email=email)).status_code == 401


async def test_an_address_is_required_where_it_must_be_confirmed(strict: Api) -> None:
    answer = await strict.post(REGISTER, {"phone_number": phone_number(), "password": PASSWORD})
    assert answer.status_code == 422
    assert "email" in fields(answer)


async def test_simultaneous_registrations_of_one_address_make_one_account_where_it_is_confirmed(strict: Api) -> None:
    email = f"{unique()}@example.com"
    bodies = [{"email": email, "password": f"{PASSWORD} {n}"} for n in range(10)]
    answers = await asyncio.gather(*(strict.post(REGISTER, body) for body in bodies))
    assert {a.status_code for a in answers} == {202}
    rows = await strict.sql("SELECT user_id FROM identifiers WHERE value_norm = :email", email=email)
    assert len(rows) == 1
    assert not await strict.sql("SELECT FROM passwords WHERE user_id = :id", id=rows[0].user_id)


async def confirmed(api: Api) -> str:
    """The address of an account that was confirmed."""
    email = f"{unique()}@example.com"
    await api.post(REGISTER, {"email": email, "password": PASSWORD})
    answer = await api.post(VERIFY, {"token": await api.link_token(email)})
    assert answer.status_code == 200
    return email


def phone_number() -> str:
    return new_phone("+14152", 6)


async def test_an_account_of_one_registration_signs_in_at_once(api: Api) -> None:
    body = {"email": f"{unique()}@example.com", "password": PASSWORD}
    made = account(await api.post(REGISTER, body))
    assert (await api.refresh(made.refresh)).status_code == 200
