"""Staff who see what a user sees."""

from typing import Any

import pytest

from libs.testing.tokens import access_token
from tests.auth.api import Account, Api, claims, session_of

USERS = "/api/v1/admin/auth/users"


async def impersonate(api: Api, staff: Account, user: Account, reason: str | None = "ticket 4711") -> Any:
    return await api.post(f"{USERS}/{user.id}/impersonate", {"reason": reason} if reason else {}, staff.access)


async def acting(api: Api, staff: Account, user: Account) -> str:
    answer = await impersonate(api, staff, user)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["access"])


@pytest.mark.promise("A55")
async def test_an_impersonated_session_says_who_acts(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    answer = await impersonate(api, admin, made)
    assert answer.json().keys() == {"access", "token_type", "expires_in", "user_id", "actor_id"}
    token = claims(answer.json()["access"])
    assert (token["sub"], token["act"]) == (str(made.id), {"sub": str(admin.id)})
    assert token["roles"] == ["user"]
    assert token["exp"] - token["iat"] == 900
    assert (await api.me(answer.json()["access"])).json()["id"] == str(made.id)


async def test_ordinary_tokens_name_no_actor(api: Api) -> None:
    made = await api.register()
    assert "act" not in claims(made.access)
    assert "act" not in claims((await api.refresh(made.refresh)).json()["access"])


@pytest.mark.promise("A55")
async def test_it_is_audited_with_its_reason(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    await acting(api, admin, made)
    [row] = await api.audit("impersonation.started", subject_id=made.id)
    assert (row.actor_id, row.reason) == (admin.id, "ticket 4711")
    started = (await api.audit("session.started", subject_id=made.id))[-1]
    assert started.actor_id == admin.id
    own = (await api.get("/api/v1/users/me/audit", made.access)).json()["results"]
    assert ("impersonation.started", "staff") in [(each["action"], each["by"]) for each in own]


@pytest.mark.promise("A55")
@pytest.mark.parametrize("reason", [None, "", "no"])
async def test_there_is_always_a_reason(api: Api, reason: str | None) -> None:
    admin, made = await api.staff("admin"), await api.register()
    assert (await impersonate(api, admin, made, reason)).status_code == 422


async def test_it_needs_a_fresh_proof(aging: Api) -> None:
    admin, made = await aging.staff("admin"), await aging.register()
    aging.clock.advance(301)
    assert (await impersonate(aging, admin, made)).json()["code"] == "reauth_required"


@pytest.mark.promise("A55")
async def test_it_ends_after_a_quarter_of_an_hour(aging: Api) -> None:
    admin, made = await aging.staff("admin"), await aging.register()
    token = await acting(aging, admin, made)
    aging.clock.advance(900 + 31)
    assert await aging.ended(token) == "token_expired"
    [row] = await aging.sql("SELECT expires_at - created_at AS life FROM sessions WHERE id = :id", id=session_of(token))
    assert row.life.total_seconds() == 900


@pytest.mark.promise("A55")
@pytest.mark.parametrize("role", ["support", "moderator", "admin"])
async def test_nobody_acts_as_staff(api: Api, role: str) -> None:
    admin, other = await api.staff("admin"), await api.staff(role)
    assert (await impersonate(api, admin, other)).status_code == 403


@pytest.mark.promise("A55")
async def test_what_needs_a_proof_is_closed_to_it(api: Api) -> None:
    """Also right after its beginning, when a session of the user's own would count as proved."""
    admin, made = await api.staff("admin"), await api.register()
    token = await acting(api, admin, made)
    # A session that somehow got a role: the proof is what it still lacks.
    await api.sql("UPDATE users SET roles = '{user,admin}' WHERE id = :id", id=made.id)
    session = {**claims(token), "roles": ["user", "admin"]}
    answer = await api.post(f"{USERS}/{admin.id}/impersonate", {"reason": "further"}, access_token(api.ring, session))
    assert (answer.status_code, answer.json()["code"]) == (403, "impersonated")


async def test_the_owner_sees_and_ends_it(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    token = await acting(api, admin, made)
    listed = (await api.get("/api/v1/auth/sessions", made.access)).json()["results"]
    assert session_of(token) in [each["id"] for each in listed]
    await api.call("DELETE", f"/api/v1/auth/sessions/{session_of(token)}", made.access)
    assert await api.ended(token) == "token_revoked"


async def test_it_takes_nobodys_place(open_api: Any) -> None:
    async with open_api(sessions_per_user=1) as api:
        admin, made = await api.staff("admin"), await api.register()
        await acting(api, admin, made)
        assert (await api.refresh(made.refresh)).status_code == 200


@pytest.mark.promise("A56")
async def test_it_ends_with_the_account_of_who_acts(api: Api) -> None:
    admin, boss, made = await api.staff("admin"), await api.staff("admin"), await api.register()
    token = await acting(api, admin, made)
    await api.post(f"{USERS}/{admin.id}/suspend", {"reason": "left the company"}, boss.access)
    assert await api.ended(token) == "token_revoked"
    assert (await api.me(made.access)).status_code == 200


@pytest.mark.promise("A43")
async def test_it_ends_with_the_role_of_who_acts(api: Api) -> None:
    admin, boss, made = await api.staff("admin"), await api.staff("admin"), await api.register()
    token = await acting(api, admin, made)
    await api.call("PUT", f"{USERS}/{admin.id}/roles", boss.access, json={"roles": []})
    assert await api.ended(token) == "token_revoked"


async def test_who_is_suspended_is_not_acted_for(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    await api.post(f"{USERS}/{made.id}/suspend", {"reason": "spam"}, admin.access)
    assert (await impersonate(api, admin, made)).status_code == 409


@pytest.mark.promise("A44", "A55")
async def test_what_is_done_is_audited_as_done_by_who_acts(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    await api.call("PATCH", "/api/v1/users/me", made.access, json={"bio": "mine"})
    token = await acting(api, admin, made)
    await api.call("PATCH", "/api/v1/users/me", token, json={"bio": "theirs"})
    await api.post("/api/v1/auth/logout", {}, token)
    for action in ("profile.changed", "session.ended"):
        assert (await api.audit(action, subject_id=made.id))[-1].actor_id == admin.id
    assert (await api.audit("profile.changed", subject_id=made.id))[0].actor_id == made.id


@pytest.mark.promise("A55")
async def test_credentials_stay_the_persons_own(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    body = {"name": "backup", "scopes": ["chat:read"]}
    kept = (await api.post("/api/v1/auth/api-tokens", body, made.access)).json()["id"]
    answer = await api.call("DELETE", f"/api/v1/auth/api-tokens/{kept}", await acting(api, admin, made))
    assert (answer.status_code, answer.json()["code"]) == (403, "impersonated")
    listed = (await api.get("/api/v1/auth/api-tokens", made.access)).json()["results"]
    assert [each["id"] for each in listed] == [kept]
