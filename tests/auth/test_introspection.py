"""What a token is worth, for services that check none themselves, and ending one by showing it."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.auth.api import Account, Api, claims, session_of
from tests.auth.test_api_tokens import make

INTROSPECT, REVOKE = "/api/v1/auth/introspect", "/api/v1/auth/revoke"
INACTIVE = {"active": False}


async def form(api: Api, path: str, caller: str | None = None, **fields: str) -> httpx2.Response:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await api.call("POST", path, caller, headers=headers, content=str(httpx2.QueryParams(fields)))


async def service(api: Api) -> str:
    """The token of a service that asks about tokens."""
    token: str = (await make(api, await api.staff("admin"), "introspect"))["token"]
    return token


async def worth(api: Api, asking: str, token: str) -> dict[str, Any]:
    answer = await form(api, INTROSPECT, asking, token=token, token_type_hint="access_token")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    told: dict[str, Any] = answer.json()
    return told


async def ended(api: Api, asking: str, token: str) -> None:
    while await worth(api, asking, token) != INACTIVE:
        pass


@pytest.mark.promise("A51")
async def test_an_access_token_is_told_until_it_ends(either: Api) -> None:
    asking, made = await service(either), await either.register()
    told, said = await worth(either, asking, made.access), claims(made.access)
    assert told.pop("active") is True
    assert told.pop("token_type") == "Bearer"
    assert told == {name: said[name] for name in told}
    assert {"iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp", "roles", "amr", "aal"} == told.keys()
    await either.post("/api/v1/auth/logout", {}, made.access)
    await ended(either, asking, made.access)


@pytest.mark.promise("A51")
async def test_a_token_expires_here_too(aging: Api) -> None:
    asking, made = await service(aging), await aging.register()
    aging.clock.advance(1000)
    assert await worth(aging, asking, made.access) == INACTIVE
    assert (await worth(aging, asking, made.refresh))["active"] is True


@pytest.mark.promise("A51")
async def test_the_last_refresh_token_of_a_session_is_worth_something(api: Api) -> None:
    asking, made = await service(api), await api.register()
    following = (await api.refresh(made.refresh)).json()["refresh"]
    assert await worth(api, asking, made.refresh) == INACTIVE
    told = await worth(api, asking, following)
    assert (told["sub"], told["sid"]) == (str(made.id), session_of(made.access))
    assert (await api.refresh(following)).status_code == 200


@pytest.mark.promise("A51")
async def test_an_api_token_is_told_with_its_scopes(api: Api) -> None:
    asking, owner = await service(api), await api.register()
    token = await make(api, owner, "chat:read", "auth:read", expires_in_days=1)
    told = await worth(api, asking, token["token"])
    assert (told["sub"], told["jti"], told["scope"]) == (str(owner.id), token["id"], "auth:read chat:read")
    await api.call("DELETE", f"/api/v1/auth/api-tokens/{token['id']}", owner.access)
    assert await worth(api, asking, token["token"]) == INACTIVE


@pytest.mark.promise("A51")
@pytest.mark.parametrize("token", ["x", "a.b.c", "pat_" + "x" * 43, "é", "A" * 64])
async def test_of_anything_else_nothing_is_said(api: Api, token: str) -> None:
    assert await worth(api, await service(api), token) == INACTIVE


@pytest.mark.promise("A51", "A50")
async def test_only_tokens_made_for_it_may_ask(api: Api) -> None:
    made, staff = await api.register(), await api.staff("admin")
    others = (await make(api, staff, "auth:read", "auth:write", "admin"))["token"]
    for asking, code in (
        (made.access, "permission_denied"),
        (staff.access, "permission_denied"),
        (others, "insufficient_scope"),
    ):
        answer = await form(api, INTROSPECT, asking, token=made.access)
        assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert (await form(api, INTROSPECT, token=made.access)).status_code == 401
    assert (await api.me(await service(api))).json()["code"] == "insufficient_scope"


@pytest.mark.promise("A51", "A42")
async def test_only_administrators_make_such_a_token_and_only_while_they_are(api: Api) -> None:
    body = {"name": "x", "scopes": ["introspect"]}
    for staff in (await api.register(), await api.staff("moderator", "support")):
        assert (await api.post("/api/v1/auth/api-tokens", body, staff.access)).status_code == 403
    admin = await api.staff("admin")
    asking = (await make(api, admin, "introspect"))["token"]
    await api.sql("UPDATE users SET roles = '{user}' WHERE id = :id", id=admin.id)
    assert (await form(api, INTROSPECT, asking, token="x")).json()["code"] == "insufficient_scope"


async def shown(api: Api, made: Account, kind: str) -> str:
    if kind == "api":
        return str((await make(api, made, "auth:read"))["token"])
    return {"access": made.access, "refresh": made.refresh}[kind]


@pytest.mark.promise("A51")
@pytest.mark.parametrize("kind", ["access", "refresh", "api"])
async def test_a_token_is_ended_by_showing_it(api: Api, kind: str) -> None:
    made, other = await api.register(), await api.register()
    token = await shown(api, made, kind)
    for _ in range(2):
        answer = await form(api, REVOKE, token=token, token_type_hint="nonsense")
        assert (answer.status_code, answer.json()) == (200, {})
    if kind == "api":
        assert (await api.me(token)).status_code == 401
        assert (await api.me(made.access)).status_code == 200
    else:
        assert await api.ended(made.access) == "token_revoked"
        assert (await api.refresh(made.refresh)).status_code == 401
    assert (await api.refresh(other.refresh)).status_code == 200


@pytest.mark.promise("A51")
async def test_a_forged_token_ends_nothing(api: Api) -> None:
    made = await api.register()
    head, body, signature = made.access.split(".")
    end = "QQ" if made.refresh.endswith("AA") else "AA"
    for token in (f"{head}.{body}.{signature[::-1]}", made.refresh[:-2] + end, made.refresh[::-1], str(uuid4())):
        assert (await form(api, REVOKE, token=token)).status_code == 200
    assert (await api.me(made.access)).status_code == 200
    assert (await api.refresh(made.refresh)).status_code == 200


@pytest.mark.parametrize(
    "content", ["", "other=x", "token=", "token=a&token=b", "token=" + "a" * 5000, "%ff=%ff&" * 40]
)
async def test_there_is_exactly_one_token(api: Api, content: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await api.call("POST", REVOKE, headers=headers, content=content)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_no_json_is_taken_for_a_form(api: Api) -> None:
    assert (await api.post(REVOKE, {"token": "x"})).status_code == 415
