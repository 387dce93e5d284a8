"""The Sender client: its calls and what it reads, as literal JSON."""

from typing import Any

import httpx2
import pytest

from tests.auth.api import PASSWORD, Api, claims, unique
from tests.auth.clients import SENDER, member, register


def refusal(text: str, code: str) -> dict[str, Any]:
    return {"success": False, "error": text, "message": text, "detail": text, "code": code}


@pytest.mark.promise("K9")
async def test_registers(api: Api) -> None:
    email = f"{unique()}@example.com"
    answer = await api.post("/api/auth/register/", {"email": email, "password": PASSWORD})
    body = answer.json()
    assert (answer.status_code, body["success"]) == (201, True)
    assert body["data"].keys() == {"access", "refresh", "userId", "email"}
    assert all(body["data"].values())
    assert body["data"]["email"] == email
    assert body["data"]["userId"] == body["user"]["id"]


@pytest.mark.promise("K9")
async def test_taken_address(api: Api) -> None:
    email = f"{unique()}@example.com"
    await register(api, SENDER, email=email)
    answer = await register(api, SENDER, email=email.upper())
    assert answer.status_code == 400
    assert answer.json() == refusal("Email already registered", "email_taken")


@pytest.mark.promise("K9")
@pytest.mark.parametrize("field", ["email", "password"])
@pytest.mark.parametrize("value", [..., None, ""])
@pytest.mark.parametrize("path", ["/api/auth/register/", "/api/auth/login/"])
async def test_incomplete(api: Api, path: str, field: str, value: Any) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD, field: value}
    answer = await api.post(path, {k: v for k, v in body.items() if v is not ...})
    assert answer.status_code == 400
    assert answer.json() == refusal("Please provide both email and password", "invalid")


@pytest.mark.promise("K9")
@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"email": "ada"}, "Enter a valid email address."),
        ({"password": "short"}, "This password is too short. It must contain at least 8 characters."),
        ({"password": "password1"}, "This password is too common."),
    ],
)
async def test_unacceptable(api: Api, changed: dict[str, str], text: str) -> None:
    answer = await register(api, SENDER, **changed)
    assert answer.status_code == 400
    assert answer.json() == refusal(text, "invalid")


@pytest.mark.promise("K10")
async def test_signs_in_by_address_or_username(api: Api) -> None:
    person = await api.register()
    for name in (person.email, person.username):
        answer = await api.post("/api/auth/login/", {"email": name, "password": PASSWORD})
        assert answer.status_code == 200
        assert answer.json()["data"]["userId"] == str(person.id)


@pytest.mark.promise("K10")
async def test_wrong_password_and_unknown_address_read_the_same(api: Api) -> None:
    person = await api.register()
    wrong = await api.post("/api/auth/login/", {"email": person.email, "password": "not this one"})
    unknown = await api.post("/api/auth/login/", {"email": f"{unique()}@example.com", "password": "not this one"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json() == refusal("Invalid credentials", "invalid_credentials")


@pytest.mark.promise("K11")
@pytest.mark.parametrize(("password", "status"), [(PASSWORD, 403), ("not this one", 401)])
async def test_account_that_is_bound_to_countries(api: Api, password: str, status: int) -> None:
    person = await api.register()
    await api.sql("UPDATE users SET allowed_countries = '{FR}' WHERE id = :id", id=person.id)
    # Port 0: the address that a trusted proxy forwarded, so its word on the country counts.
    gateway = httpx2.ASGITransport(app=api.app, client=("203.0.113.9", 0))
    async with httpx2.AsyncClient(transport=gateway, base_url="http://auth") as abroad:
        body = {"email": person.email, "password": password}
        answer = await abroad.post("/api/auth/login/", json=body, headers={"X-Client-Country": "DE"})
    assert answer.status_code == status
    assert (answer.json() == refusal("Access not allowed from DE", "country_blocked")) == (status == 403)


@pytest.mark.promise("K13", "K6")
async def test_signs_out(api: Api) -> None:
    person = await member(api, SENDER)
    answer = await api.post("/api/auth/logout/", {"refresh": person.refresh}, person.access)
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "data": {"message": "Successfully logged out"}}
    again = await api.post("/api/auth/token/refresh/", {"refresh": person.refresh})
    assert (again.status_code, again.json()) == (401, refusal("Token is invalid or expired", "token_not_valid"))
    await api.ended(person.access)
    repeated = await api.post("/api/auth/logout/", {"refresh": person.refresh}, person.access)
    assert repeated.status_code == 401


@pytest.mark.promise("K13")
async def test_signing_out_what_has_ended(api: Api) -> None:
    person = await member(api, SENDER)
    other = (await api.post("/api/auth/login/", {"email": person.email, "password": PASSWORD})).json()
    await api.post("/api/auth/logout/", {"refresh": person.refresh}, person.access)
    answer = await api.post("/api/auth/logout/", {"refresh": person.refresh}, other["access"])
    assert (answer.status_code, answer.json()) == (400, refusal("Token is blacklisted", "token_blacklisted"))


@pytest.mark.promise("K13")
async def test_signing_out_with_nothing_or_nonsense(api: Api) -> None:
    person, stranger = await member(api, SENDER), await member(api, SENDER)
    for refresh, text, code in (
        (None, "Refresh token is required", "invalid"),
        ("nonsense", "Token is invalid or expired", "token_not_valid"),
        (person.access, "Token is invalid or expired", "token_not_valid"),
        (stranger.refresh, "Token is invalid or expired", "token_not_valid"),
    ):
        answer = await api.post("/api/auth/logout/", {"refresh": refresh}, person.access)
        assert (answer.status_code, answer.json()) == (400, refusal(text, code))
    assert (await api.refresh(stranger.refresh)).status_code == 200


@pytest.mark.promise("K13")
async def test_signing_out_without_a_token(api: Api) -> None:
    person = await member(api, SENDER)
    answer = await api.post("/api/auth/logout/", {"refresh": person.refresh})
    text = "Authentication credentials were not provided."
    assert (answer.status_code, answer.json()) == (401, refusal(text, "not_authenticated"))


async def test_refresh_without_a_token(api: Api) -> None:
    answer = await api.post("/api/auth/token/refresh/", {})
    assert answer.status_code == 400
    assert answer.json()["error"] == {"refresh": ["This field is required."]}
    assert answer.json()["message"] == "This field is required."


@pytest.mark.promise("K16")
async def test_access_lasts_twelve_hours(aging: Api) -> None:
    person = await member(aging, SENDER)
    aging.clock.advance(12 * 3600 - 60)
    assert (await aging.me(person.access)).status_code == 200
    aging.clock.advance(60 + 31)
    assert (await aging.me(person.access)).json()["code"] == "token_expired"


@pytest.mark.promise("K16")
async def test_lifetime_stays_with_the_session(api: Api) -> None:
    person = await member(api, SENDER)
    body = (await api.refresh(person.refresh)).json()
    said = claims(body["access"])
    assert said["exp"] - said["iat"] == 12 * 3600
