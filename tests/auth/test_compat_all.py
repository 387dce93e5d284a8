"""What all families of clients have in common: one account, one set of refusals each in its own shape."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.auth.api import PASSWORD, Api, claims, unique
from tests.auth.clients import FAMILIES, HUB, PLATFORM, ROOMS, SENDER, Calls, member, register
from tests.auth.factors import verify, with_totp

PATHS = [
    ("POST", "/api/auth/login/facebook"),
    ("POST", "/api/auth/token/refresh"),
    ("POST", "/api/auth/refresh"),
    ("GET", "/api/auth/me"),
    ("POST", "/api/users/register"),
    ("POST", "/api/users/login"),
    ("POST", "/api/users/token/refresh"),
    ("POST", "/api/users/logout"),
    ("GET", "/api/users/profile"),
    ("POST", "/api/v1/auth/token"),
    ("POST", "/api/v1/auth/token/refresh"),
    ("POST", "/api/v1/auth/logout"),
    ("GET", "/api/v1/users/me"),
    ("POST", "/api/v1/auth/register"),
]
each_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
each_old_family = pytest.mark.parametrize("family", [SENDER, HUB, ROOMS], ids=["sender", "hub", "rooms"])


@pytest.mark.promise("K1")
@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_both_spellings_answer_alike(api: Api, method: str, path: str) -> None:
    body = {"json": {}} if method == "POST" else {}
    bare, slashed = [await api.call(method, path + end, **body) for end in ("", "/")]
    assert bare.status_code == slashed.status_code
    assert not 300 <= bare.status_code < 400
    assert bare.status_code != 404


async def signed_in_twice(api: Api, family: Calls, **names: str) -> int:
    return (await api.post(family.login, {**names, "password": PASSWORD})).status_code


@pytest.mark.promise("K4")
@each_old_family
async def test_account_of_one_family_enters_through_the_others(api: Api, family: Calls) -> None:
    person = await member(api, family)
    assert await signed_in_twice(api, SENDER, email=person.email) == 200
    assert await signed_in_twice(api, HUB, email=person.email) == 200
    assert await signed_in_twice(api, ROOMS, username=person.username) == 200
    assert await signed_in_twice(api, PLATFORM, email=person.email) == 200
    assert await signed_in_twice(api, PLATFORM, username=person.username) == 200


@pytest.mark.promise("K4")
@each_old_family
async def test_address_is_taken_in_all_families(api: Api, family: Calls) -> None:
    person = await member(api, family)
    for other, status in ((SENDER, 400), (HUB, 409), (ROOMS, 400), (PLATFORM, 409)):
        assert (await register(api, other, email=person.email)).status_code == status


@pytest.mark.promise("K5")
@each_family
@pytest.mark.parametrize("field", ["refresh", "refreshToken"])
async def test_refresh_takes_both_names(api: Api, family: Calls, field: str) -> None:
    person = await member(api, family)
    answer = await api.post(family.refresh, {field: person.refresh})
    assert answer.status_code == 200
    assert answer.json()["access"] == answer.json()["accessToken"]


@pytest.mark.promise("K5")
@each_family
async def test_fifty_at_once_converge(api: Api, family: Calls) -> None:
    person = await member(api, family)
    answers = await asyncio.gather(*(api.post(family.refresh, {"refresh": person.refresh}) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh"] for answer in answers}) == 1


@pytest.mark.promise("K5")
@pytest.mark.parametrize("family", [SENDER, ROOMS, PLATFORM], ids=["sender", "rooms", "platform"])
async def test_late_reuse_ends_the_session(aging: Api, family: Calls) -> None:
    person = await member(aging, family)
    newer = (await aging.post(family.refresh, {"refresh": person.refresh})).json()
    aging.clock.advance(31)
    assert (await aging.post(family.refresh, {"refresh": person.refresh})).status_code == 401
    assert (await aging.post(family.refresh, {"refresh": newer["refresh"]})).status_code == 401


@pytest.mark.promise("K7")
@each_family
async def test_claims_that_clients_read(api: Api, family: Calls) -> None:
    person = await member(api, family)
    said = claims(person.access)
    assert said["sub"] == said["user_id"] == said["userId"]
    assert (said["email"], said["type"]) == (person.email, "access")
    assert said["jti"]


SHAPES: Mapping[str, tuple[str, Any]] = {
    "sender": ("/api/auth/logout/", lambda b: (b["code"], b["error"] == b["message"] == b["detail"], b["success"])),
    "hub": ("/api/auth/me", lambda b: (b["error"]["code"], b["error"]["message"] == b["message"], b["success"])),
    "rooms": ("/api/users/profile/", lambda b: (b["code"], isinstance(b["detail"], str), False)),
}


@pytest.mark.promise("K2")
@pytest.mark.parametrize(
    ("family", "codes"),
    [
        ("sender", ("not_authenticated", "not_authenticated", "token_not_valid", "method_not_allowed")),
        ("hub", ("UNAUTHORIZED", "INVALID_TOKEN_FORMAT", "INVALID_TOKEN", "METHOD_NOT_ALLOWED")),
        ("rooms", ("not_authenticated", "not_authenticated", "token_not_valid", "method_not_allowed")),
    ],
)
async def test_refusals_have_the_shape_of_their_family(api: Api, family: str, codes: tuple[str, ...]) -> None:
    path, read = SHAPES[family]
    method = "POST" if family == "sender" else "GET"
    body = {"json": {"refresh": "x"}} if method == "POST" else {}
    answers = [
        await api.call(method, path, **body),
        await api.call(method, path, headers={"Authorization": "Token x"}, **body),
        await api.call(method, path, "x.y.z", **body),
        await api.call("PUT", path, json={}),
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 405]
    assert [read(answer.json()) for answer in answers] == [(code, True, False) for code in codes]
    assert answers[-1].headers["allow"] == method


@pytest.mark.promise("K2", "K3")
@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/api/auth/login/", lambda b: (b["code"], b["error"])),
        ("/api/auth/login", lambda b: (b["error"]["code"], b["error"]["message"])),
        ("/api/users/login/", lambda b: (b["code"], b["detail"])),
    ],
)
async def test_bodies_that_are_none(api: Api, path: str, read: Any) -> None:
    broken = await api.call("POST", path, content=b"{", headers={"Content-Type": "application/json"})
    plain = await api.call("POST", path, content=b"x", headers={"Content-Type": "text/plain"})
    huge = await api.post(path, {"email": "a" * (1 << 20)})
    assert [answer.status_code for answer in (broken, plain, huge)] == [400, 415, 413]
    codes = [read(answer.json()) for answer in (broken, plain, huge)]
    assert [code.lower() for code, _ in codes][1:] == ["unsupported_media_type", "payload_too_large"]
    assert codes[1][1] == 'Unsupported media type "text/plain" in request.'
    assert codes[0][1] in ("JSON parse error", "Request body is not valid JSON")


@pytest.mark.promise("K2")
@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/api/auth/nothing/", {"success", "error", "message", "detail", "code"}),
        ("/api/auth/nothing", {"success", "error", "message"}),
        ("/api/users/nothing/", {"detail", "code"}),
        ("/api/v1/auth/nothing", {"type", "title", "status", "code", "detail", "request_id"}),
    ],
)
async def test_unknown_paths(api: Api, path: str, keys: set[str]) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json().keys()) == (404, keys)


@pytest.mark.promise("K3")
@each_old_family
@pytest.mark.parametrize("body", [[], 5, "x", {"email": 5, "username": [], "password": {}, "refresh": 1}])
async def test_no_422_and_no_list_under_detail(api: Api, family: Calls, body: Any) -> None:
    person = await member(api, family)
    for path in (family.register, family.login, family.refresh, family.logout):
        answer = await api.post(path, body, person.access)
        assert answer.status_code == 400, path
        assert not isinstance(answer.json().get("detail"), list)


async def test_families_can_be_switched_off(open_api: Any) -> None:
    async with open_api(existing_clients=["hub"]) as api:
        assert (await register(api, SENDER)).status_code == 404
        assert (await register(api, ROOMS)).status_code == 404
        assert (await register(api, HUB, email=f"{unique()}@example.com")).status_code == 201


@each_old_family
async def test_where_addresses_must_be_confirmed_first(strict: Api, family: Calls) -> None:
    name = unique()
    names = {"username": name} if family is ROOMS else {}
    answer = await register(strict, family, email=f"{name}@example.com", **names)
    assert answer.status_code == (201 if family is ROOMS else 202)
    login = {family.name: name if family is ROOMS else f"{name}@example.com", "password": PASSWORD}
    assert (await strict.post(family.login, login)).status_code == 403


@each_old_family
async def test_a_second_factor_can_be_shown_by_every_client(still: Api, family: Calls) -> None:
    person = await with_totp(still)
    answer = await still.post(family.login, {family.name: person.account.email, "password": PASSWORD})
    assert answer.status_code == 403
    told = answer.json().get("error")
    pending = told["details"] if isinstance(told, dict) else answer.json()
    assert "totp" in pending["methods"]
    still.clock.advance(30)
    assert person.app is not None
    assert (await verify(still, pending["mfa_token"], "totp", person.app.code())).status_code == 200
