"""Nothing that is sent makes auth answer with a 500, and no refusal repeats what was sent."""

import json
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.auth.api import Api, unique

BODIES = {
    "/api/v1/auth/register": ("POST", {"email": "x@example.com", "password": "correct horse battery"}),
    "/api/v1/auth/token": ("POST", {"email": "x@example.com", "password": "correct horse battery"}),
    "/api/v1/auth/token/refresh": ("POST", {"refresh": "x"}),
    "/api/v1/auth/logout": ("POST", {"refresh": "x"}),
    "/api/v1/auth/email/verify": ("POST", {"token": "x"}),
    "/api/v1/users/me": ("PATCH", {"first_name": "x", "bio": "y", "username": "abc"}),
}
UUID_ONE = UUID(int=1)
ROUTES = [(method, path) for path, (method, _) in BODIES.items()]
VALUES: list[Any] = [
    None, True, 0, -1, 1 << 70, 1.5, "", " ", "\x00", "a\x00b", "\ud800", "\udfff x", [], {}, ["a"], {"a": "b"}, [[[]]],
    "a" * 70_000, "'; DROP TABLE users; --", "{{7*7}}", "\r\nX-Header: 1", "../../../etc/passwd", "\u202e", "\ufeff",
    "NaN", "1e999",
]  # fmt: skip


async def send(api: Api, method: str, path: str, content: bytes, **headers: str) -> Any:
    """With a token, so that the body is looked at; of somebody new, for signing out works."""
    made = await api.register()
    heads = {"Content-Type": "application/json", "Authorization": f"Bearer {made.access}", **headers}
    return await api.http.request(method, path, content=content, headers=heads)


@pytest.mark.promise("Z8")
@pytest.mark.parametrize("path", BODIES)
async def test_wrong_values_in_any_field_are_refused(api: Api, path: str) -> None:
    method, good = BODIES[path]
    made = await api.register()
    for field in good:
        for value in VALUES:
            body = json.dumps(
                {**good, "email": f"{unique()}@example.com", field: value}
                if "email" in good
                else {**good, field: value}
            )
            heads = {"Content-Type": "application/json", "Authorization": f"Bearer {made.access}"}
            answer = await api.http.request(method, path, content=body.encode(), headers=heads)
            assert answer.status_code < 500, (field, value)
            if answer.status_code >= 400:
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert answer.json()["status"] == answer.status_code
            if answer.status_code == 200 and path.endswith("logout"):
                made = await api.register()


@pytest.mark.promise("Z8")
@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe\xfa",
        b'{"email": "\xff"}',
        b'{"email": "\xed\xa0\x80"}',
        b"NaN",
        b"1e999",
        b'{"email": NaN}',
        b'{"a": 1e999}',
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b"[]",
        b'"text"',
        b"7" * 6000,
        b'{"email": ' + b"9" * 6000 + b"}",
        b'{"email": "a@example.com", "email": 7, "refresh": 7, "token": 7, "bio": 7}',
        b"\x00",
    ],
)
async def test_bodies_that_are_no_request_are_refused(api: Api, method: str, path: str, content: bytes) -> None:
    answer = await send(api, method, path, content)
    assert answer.status_code in (400, 422)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.promise("Z8")
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_body_over_the_limit_is_refused(api: Api, method: str, path: str) -> None:
    answer = await send(api, method, path, b'{"password": "' + b"a" * (1 << 20) + b'"}')
    assert answer.status_code == 413
    assert answer.json()["code"] == "payload_too_large"


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"]
)
async def test_another_content_type_is_refused(api: Api, method: str, path: str, media: str) -> None:
    answer = await send(api, method, path, b'{"refresh": "x"}', **{"Content-Type": media})
    assert answer.status_code == 415


@pytest.mark.promise("Z3", "A53")
@pytest.mark.parametrize("path", BODIES)
async def test_unknown_fields_are_refused(api: Api, path: str) -> None:
    method, good = BODIES[path]
    for unknown in ("role", "id", "is_admin", "constructor", "a" * 1000, "", "\ud800", "\x00"):
        answer = await send(api, method, path, json.dumps({**good, unknown: 1}).encode())
        assert answer.status_code == 422, unknown
        assert answer.json()["code"] == "validation_error"


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_no_body_is_refused_where_one_is_needed(api: Api, method: str, path: str) -> None:
    answer = await send(api, method, path, b"")
    assert answer.status_code == (200 if path.endswith("logout") else 422)


async def test_a_refusal_does_not_repeat_what_was_sent(api: Api) -> None:
    secret = f"secret-{unique()}"
    for path, (method, good) in BODIES.items():
        for body in ({**good, "password": [secret]}, dict.fromkeys(good, secret * 100), {"x": secret}):
            answer = await send(api, method, path, json.dumps(body).encode())
            assert secret not in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/auth/sessions?cursor=%00"),
        ("GET", "/api/v1/auth/sessions?limit=99999999999999999999999"),
        ("DELETE", "/api/v1/auth/sessions/%00"),
        ("DELETE", "/api/v1/auth/sessions/not-a-uuid"),
        ("GET", "/api/v1/users/%ff"),
        ("GET", "/api/v1/users/99999999999999999999999999999999999999"),
        ("PATCH", "/api/v1/users/00000000-0000-0000-0000-000000000000"),
        ("TRACE", "/api/v1/users/me"),
        ("GET", "/api/v1/auth/nothing"),
        ("GET", "/internal"),
    ],
)
async def test_paths_and_queries_that_mean_nothing_are_refused(api: Api, method: str, path: str) -> None:
    made = await api.register()
    answer = await api.call(method, path, made.access)
    assert answer.status_code in (404, 405, 422)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("value", ["\x7f", "a" * 5000, '"', "*,*", 'W/"1"'])
async def test_odd_conditions_do_not_match(api: Api, value: str) -> None:
    made = await api.register()
    answer = await api.call("PATCH", "/api/v1/users/me", made.access, json={"bio": "x"}, headers={"If-Match": value})
    assert answer.status_code in (412, 422)


async def test_a_database_that_is_away_is_said_to_be(open_api: Any) -> None:
    async with open_api(database_url="postgresql://nobody:nothing@127.0.0.1:1/none") as api:
        for path, (method, good) in BODIES.items():
            if "logout" not in path and "users" not in path:
                body = {"refresh": api.app.state.kit.mint.refresh.make(UUID_ONE, 0, b"")} if "refresh" in path else good
                answer = await api.call(method, path, json=body)
                assert answer.status_code == 503
                assert answer.headers["Retry-After"]
        assert (await api.get("/health/ready")).status_code == 503
        assert (await api.get("/health/live")).status_code == 200


async def test_the_tables_are_all_still_there(api: Api) -> None:
    async with api.db.transaction() as db:
        assert await db.scalar(text("SELECT count(*) > 0 FROM users"))
