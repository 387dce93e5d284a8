"""Staff at work on accounts: finding them, closing them, helping their owners."""

from typing import Any
from uuid import uuid4

import pytest

from libs.testing.tokens import access_claims, access_token
from tests.auth.api import Account, Api, session_of, unique
from tests.auth.phones import new_phone
from tests.auth.test_audit import ODD

USERS = "/api/v1/admin/auth/users"


async def act(api: Api, staff: Account, user: Account, what: str, body: Any = None) -> Any:
    method = "PUT" if what in ("countries", "roles") else "POST"
    return await api.call(method, f"{USERS}/{user.id}/{what}", staff.access, json=body)


async def suspend(api: Api, user: Account, staff: Account | None = None) -> Any:
    staff = staff or await api.staff("moderator")
    return await act(api, staff, user, "suspend", {"reason": "spam in three groups"})


async def found(api: Api, staff: Account, **query: Any) -> list[str]:
    answer = await api.get(USERS, staff.access, params=query)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["results"]]


@pytest.mark.promise("A55")
async def test_accounts_are_found_by_what_identifies_them(api: Api) -> None:
    staff = await api.staff("support")
    name = unique()
    phone = new_phone()
    made = await api.register(username=name, phone_number=phone, first_name=f"Ada{name}", last_name="Lovelace")
    await api.register()
    queries: list[dict[str, Any]] = [
        {"username": name.upper()},
        {"email": made.email.upper()},
        {"phone_number": phone},
        {"q": name[3:]},
        {"q": f"ada{name} love"},
        {"q": phone[3:]},
    ]
    for query in queries:
        assert await found(api, staff, **query) == [str(made.id)], query


@pytest.mark.promise("A55")
async def test_filters_combine(api: Api) -> None:
    staff, name = await api.staff("support"), unique()
    one, two = [await api.register(username=f"{name}{part}") for part in "ab"]
    await suspend(api, two)
    assert await found(api, staff, q=name) == [str(two.id), str(one.id)]
    assert await found(api, staff, q=name, status="suspended") == [str(two.id)]
    assert await found(api, staff, q=name, role="admin") == []
    assert await found(api, staff, q=name, verified=True) == []
    await api.post("/api/v1/auth/email/verify", {"token": await api.link_token(one.email)})
    assert await found(api, staff, q=name, verified=True) == [str(one.id)]
    assert await found(api, staff, q=name, verified=False) == [str(two.id)]
    assert await found(api, staff, q=name, created_at__gte="2190-01-01T00:00:00Z") == []
    assert len(await found(api, staff, q=name, created_at__lte="2190-01-01T00:00:00Z")) == 2


async def test_pages_follow_one_another(api: Api) -> None:
    staff, name = await api.staff("support"), unique()
    made = [str((await api.register(username=f"{name}{part}")).id) for part in range(3)]
    page = (await api.get(f"{USERS}?q={name}&limit=2", staff.access)).json()
    rest = (await api.get(page["next"], staff.access)).json()
    assert [row["id"] for row in page["results"] + rest["results"]] == made[::-1]
    assert rest["next"] is None


@pytest.mark.promise("Z7")
@pytest.mark.parametrize("value", [*ODD, "_", "*", "'); DROP TABLE users; --"])
async def test_filters_are_values_and_nothing_else(api: Api, value: str) -> None:
    staff = await api.staff("support")
    await api.register()
    for name in ("q", "username", "email", "phone_number", "status", "role", "created_at__gte", "cursor"):
        answer = await api.get(USERS, staff.access, params={name: value})
        assert answer.status_code == 422 or answer.json()["results"] == [], name


@pytest.mark.promise("A55")
async def test_an_account_is_shown_without_secrets(api: Api) -> None:
    staff, made = await api.staff("support"), await api.register()
    await api.sign_in(email=made.email, ip="203.0.113.9")
    shown = await api.get(f"{USERS}/{made.id}", staff.access)
    body = shown.json()
    assert (body["email"], body["status"], body["has_password"]) == (made.email, "active", True)
    assert (body["factors"], body["identities"]) == ([], [])
    assert body["sessions"][0]["ip"] == "203.0.113.9"
    assert "argon2" not in shown.text
    assert (await api.get(f"{USERS}/{uuid4()}", staff.access)).status_code == 404


@pytest.mark.promise("A55", "A56")
async def test_a_suspended_account_is_closed_at_once(api: Api) -> None:
    made = await api.register()
    assert (await suspend(api, made)).json()["status"] == "suspended"
    assert await api.ended(made.access) == "token_revoked"
    assert (await api.refresh(made.refresh)).status_code == 401
    assert (await api.sign_in(email=made.email)).json()["code"] == "invalid_credentials"


@pytest.mark.promise("A56")
async def test_tokens_of_no_known_session_are_refused_too(api: Api) -> None:
    """One that was made a moment before, by another process, for a session that ended in the same moment."""
    made = await api.register()
    claims = access_claims(made.id, iat_ms=api.clock.ms() - 2000)
    stray = access_token(api.ring, claims)
    assert (await api.me(stray)).status_code == 200
    await suspend(api, made)
    assert await api.ended(stray) in ("token_stale", "invalid_token")


@pytest.mark.promise("A56")
async def test_a_deleted_account_is_closed(api: Api) -> None:
    made = await api.register()
    await api.sql("UPDATE users SET status = 'deleted' WHERE id = :id", id=made.id)
    assert (await api.refresh(made.refresh)).status_code == 401
    assert (await api.sign_in(email=made.email)).status_code == 401
    assert (await api.me(made.access)).status_code == 401


async def test_others_are_told_of_a_suspension_and_why_stays_here(api: Api) -> None:
    made = await api.register()
    await suspend(api, made)
    (kind, data) = (await api.events(made.id))[-1]
    assert (kind, data) == ("UserSuspended", {"user_id": str(made.id)})
    [row] = await api.audit("user.suspended", subject_id=made.id)
    assert row.reason == "spam in three groups"


@pytest.mark.promise("A55")
async def test_a_reinstated_account_signs_in_again(api: Api) -> None:
    staff, made = await api.staff("moderator"), await api.register()
    await suspend(api, made, staff)
    assert (await act(api, staff, made, "reinstate", {"reason": "a mistake"})).json()["status"] == "active"
    assert (await api.sign_in(email=made.email)).status_code == 200
    assert (await act(api, staff, made, "reinstate", {"reason": "once more"})).status_code == 409


async def test_a_suspended_account_is_not_suspended_again(api: Api) -> None:
    made = await api.register()
    await suspend(api, made)
    assert (await suspend(api, made)).status_code == 409


@pytest.mark.parametrize("reason", ["", "no", "a\nb\x1b[31m", "x" * 501, None])
async def test_a_suspension_has_a_reason_of_one_line(api: Api, reason: str | None) -> None:
    staff, made = await api.staff("moderator"), await api.register()
    assert (await act(api, staff, made, "suspend", {"reason": reason})).status_code == 422


@pytest.mark.promise("A42")
@pytest.mark.parametrize(
    ("role", "what", "body"),
    [
        ("moderator", "suspend", {"reason": "because"}),
        ("support", "password-reset", None),
        ("support", "end-sessions", None),
        ("support", "unlock", None),
    ],
)
@pytest.mark.parametrize("colleague", ["support", "moderator", "admin"])
async def test_colleagues_are_the_business_of_administrators(
    api: Api, role: str, what: str, body: Any, colleague: str
) -> None:
    staff, other = await api.staff(role), await api.staff(colleague)
    assert (await act(api, staff, other, what, body)).status_code == 403
    assert (await api.me(other.access)).status_code == 200


async def test_nobody_suspends_themselves(api: Api) -> None:
    admin = await api.staff("admin")
    assert (await suspend(api, admin, admin)).status_code == 409


async def test_the_last_administrator_is_not_suspended(alone: Api) -> None:
    admin, other = await alone.staff("admin"), await alone.staff("admin")
    assert (await suspend(alone, other, admin)).status_code == 200
    claims = access_claims(uuid4(), roles=["user", "admin"])
    stranger = Account(uuid4(), "", "", access_token(alone.ring, claims), "")
    assert (await suspend(alone, admin, stranger)).json()["code"] == "last_administrator"


@pytest.mark.promise("A55")
async def test_a_forced_reset_voids_the_password_and_sets_none(api: Api) -> None:
    staff, made = await api.staff("support"), await api.register()
    assert (await act(api, staff, made, "password-reset")).status_code == 202
    assert await api.ended(made.access) == "token_revoked"
    assert (await api.sign_in(email=made.email)).status_code == 401
    [mail] = [mail for mail in await api.mails(made.email) if mail.kind == "choose_password"]
    assert mail.secret
    [link] = await api.sql(
        "SELECT * FROM one_time_tokens WHERE user_id = :id AND purpose = 'reset_password'", id=made.id
    )
    assert link.used_at is None


@pytest.mark.promise("A55")
@pytest.mark.parametrize("field", ["password", "new_password", "password_hash"])
async def test_no_route_of_staff_takes_a_password(api: Api, field: str) -> None:
    admin, made = await api.staff("admin"), await api.register()
    for what in ("suspend", "reinstate", "roles", "countries", "impersonate"):
        answer = await act(api, admin, made, what, {field: "correct horse battery 2"})
        assert answer.status_code == 422
    assert (await api.sign_in(email=made.email)).status_code == 200


async def test_without_an_address_there_is_no_reset(api: Api) -> None:
    staff = await api.staff("support")
    made = await api.register(email=None, phone_number=new_phone())
    answer = await act(api, staff, made, "password-reset")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_email")
    assert (await api.sign_in(username=made.username)).status_code == 200


@pytest.mark.promise("A55")
async def test_staff_signs_somebody_out_everywhere(api: Api) -> None:
    staff, made = await api.staff("support"), await api.register()
    other = (await api.sign_in(email=made.email)).json()
    assert (await act(api, staff, made, "end-sessions")).json() == {"ended": 2}
    for token in (made.access, other["access"]):
        assert await api.ended(token) == "token_revoked"
    assert (await api.sign_in(email=made.email)).status_code == 200


@pytest.mark.promise("A55")
async def test_staff_unlocks_an_account_and_no_other(api: Api) -> None:
    staff, made, other = await api.staff("support"), await api.register(), await api.register()
    for user in (made, other):
        await api.sql(
            "INSERT INTO throttles (key, failures, last_at, until) VALUES (:key, 100, now(), now() + interval '1 day')",
            key=f"password:{user.id}",
        )
    assert (await act(api, staff, made, "unlock")).json() == {"status": "unlocked"}
    left = await api.sql(
        "SELECT key FROM throttles WHERE key IN (:a, :b)", a=f"password:{made.id}", b=f"password:{other.id}"
    )
    assert [row.key for row in left] == [f"password:{other.id}"]


@pytest.mark.promise("A55")
async def test_an_administrator_binds_an_account_to_countries(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    body = {"allowed_countries": ["SE", "DE", "SE"]}
    assert (await act(api, admin, made, "countries", body)).json()["allowed_countries"] == ["DE", "SE"]
    assert (await api.sign_in(email=made.email, country="NO")).json()["code"] == "country_blocked"
    assert (await api.sign_in(email=made.email, country="SE")).status_code == 200
    assert (await act(api, admin, made, "countries", {"allowed_countries": None})).status_code == 200
    assert (await api.sign_in(email=made.email, country="NO")).status_code == 200


@pytest.mark.promise("A55")
async def test_a_session_is_refreshed_in_the_countries_of_its_account_only(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    await act(api, admin, made, "countries", {"allowed_countries": ["SE"]})
    path, body = "/api/v1/auth/token/refresh", {"refresh": made.refresh}
    for _ in range(2):
        assert (await api.post(path, body, country="NO")).json()["code"] == "country_blocked"
    # The first of an hour, the tenth and so on.
    assert [row.reason for row in await api.audit("session.refused", subject_id=made.id)] == ["country_blocked"]
    next_pair = (await api.post(path, body, country="SE")).json()
    # Nor is the answer repeated elsewhere, and a place that no database knows is let in.
    assert (await api.post(path, body, country="NO")).status_code == 403
    assert (await api.post(path, {"refresh": next_pair["refresh"]})).status_code == 200


@pytest.mark.promise("A55")
async def test_an_administrator_signs_everybody_out(alone: Api) -> None:
    admin, one, two = await alone.staff("admin"), await alone.register(), await alone.register()
    reason = {"reason": "a key may have leaked"}
    answer = await alone.post("/api/v1/admin/auth/end-everyones-sessions", reason, admin.access)
    assert answer.json()["ended"] >= 3
    for user in (admin, one, two):
        assert await alone.ended(user.access) in ("token_stale", "token_revoked")
        assert (await alone.refresh(user.refresh)).status_code == 401
    assert (await alone.sign_in(email=one.email)).status_code == 200


async def test_everything_that_staff_does_is_recorded(api: Api) -> None:
    admin, made = await api.staff("admin"), await api.register()
    await act(api, admin, made, "unlock")
    await act(api, admin, made, "countries", {"allowed_countries": ["SE"]})
    await act(api, admin, made, "suspend", {"reason": "spam"})
    await act(api, admin, made, "reinstate", {"reason": "mistake"})
    await act(api, admin, made, "password-reset")
    await act(api, admin, made, "end-sessions")
    rows = await api.sql(
        "SELECT action FROM audit WHERE actor_id = :admin AND subject_id = :user AND session_id = :session ORDER BY id",
        admin=admin.id,
        user=made.id,
        session=session_of(admin.access),
    )
    assert [row.action for row in rows] == [
        "user.unlocked",
        "user.restricted",
        "user.suspended",
        "user.reinstated",
        "password.reset_forced",
        "session.ended_by_staff",
    ]
