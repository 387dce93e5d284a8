"""The Hub client: its calls and what it reads, as literal JSON."""

from typing import Any

import pytest

from tests.auth.api import PASSWORD, Api, claims, unique
from tests.auth.clients import HUB, member, register


def refusal(code: str, text: str, details: Any = None, *, retryable: bool = False) -> dict[str, Any]:
    error = {"code": code, "message": text, "retryable": retryable, "details": details or {}}
    return {"success": False, "error": error, "message": text}


@pytest.mark.promise("K17")
async def test_registers_and_signs_in(api: Api) -> None:
    email = f"{unique()}@example.com"
    made = await api.post("/api/auth/register", {"email": email, "password": PASSWORD})
    entered = await api.post("/api/auth/login", {"email": email, "password": PASSWORD})
    assert (made.status_code, entered.status_code) == (201, 200)
    for body in (made.json(), entered.json()):
        assert body["user"]["email"] == email
        assert body["user"]["createdAt"].endswith("Z")
        assert body["tokens"].keys() == {"accessToken", "refreshToken"}
        assert all(body["tokens"].values())


@pytest.mark.promise("K17")
async def test_short_password(api: Api) -> None:
    answer = await register(api, HUB, password="short")
    text = "Password must be at least 8 characters."
    assert answer.status_code == 400
    assert answer.json() == refusal("VALIDATION_ERROR", text, [{"field": "password", "message": text}])


@pytest.mark.promise("K17")
async def test_everything_missing_is_named(api: Api) -> None:
    answer = await api.post("/api/auth/register", {})
    details = [
        {"field": "email", "message": "Email is required."},
        {"field": "password", "message": "Password is required."},
    ]
    assert answer.json() == refusal("VALIDATION_ERROR", "Email is required.", details)


@pytest.mark.promise("K17")
async def test_taken_address(api: Api) -> None:
    email = f"{unique()}@example.com"
    await register(api, HUB, email=email)
    answer = await register(api, HUB, email=email)
    assert answer.status_code == 409
    assert answer.json() == refusal("USER_EXISTS", "User with this email already exists")


async def test_wrong_password(api: Api) -> None:
    answer = await api.post("/api/auth/login", {"email": f"{unique()}@example.com", "password": PASSWORD})
    assert answer.status_code == 401
    assert answer.json() == refusal("AUTHENTICATION_FAILED", "Invalid email or password")


@pytest.mark.promise("K18")
async def test_me_on_both_levels(api: Api) -> None:
    person = await member(api, HUB)
    body = (await api.get("/api/auth/me", person.access)).json()
    assert body["email"] == person.email
    assert {key: body[key] for key in ("id", "email", "createdAt", "updatedAt")} == body["user"]


@pytest.mark.promise("K19")
async def test_refresh_on_both_levels(api: Api) -> None:
    person = await member(api, HUB)
    body = (await api.post("/api/auth/refresh", {"refreshToken": person.refresh})).json()
    assert body["tokens"] == {"accessToken": body["accessToken"], "refreshToken": body["refreshToken"]}
    assert (await api.me(body["accessToken"])).status_code == 200


@pytest.mark.promise("K5", "K19")
async def test_refresh_token_stays_the_same_for_seven_days(aging: Api) -> None:
    """One of this client's two ways to refresh keeps the old token and comes back with it much later."""
    person = await member(aging, HUB)
    for _ in range(3):
        aging.clock.advance(2 * 86400)
        answer = await aging.post("/api/auth/refresh", {"refreshToken": person.refresh})
        assert (answer.status_code, answer.json()["refreshToken"]) == (200, person.refresh)
    aging.clock.advance(86400)
    answer = await aging.post("/api/auth/refresh", {"refreshToken": person.refresh})
    assert (answer.status_code, answer.json()) == (401, refusal("TOKEN_REFRESH_FAILED", "Refresh token has expired"))


@pytest.mark.promise("K19")
async def test_refresh_tokens_that_are_none(api: Api) -> None:
    person = await member(api, HUB)
    await api.post("/api/auth/logout", {"refreshToken": person.refresh})
    for token, text in (
        ("nonsense", "Invalid refresh token"),
        (person.access, "Invalid refresh token"),
        (person.refresh, "Refresh token has been revoked"),
    ):
        answer = await api.post("/api/auth/refresh", {"refreshToken": token})
        assert (answer.status_code, answer.json()) == (401, refusal("TOKEN_REFRESH_FAILED", text))


@pytest.mark.promise("K19", "K20")
@pytest.mark.parametrize("path", ["/api/auth/refresh", "/api/auth/logout"])
@pytest.mark.parametrize("body", [{}, {"refreshToken": None}, {"refreshToken": ""}])
async def test_refresh_token_missing(api: Api, path: str, body: dict[str, Any]) -> None:
    answer = await api.post(path, body)
    text = "Refresh token is required."
    assert answer.status_code == 400
    assert answer.json() == refusal("VALIDATION_ERROR", text, [{"field": "refreshToken", "message": text}])


@pytest.mark.promise("K20", "K6")
async def test_signs_out_with_the_refresh_token_alone(api: Api) -> None:
    person, other = await member(api, HUB), await member(api, HUB)
    for token in (person.refresh, person.refresh, "nonsense", other.access):
        answer = await api.post("/api/auth/logout", {"refreshToken": token})
        assert (answer.status_code, answer.json()) == (200, {"message": "Logged out successfully"})
    assert await api.ended(person.access) == "token_revoked"
    assert (await api.me(other.access)).status_code == 200


@pytest.mark.promise("K20")
@pytest.mark.parametrize("header", ["Token x", "Bearer nonsense", "Bearer {expired}"])
async def test_signs_out_whatever_else_it_brings(aging: Api, header: str) -> None:
    person = await member(aging, HUB)
    aging.clock.advance(901)
    headers = {"Authorization": header.format(expired=person.access)}
    answer = await aging.post("/api/auth/logout", {"refreshToken": person.refresh}, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"message": "Logged out successfully"})
    answer = await aging.post("/api/auth/refresh", {"refreshToken": person.refresh})
    assert answer.json() == refusal("TOKEN_REFRESH_FAILED", "Refresh token has been revoked")


@pytest.mark.promise("K21", "K23")
async def test_access_lasts_a_quarter_of_an_hour(aging: Api) -> None:
    person = await member(aging, HUB)
    said = claims(person.access)
    assert said["exp"] - said["iat"] == 900
    aging.clock.advance(900 + 31)
    answer = await aging.get("/api/auth/me", person.access)
    assert (answer.status_code, answer.json()) == (401, refusal("TOKEN_EXPIRED", "Access token has expired"))


@pytest.mark.promise("K21")
@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({}, "UNAUTHORIZED"),
        ({"Authorization": "Token x"}, "INVALID_TOKEN_FORMAT"),
        ({"Authorization": "Bearer x"}, "INVALID_TOKEN"),
    ],
)
async def test_me_without_a_proper_token(api: Api, header: dict[str, str], code: str) -> None:
    answer = await api.get("/api/auth/me", headers=header)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
