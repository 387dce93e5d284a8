"""Tokens for programs."""

import asyncio
import hashlib
from typing import Any
from uuid import uuid4

import pytest

from libs.tokens import SERVICE_HEADER, ServiceTokens
from tests.auth.api import PASSWORD, Account, Api
from tests.auth.conftest import OpenApi

PATH = "/api/v1/auth/api-tokens"
ALL = ["auth:read", "auth:write", "chat:read", "chat:write", "notify:read", "notify:write", "admin"]


async def make(api: Api, owner: Account, *scopes: str, **more: Any) -> dict[str, Any]:
    answer = await api.post(PATH, {"name": "backup", "scopes": list(scopes or ALL), **more}, owner.access)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def ask(api: Api, token: str) -> dict[str, Any]:
    """As another service does."""
    headers = {SERVICE_HEADER: f"Bearer {ServiceTokens(api.ring, 'chat', api.clock).token_for('auth')}"}
    answer = await api.call("POST", "/internal/api-tokens", json={"token": token}, headers=headers)
    assert answer.status_code == 200, answer.text
    facts: dict[str, Any] = answer.json()
    return facts


@pytest.mark.promise("A45", "A61")
async def test_a_token_is_shown_once_and_kept_as_a_hash(api: Api) -> None:
    owner = await api.register()
    made = await make(api, owner, "auth:read")
    token = made["token"]
    assert token.startswith("pat_")
    assert len(token) == 47
    [listed] = (await api.get(PATH, owner.access)).json()["results"]
    assert listed == {k: v for k, v in made.items() if k != "token"}
    assert (listed["ending"], listed["scopes"], listed["expires_at"]) == (token[-4:], ["auth:read"], None)
    [row] = await api.sql("SELECT hash, t::text AS whole FROM api_tokens AS t WHERE id = :id", id=made["id"])
    assert row.hash == hashlib.sha256(token.encode()).digest()
    assert token not in row.whole
    mail = (await api.mails(owner.email))[-1]
    assert (mail.kind, mail.secret, mail.variables) == ("api_token_created", None, {"label": "backup"})


@pytest.mark.promise("A61")
async def test_a_token_is_a_bearer_within_its_scopes(api: Api) -> None:
    owner = await api.register()
    reading = (await make(api, owner, "auth:read", "chat:write"))["token"]
    writing = (await make(api, owner, "auth:write"))["token"]
    assert (await api.me(reading)).json()["id"] == str(owner.id)
    change = {"json": {"first_name": "Ada"}}
    refused = await api.call("PATCH", "/api/v1/users/me", reading, **change)
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert refused.json()["scopes"] == ["auth:write"]
    assert (await api.me(writing)).json()["code"] == "insufficient_scope"
    assert (await api.call("PATCH", "/api/v1/users/me", writing, **change)).status_code == 200


@pytest.mark.promise("A61")
async def test_no_token_makes_a_token_or_passes_a_confirmation(api: Api) -> None:
    owner = await api.register()
    token = (await make(api, owner))["token"]
    answer = await api.post(PATH, {"name": "more", "scopes": ["auth:read"]}, token)
    assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required")
    assert (await api.refresh(token)).status_code == 401


@pytest.mark.promise("A61")
async def test_an_old_sign_in_makes_no_token(aging: Api) -> None:
    owner = await aging.register()
    aging.clock.advance(301)
    answer = await aging.post(PATH, {"name": "x", "scopes": ["auth:read"]}, owner.access)
    assert answer.json()["code"] == "reauth_required"


@pytest.mark.promise("A61")
async def test_staff_routes_want_the_scope_and_the_role(api: Api) -> None:
    owner = await api.register()
    everything, narrow = (await make(api, owner))["token"], (await make(api, owner, *ALL[:-1]))["token"]
    path = "/api/v1/admin/auth/users"
    assert (await api.get(path, everything)).json()["code"] == "permission_denied"
    assert (await api.get(path, narrow)).json()["code"] == "insufficient_scope"
    await api.sql("UPDATE users SET roles = '{user,admin}' WHERE id = :id", id=owner.id)
    assert (await api.get(path, everything)).status_code == 200
    assert (await api.get(path, narrow)).json()["code"] == "insufficient_scope"


@pytest.mark.promise("A61")
async def test_a_revoked_token_is_refused_at_once(api: Api, open_api: OpenApi) -> None:
    owner = await api.register()
    made, kept = await make(api, owner), await make(api, owner)
    async with open_api() as other:
        assert (await other.me(made["token"])).status_code == 200
        assert (await api.call("DELETE", f"{PATH}/{made['id']}", owner.access)).status_code == 204
        assert await other.ended(made["token"]) in ("invalid_token", "token_revoked")
        assert (await other.me(kept["token"])).status_code == 200
    assert (await ask(api, made["token"])) == (await ask(api, "pat_" + "x" * 43))
    assert (await api.call("DELETE", f"{PATH}/{made['id']}", owner.access)).status_code == 404


@pytest.mark.promise("A61", "Z1")
async def test_somebody_elses_token_is_neither_listed_nor_ended(api: Api) -> None:
    owner, stranger = await api.register(), await api.register()
    made = await make(api, owner)
    for token_id in (made["id"], str(uuid4())):
        assert (await api.call("DELETE", f"{PATH}/{token_id}", stranger.access)).status_code == 404
    assert (await api.get(PATH, stranger.access)).json() == {"results": []}
    assert (await api.me(made["token"])).status_code == 200


@pytest.mark.promise("A61")
async def test_a_token_expires(aging: Api) -> None:
    made = await make(aging, await aging.register(), expires_in_days=1)
    assert (await aging.me(made["token"])).status_code == 200
    aging.clock.advance(86_401)
    assert (await aging.me(made["token"])).json()["code"] == "invalid_token"


@pytest.mark.promise("A61", "A56")
async def test_a_suspended_owner_has_no_tokens(api: Api) -> None:
    owner = await api.register()
    token = (await make(api, owner))["token"]
    await api.sql("UPDATE users SET status = 'suspended' WHERE id = :id", id=owner.id)
    assert (await api.me(token)).json()["code"] == "invalid_token"
    assert (await ask(api, token)) == {**(await ask(api, "nonsense")), "active": False}


@pytest.mark.promise("A61")
async def test_what_ends_sessions_tells_of_the_tokens_that_stay(api: Api) -> None:
    owner, other = await api.register(), await api.register()
    stays, ended = await make(api, owner, "auth:read"), await make(api, owner)
    await make(api, other)
    await api.call("DELETE", f"{PATH}/{ended['id']}", owner.access)
    new = "battery staple horse"
    changed = {"current_password": PASSWORD, "new_password": new}
    assert (await api.post("/api/v1/users/me/password", changed, owner.access)).status_code == 200
    mail = (await api.mails(owner.email))[-1]
    assert (mail.kind, mail.variables) == ("password_changed", {"api_tokens": "1"})
    for way in ("logout-others", "logout-all"):
        access = (await api.sign_in(new, email=owner.email)).json()["access"]
        assert (await api.post(f"/api/v1/auth/{way}", None, access)).json()["api_tokens"] == 1
    assert (await api.me(stays["token"])).status_code == 200


@pytest.mark.promise("A61")
async def test_the_last_use_is_noted_once_a_minute(aging: Api) -> None:
    owner = await aging.register()
    token = (await make(aging, owner))["token"]
    used = []
    for seconds in (0, 30, 31):
        aging.clock.advance(seconds)
        await aging.me(token)
        used.append((await aging.sql("SELECT last_used_at FROM api_tokens WHERE user_id = :id", id=owner.id))[0][0])
    assert used[0] == used[1] < used[2]


async def test_other_services_are_told_what_holds(api: Api) -> None:
    owner = await api.register()
    made = await make(api, owner, "chat:read", expires_in_days=2)
    facts = await ask(api, made["token"])
    assert (facts["active"], facts["user_id"], facts["token_id"]) == (True, str(owner.id), made["id"])
    assert (facts["scopes"], facts["roles"]) == (["chat:read"], ["user"])


@pytest.mark.parametrize("token", ["pat_", "pat_x", "pat_" + "x" * 44, "pat_" + "é" * 43, "pat_" + "x" * 43])
async def test_texts_that_are_no_tokens_are_refused(api: Api, token: str) -> None:
    answer = await api.get("/api/v1/users/me", headers={"Authorization": f"Bearer {token}".encode()})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "scopes": ["auth:read"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "scopes": ["auth:read"], "expires_in_days": 0},
        {"name": "x", "scopes": ["auth:read"], "user_id": str(uuid4())},
        {"name": "x" * 101, "scopes": ["auth:read"]},
    ],
)
async def test_a_request_that_cannot_be_meant_is_refused(api: Api, body: object) -> None:
    owner = await api.register()
    assert (await api.post(PATH, body, owner.access)).status_code == 422
    assert (await api.get(PATH, owner.access)).json() == {"results": []}


async def test_simultaneous_requests_respect_the_most(api: Api) -> None:
    owner = await api.register()
    for _ in range(48):
        await make(api, owner, "auth:read")
    body = {"name": "x", "scopes": ["auth:read"]}
    answers = await asyncio.gather(*(api.post(PATH, body, owner.access) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409]
