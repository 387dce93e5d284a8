"""Signing in by any name."""

import pytest

from tests.auth.api import PASSWORD, Api, claims, session_of, unique
from tests.auth.test_accounts import phone_number

TOKEN = "/api/v1/auth/token"


@pytest.mark.promise("A3")
async def test_one_field_takes_every_name(api: Api) -> None:
    phone = phone_number()
    made = await api.register(phone_number=phone)
    spellings = [
        made.email,
        made.email.upper(),
        made.username,
        made.username.upper(),
        phone,
        f" {phone[:2]} {phone[2:]}",
    ]
    for login in spellings:
        answer = await api.sign_in(login=login)
        assert answer.status_code == 200, login
        assert answer.json()["user"]["id"] == str(made.id)


async def test_each_name_has_its_own_field_too(api: Api) -> None:
    phone = phone_number()
    made = await api.register(phone_number=phone)
    for name in ({"email": made.email}, {"username": made.username}, {"phone_number": phone}):
        assert (await api.sign_in(**name)).status_code == 200
    assert (await api.sign_in(username=made.email)).status_code == 401


async def test_both_spellings_of_the_path_are_one_route(api: Api) -> None:
    made = await api.register()
    answer = await api.post(f"{TOKEN}/", {"email": made.email, "password": PASSWORD})
    assert answer.status_code == 200


@pytest.mark.promise("L1")
async def test_unknown_name_and_wrong_password_are_answered_alike(api: Api) -> None:
    made = await api.register()
    answers = [
        await api.sign_in(email=made.email, password="wrong horse battery"),
        await api.sign_in(email=f"{unique()}@example.com"),
        await api.sign_in(login="\u0430\u0431\u0432"),
        await api.sign_in(phone_number="nonsense"),
    ]
    bodies = [{k: v for k, v in a.json().items() if k != "request_id"} for a in answers]
    assert {a.status_code for a in answers} == {401}
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == "invalid_credentials"
    assert bodies[0]["detail"] == "No active account found with the given credentials"
    assert len({tuple(sorted(a.headers.keys())) for a in answers}) == 1


@pytest.mark.parametrize(
    "names", [{}, {"email": "a@example.com", "username": "abc"}, {"login": "abc", "phone_number": "+14155552671"}]
)
async def test_exactly_one_name_is_wanted(api: Api, names: dict[str, str]) -> None:
    assert (await api.sign_in(**names)).status_code == 422


async def test_every_sign_in_opens_a_session_of_its_own(api: Api) -> None:
    made = await api.register()
    again = (await api.sign_in(email=made.email)).json()
    assert session_of(again["access"]) != session_of(made.access)
    assert (await api.me(made.access)).status_code == 200
    assert claims(again["access"])["amr"] == ["pwd"]


async def test_a_suspended_account_is_answered_like_an_unknown_one(api: Api) -> None:
    made = await api.register()
    await api.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=made.id)
    assert (await api.sign_in(email=made.email)).json()["code"] == "invalid_credentials"
    assert (await api.refresh(made.refresh)).status_code == 401
    assert (await api.me(made.access)).status_code == 401
    other = await api.register()
    assert (await api.get(f"/api/v1/users/{made.id}", other.access)).status_code == 404
