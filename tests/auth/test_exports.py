"""A copy of everything that is known of somebody."""

import json
from uuid import uuid4

import pytest

from auth_service.domain import exports
from tests.auth.api import PASSWORD, Account, Api, account
from tests.auth.people import befriend, staff

EXPORTS = "/api/v1/users/me/exports"


async def order(api: Api, made: Account) -> str:
    answer = await api.post(EXPORTS, None, made.access)
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting"), answer.text
    return f"{EXPORTS}/{answer.json()['id']}"


async def make(api: Api) -> None:
    await exports.make_waiting(api.db, api.app.state.cipher, api.clock)


@pytest.mark.promise("A54")
async def test_a_copy_is_made_and_fetched(api: Api) -> None:
    made, friend = await api.register(first_name="Ada"), await api.register()
    await befriend(api, made, friend)
    path = await order(api, made)
    early = await api.get(f"{path}/document", made.access)
    assert (early.status_code, early.json()["code"]) == (409, "export_not_ready")
    await make(api)
    assert (await api.get(path, made.access)).json()["state"] == "ready"
    copy = (await api.get(f"{path}/document", made.access)).json()
    assert copy["profile"][0]["first_name"] == "Ada"
    assert {each["value"] for each in copy["identifiers"]} == {made.email, made.username}
    assert copy["contacts"] == [{"contact_id": str(friend.id)}]
    assert len(copy["sessions"]) == 1
    assert "session.started" in {each["action"] for each in copy["audit"]}


@pytest.mark.promise("A54")
async def test_a_copy_has_no_secret(api: Api) -> None:
    made = await api.register()
    path = await order(api, made)
    await make(api)
    text = json.dumps((await api.get(f"{path}/document", made.access)).json())
    secrets = await api.sql(
        "SELECT hash AS s FROM passwords WHERE user_id = :id UNION SELECT encode(salt, 'hex') FROM sessions"
        " WHERE user_id = :id",
        id=made.id,
    )
    for secret in (*(row.s for row in secrets), made.access, made.refresh, PASSWORD):
        assert secret not in text
    assert "argon2" not in text


@pytest.mark.promise("A54")
async def test_a_copy_is_encrypted_where_it_lies(api: Api) -> None:
    made = await api.register()
    await order(api, made)
    await make(api)
    stored = await api.sql("SELECT document FROM exports WHERE user_id = :id", id=made.id)
    assert made.username not in stored[0].document


async def test_a_copy_that_cannot_be_made_holds_up_no_other(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, fine = await api.register(first_name="Zero"), await api.register()
    paths = [await order(api, made) for made in (broken, fine)]
    bad = "SELECT 1 / (CASE WHEN first_name = 'Zero' THEN 0 ELSE 1 END) FROM users WHERE id = :user"
    monkeypatch.setitem(exports._SECTIONS, "profile", bad)
    await make(api)
    states = [(await api.get(p, m.access)).json()["state"] for p, m in zip(paths, (broken, fine), strict=True)]
    assert states == ["failed", "ready"]


@pytest.mark.promise("Z1")
async def test_nobody_reads_the_copy_of_another(api: Api) -> None:
    made, other, admin = await api.register(), await api.register(), await staff(api, "admin")
    path = await order(api, made)
    await make(api)
    for thief in (other, admin):
        for address in (path, f"{path}/document", f"{EXPORTS}/{uuid4()}"):
            assert (await api.get(address, thief.access)).status_code == 404
    assert (await api.get(path)).status_code == 401


@pytest.mark.promise("A54")
async def test_one_copy_a_day_kept_for_a_week(aging: Api) -> None:
    made = await aging.register()
    path = await order(aging, made)
    assert (await aging.post(EXPORTS, None, made.access)).status_code == 429
    await make(aging)
    aging.clock.advance(24 * 3600 + 1)
    made = account(await aging.sign_in(username=made.username))
    assert (await aging.post(EXPORTS, None, made.access)).status_code == 202
    assert (await aging.get(f"{path}/document", made.access)).status_code == 200
    aging.clock.advance(6 * 24 * 3600)
    made = account(await aging.sign_in(username=made.username))
    assert (await aging.get(f"{path}/document", made.access)).status_code == 404


@pytest.mark.promise("A54")
async def test_a_copy_needs_a_recent_proof(aging: Api) -> None:
    made = await aging.register()
    path = await order(aging, made)
    aging.clock.advance(301)
    for method, address in (("POST", EXPORTS), ("GET", f"{path}/document")):
        answer = await aging.call(method, address, made.access)
        assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required")
    assert (await aging.get(path, made.access)).status_code == 200
