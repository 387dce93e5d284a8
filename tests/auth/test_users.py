"""Profiles: one's own, other people's, and changes that do not overwrite each other."""

import asyncio
from uuid import uuid4

import pytest

from tests.auth.api import Api, fields, unique

ME = "/api/v1/users/me"
USER_KEYS = {
    "id", "number", "username", "email", "first_name", "last_name", "display_name", "avatar_url", "bio", "is_verified",
    "is_online", "last_seen_at", "language", "timezone", "created_at", "updated_at",
}  # fmt: skip


async def test_ones_own_profile_has_more_than_others_see(api: Api) -> None:
    made, other = await api.register(), await api.register()
    own = (await api.me(made.access)).json()
    seen = (await api.get(f"/api/v1/users/{made.id}", other.access)).json()
    assert seen.keys() == USER_KEYS
    assert own.keys() == USER_KEYS | {
        "phone_number",
        "phone_verified",
        "email_verified",
        "date_of_birth",
        "roles",
        "version",
    }
    assert seen["username"] == own["username"] == made.username
    assert own["email"] == made.email
    assert seen["email"] is None


async def test_a_profile_needs_a_token_and_a_person(api: Api) -> None:
    made = await api.register()
    assert (await api.get(f"/api/v1/users/{made.id}")).status_code == 401
    assert (await api.get(f"/api/v1/users/{uuid4()}", made.access)).status_code == 404
    assert (await api.get("/api/v1/users/x", made.access)).status_code == 422


async def test_only_what_is_sent_changes(api: Api) -> None:
    made = await api.register(first_name="Ada", last_name="King")
    change = {"last_name": "Lovelace", "bio": "Notes\non engines", "language": "de-AT", "timezone": "Europe/London"}
    answer = await api.call("PATCH", ME, made.access, json=change)
    assert answer.status_code == 200
    me = (await api.me(made.access)).json()
    assert me == answer.json()
    assert {k: me[k] for k in change} == change
    assert (me["first_name"], me["display_name"], me["version"]) == ("Ada", "Ada Lovelace", 2)
    assert me["updated_at"] > me["created_at"]
    kind, data = (await api.events(made.id))[-1]
    assert kind == "UserUpdated"
    assert (data["profile"]["last_name"], data["profile"]["version"]) == ("Lovelace", 2)


async def test_an_empty_change_is_none(api: Api) -> None:
    made = await api.register()
    assert (await api.call("PATCH", ME, made.access, json={})).json()["version"] == 1
    assert [kind for kind, _ in await api.events(made.id)] == ["UserRegistered", "MessageRequested"]


async def test_a_new_username_signs_in_and_the_old_one_is_free(api: Api) -> None:
    made, other, name = await api.register(), await api.register(), unique()
    answer = await api.call("PATCH", ME, made.access, json={"username": name})
    assert answer.json()["username"] == name
    assert (await api.sign_in(username=name)).status_code == 200
    assert (await api.sign_in(username=made.username)).status_code == 401
    taken = await api.call("PATCH", ME, other.access, json={"username": name.upper()})
    assert taken.status_code == 409
    assert taken.json()["code"] == "username_taken"
    assert (await api.me(other.access)).json()["username"] == other.username
    assert (await api.call("PATCH", ME, other.access, json={"username": made.username})).status_code == 200


async def test_the_case_of_a_username_may_change(api: Api) -> None:
    made = await api.register()
    answer = await api.call("PATCH", ME, made.access, json={"username": made.username.upper()})
    assert answer.json()["username"] == made.username.upper()
    assert (await api.sign_in(username=made.username)).status_code == 200


async def test_of_simultaneous_claims_of_a_username_one_wins(api: Api) -> None:
    made = [await api.register() for _ in range(6)]
    name = unique()
    answers = await asyncio.gather(*(api.call("PATCH", ME, m.access, json={"username": name}) for m in made))
    assert sorted(a.status_code for a in answers) == [200] + [409] * 5


async def test_a_stale_change_is_refused(api: Api) -> None:
    made = await api.register()
    tag = (await api.me(made.access)).headers["ETag"]
    first = await api.call("PATCH", ME, made.access, json={"bio": "one"}, headers={"If-Match": tag})
    assert first.status_code == 200
    stale = await api.call("PATCH", ME, made.access, json={"bio": "two"}, headers={"If-Match": tag})
    assert stale.status_code == 412
    assert stale.json()["code"] == "precondition_failed"
    for current in (first.headers["ETag"], f'"0", {first.headers["ETag"]}', "*"):
        answer = await api.call("PATCH", ME, made.access, json={}, headers={"If-Match": current})
        assert answer.status_code == 200
    assert (await api.me(made.access)).json()["bio"] == "one"


async def test_of_simultaneous_changes_of_one_version_one_wins(api: Api) -> None:
    made = await api.register()
    headers = {"If-Match": '"1"'}
    answers = await asyncio.gather(
        *(api.call("PATCH", ME, made.access, json={"bio": str(n)}, headers=headers) for n in range(8))
    )
    assert sorted(a.status_code for a in answers) == [200] + [412] * 7


@pytest.mark.parametrize(
    "change",
    [
        {"username": "x"},
        {"username": ""},
        {"username": None},
        {"first_name": None},
        {"first_name": "a\u0000"},
        {"last_name": "a\u202eb"},
        {"bio": "a" * 501},
        {"language": "english please"},
        {"language": ""},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"timezone": ""},
    ],
)
async def test_values_that_cannot_be_are_refused(api: Api, change: dict[str, object]) -> None:
    made = await api.register()
    answer = await api.call("PATCH", ME, made.access, json=change)
    assert answer.status_code == 422
    assert fields(answer).keys() == change.keys()
    assert (await api.me(made.access)).json()["version"] == 1


@pytest.mark.promise("A53", "Z3")
@pytest.mark.parametrize(
    "field",
    ["id", "number", "role", "roles", "is_admin", "is_staff", "status", "email", "email_verified", "is_verified",
     "version", "created_at", "password", "owner_id", "identifiers", "__class__"],
)  # fmt: skip
async def test_nobody_gives_themselves_anything(api: Api, field: str) -> None:
    made = await api.register()
    before = (await api.me(made.access)).json()
    for value in ("admin", ["admin"], True, 1, {"role": "admin"}, str(uuid4())):
        answer = await api.call("PATCH", ME, made.access, json={field: value, "first_name": "Eve"})
        assert answer.status_code == 422
        assert field in fields(answer)
    assert (await api.me(made.access)).json() == before


@pytest.mark.promise("A53", "Z3")
@pytest.mark.parametrize("field", ["id", "role", "roles", "status", "is_admin", "email_verified", "is_active", "user"])
async def test_nobody_registers_as_somebody_special(api: Api, field: str) -> None:
    email = f"{unique()}@example.com"
    body = {"email": email, "password": "correct horse battery", field: "admin"}
    assert (await api.post("/api/v1/auth/register", body)).status_code == 422
    assert (await api.sign_in(email=email)).status_code == 401
