"""The Rooms client: its calls and what it reads, as literal JSON."""

import pytest

from tests.auth.api import PASSWORD, Api, claims, unique
from tests.auth.clients import ROOMS, member, register


@pytest.mark.promise("K45")
async def test_registers_without_tokens(api: Api) -> None:
    name = unique()
    answer = await register(api, ROOMS, username=name, email=f"{name}@example.com")
    body = answer.json()
    assert answer.status_code == 201
    assert isinstance(body.pop("id"), int)
    assert body == {
        "username": name,
        "email": f"{name}@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
    }
    assert (
        await api.sql("SELECT 1 FROM sessions s JOIN identifiers USING (user_id) WHERE value = :name", name=name) == []
    )


@pytest.mark.promise("K45")
async def test_everything_wrong_is_named_at_once(api: Api) -> None:
    answer = await register(api, ROOMS, username="a b", email="ada", password="short")
    assert answer.status_code == 400
    body = answer.json()
    assert body.keys() == {"username", "email", "password"}
    assert body["email"] == ["Enter a valid email address."]
    assert body["password"] == ["This password is too short. It must contain at least 8 characters."]


@pytest.mark.promise("K45")
async def test_missing_fields(api: Api) -> None:
    answer = await api.post("/api/users/register/", {"username": "", "email": None})
    assert answer.json() == {
        "username": ["This field may not be blank."],
        "email": ["This field may not be null."],
        "password": ["This field is required."],
    }


@pytest.mark.promise("K45")
async def test_taken_names(api: Api) -> None:
    person = await member(api, ROOMS)
    by_name = await register(api, ROOMS, username=person.username)
    by_email = await register(api, ROOMS, email=person.email)
    assert (by_name.status_code, by_email.status_code) == (400, 400)
    assert by_name.json() == {"username": ["A user with that username already exists."]}
    assert by_email.json() == {"email": ["user with this email already exists."]}


@pytest.mark.promise("K45")
async def test_signs_in(api: Api) -> None:
    name = unique()
    made = (await register(api, ROOMS, username=name)).json()
    answer = await api.post("/api/users/login/", {"username": name, "password": PASSWORD})
    body = answer.json()
    assert (answer.status_code, body["user"]) == (200, made)
    assert (await api.refresh(body["refresh"])).status_code == 200
    said = claims(body["access"])
    assert said["exp"] - said["iat"] == 3600


@pytest.mark.promise("K45")
async def test_wrong_password(api: Api) -> None:
    answer = await api.post("/api/users/login/", {"username": unique(), "password": PASSWORD})
    assert answer.status_code == 401
    text = "No active account found with the given credentials"
    assert answer.json() == {"detail": text, "code": "no_active_account"}


@pytest.mark.promise("K45")
async def test_profile_and_refresh(api: Api) -> None:
    person = await member(api, ROOMS)
    profile = (await api.get("/api/users/profile/", person.access)).json()
    assert profile.keys() == {"id", "username", "email", "first_name", "last_name"}
    body = (await api.post("/api/users/token/refresh/", {"refresh": person.refresh})).json()
    assert body["user"] == profile
    assert (await api.get("/api/users/profile/", body["access"])).status_code == 200


@pytest.mark.promise("K45")
@pytest.mark.parametrize("path", ["/api/users/token/refresh/", "/api/users/logout/"])
async def test_refresh_token_missing_or_wrong(api: Api, path: str) -> None:
    person = await member(api, ROOMS)
    missing = await api.post(path, {}, person.access)
    assert (missing.status_code, missing.json()) == (400, {"refresh": ["This field is required."]})
    wrong = await api.post(path, {"refresh": "nonsense"}, person.access)
    assert wrong.status_code == (401 if "refresh" in path else 400)
    assert wrong.json() == {"detail": "Token is invalid or expired", "code": "token_not_valid"}


@pytest.mark.promise("K50", "K6")
async def test_signs_out(api: Api) -> None:
    person = await member(api, ROOMS)
    answer = await api.post("/api/users/logout/", {"refresh": person.refresh}, person.access)
    assert (answer.status_code, answer.json()) == (200, {"detail": "Successfully logged out."})
    assert (await api.post("/api/users/token/refresh/", {"refresh": person.refresh})).status_code == 401
    assert await api.ended(person.access) == "token_revoked"
