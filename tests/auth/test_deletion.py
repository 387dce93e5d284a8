"""Leaving: out of sight at once, erased after two weeks, and back before that by signing in."""

import asyncio
from uuid import uuid4

import pytest

from auth_service.domain import deletion
from tests.auth.api import PASSWORD, Account, Api, account
from tests.auth.people import befriend, block, confirm, staff
from tests.auth.phones import new_phone
from tests.auth.test_impersonation import acting

ME = "/api/v1/users/me"
DAY = 24 * 3600


async def leave(api: Api, made: Account) -> None:
    answer = await api.call("DELETE", ME, made.access)
    assert answer.status_code == 204, answer.text


async def purge(api: Api) -> None:
    await deletion.purge(api.db, api.clock)


async def erase(api: Api, made: Account) -> None:
    """As two weeks after leaving."""
    await leave(api, made)
    await api.sql("UPDATE users SET deletion_at = created_at WHERE id = :id", id=made.id)
    await purge(api)


@pytest.mark.promise("A54", "A23")
async def test_who_leaves_is_signed_out_everywhere_at_once(api: Api) -> None:
    made = await api.register()
    other = account(await api.sign_in(username=made.username))
    await leave(api, made)
    for session in (made, other):
        assert await api.ended(session.access) in ("token_revoked", "token_stale")
        assert (await api.refresh(session.refresh)).status_code == 401
    mail = (await api.mails(made.email))[-1]
    assert (mail.kind, mail.variables.keys()) == ("account_deletion", {"date"})


@pytest.mark.promise("A54")
async def test_others_no_longer_meet_who_leaves(api: Api) -> None:
    made, other = await api.register(), await api.register()
    await leave(api, made)
    assert (await api.get(f"/api/v1/users/{made.id}", other.access)).status_code == 404
    found = await api.post("/api/v1/users/search", {"query": made.username}, other.access)
    assert found.json()["count"] == 0


@pytest.mark.promise("A54")
async def test_signing_in_within_two_weeks_takes_it_back(aging: Api) -> None:
    made, other = await aging.register(), await aging.register()
    await leave(aging, made)
    aging.clock.advance(14 * DAY - 60)
    await purge(aging)
    assert (await aging.sign_in("wrong password", username=made.username)).status_code == 401
    back = account(await aging.sign_in(username=made.username))
    aging.clock.advance(120)
    await purge(aging)
    assert (await aging.me(back.access)).json()["id"] == str(made.id)
    other = account(await aging.sign_in(username=other.username))
    assert (await aging.get(f"/api/v1/users/{made.id}", other.access)).status_code == 200


@pytest.mark.promise("A54")
async def test_after_two_weeks_everything_is_erased(aging: Api) -> None:
    made = await aging.register(first_name="Ada", phone_number=new_phone())
    other, word = await aging.register(), "Ada"
    await befriend(aging, made, other)
    await block(aging, other, made)
    await confirm(aging, made)
    await aging.call("PATCH", ME, made.access, json={"bio": word, "preferences": {"theme": "dark"}})
    await aging.call("PUT", f"{ME}/location", made.access, json={"latitude": 1, "longitude": 1})
    await leave(aging, made)
    aging.clock.advance(14 * DAY + 1)
    await purge(aging)
    assert (await aging.sign_in(username=made.username)).status_code == 401
    row = (await aging.sql("SELECT to_jsonb(u) AS u FROM users u WHERE id = :id", id=made.id))[0].u
    assert (row["status"], row["first_name"], row["bio"], row["preferences"]) == ("deleted", "", "", {})
    assert row["deletion_at"] is None
    left = await aging.sql(
        "SELECT t.table_name AS name FROM information_schema.columns t WHERE column_name IN ('user_id', 'contact_id',"
        " 'blocked_id') AND table_schema = 'public'"
    )
    for table in {each.name for each in left} - {"exports"}:
        rows = await aging.sql(f"SELECT to_jsonb(t)::text AS whole FROM {table} t")
        assert not [r for r in rows if str(made.id) in r.whole], table
    kinds = [kind for kind, _ in await aging.events(made.id)]
    assert kinds[-1] == "UserDeleted"
    assert (await aging.mails(made.email))[-1].kind == "account_deleted"


@pytest.mark.promise("A54")
async def test_names_are_free_again_after_the_erasure_and_not_before(aging: Api) -> None:
    made = await aging.register()
    await leave(aging, made)
    body = {"email": made.email, "username": made.username, "password": PASSWORD}
    assert (await aging.post("/api/v1/auth/register", body)).status_code == 409
    aging.clock.advance(14 * DAY + 1)
    await purge(aging)
    again = account(await aging.post("/api/v1/auth/register", body))
    assert again.id != made.id


@pytest.mark.promise("A56")
async def test_an_erased_account_is_refused_and_unknown(api: Api) -> None:
    made, other = await api.register(), await api.register()
    await erase(api, made)
    assert (await api.me(made.access)).status_code == 401
    assert (await api.refresh(made.refresh)).status_code == 401
    assert (await api.get(f"/api/v1/users/{made.id}", other.access)).status_code == 404
    admin = await staff(api, "admin")
    for method in ("GET", "PATCH", "DELETE"):
        answer = await api.call(
            method, f"/api/v1/users/{made.id}", admin.access, **({"json": {}} if method == "PATCH" else {})
        )
        assert answer.status_code == 404


@pytest.mark.promise("K42", "Z1")
async def test_only_oneself_and_staff_delete(api: Api) -> None:
    made, other = await api.register(), await api.register()
    answer = await api.call("DELETE", f"/api/v1/users/{made.id}", other.access)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert (await api.me(made.access)).status_code == 200
    assert (await api.call("DELETE", f"/api/v1/users/{made.id}", made.access)).status_code == 204
    support, admin = await staff(api, "support"), await staff(api, "admin")
    assert (await api.call("DELETE", f"/api/v1/users/{admin.id}", support.access)).status_code == 403
    assert (await api.call("DELETE", f"/api/v1/users/{other.id}", support.access)).status_code == 204
    assert (await api.call("DELETE", f"/api/v1/users/{uuid4()}", support.access)).status_code == 404


@pytest.mark.promise("A54")
async def test_leaving_needs_a_recent_proof(aging: Api) -> None:
    made = await aging.register()
    aging.clock.advance(301)
    for path in (ME, f"/api/v1/users/{made.id}"):
        answer = await aging.call("DELETE", path, made.access)
        assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required")
    assert (await aging.me(made.access)).status_code == 200


@pytest.mark.promise("Z14")
async def test_of_simultaneous_deletions_one_counts(api: Api) -> None:
    made = await api.register()
    answers = await asyncio.gather(*(api.call("DELETE", ME, made.access) for _ in range(8)))
    assert {a.status_code for a in answers} <= {204, 401}
    assert [m.kind for m in await api.mails(made.email)].count("account_deletion") == 1


async def test_the_audit_log_keeps_ids_only(api: Api) -> None:
    made = await api.register(first_name="Adalbertina")
    await erase(api, made)
    rows = await api.sql("SELECT action, to_jsonb(a)::text AS a FROM audit a WHERE subject_id = :id", id=made.id)
    assert {"account.deletion_requested", "account.deleted"} <= {row.action for row in rows}
    for word in ("Adalbertina", made.email, made.username):
        assert not [row for row in rows if word in row.a]


async def test_others_are_left_alone_by_an_erasure(api: Api) -> None:
    made, other = await api.register(), await api.register()
    await erase(api, made)
    assert (await api.me(other.access)).status_code == 200
    assert (await api.sign_in(username=other.username)).status_code == 200


async def test_of_two_administrators_one_stays(alone: Api) -> None:
    one, two = [await alone.staff("admin") for _ in range(2)]
    answers = await asyncio.gather(*(alone.call("DELETE", ME, admin.access) for admin in (one, two)))
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    left = next(admin for admin, answer in zip((one, two), answers, strict=True) if answer.status_code == 409)
    answer = await alone.call("DELETE", ME, left.access)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_administrator")


async def test_who_leaves_acts_as_nobody_any_more(api: Api) -> None:
    made, admin, _another = await api.register(), await api.staff("admin"), await api.staff("admin")
    access = await acting(api, admin, made)
    assert (await api.me(access)).status_code == 200
    await leave(api, admin)
    assert await api.ended(access) == "token_revoked"
