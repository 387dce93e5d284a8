"""Profiles: one's own, other people's, and changes that do not overwrite each other."""

import asyncio
from uuid import uuid4

import pytest

from tests.auth.api import Api, fields, session_of, unique
from tests.auth.conftest import OpenApi
from tests.auth.people import staff

ME = "/api/v1/users/me"
USER_KEYS = {
    "id", "number", "username", "email", "phone_number", "first_name", "last_name", "display_name", "avatar_url", "bio",
    "is_verified", "is_online", "last_seen_at", "language", "timezone", "created_at", "updated_at",
}  # fmt: skip


async def test_ones_own_profile_has_more_than_others_see(api: Api) -> None:
    made, other = await api.register(), await api.register()
    own = (await api.me(made.access)).json()
    seen = (await api.get(f"/api/v1/users/{made.id}", other.access)).json()
    assert seen.keys() == USER_KEYS
    assert own.keys() == USER_KEYS | {
        "phone_verified",
        "email_verified",
        "date_of_birth",
        "roles",
        "preferences",
        "privacy",
        "direct_messages",
        "mfa_enabled",
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
        {"date_of_birth": "tomorrow"},
        {"date_of_birth": "2999-01-01"},
        {"date_of_birth": 0},
        {"direct_messages": "nobody"},
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
    for value in ("admin", ["admin"], True, 7, {"role": "admin"}, str(uuid4())):
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


@pytest.mark.promise("K25")
async def test_a_profile_has_its_whole_shape(api: Api) -> None:
    made = await api.register(first_name="Ada")
    me = (await api.me(made.access)).json()
    assert me["privacy"] == {
        "last_seen": "everyone", "online": "everyone", "email": "nobody", "phone": "nobody", "profile": "everyone",
        "read_receipts": True,
    }  # fmt: skip
    assert me["preferences"]["theme"] == "system"
    assert (me["direct_messages"], me["mfa_enabled"], me["date_of_birth"]) == ("everyone", False, None)
    assert (me["is_online"], me["last_seen_at"], me["roles"]) == (False, None, ["user"])


@pytest.mark.promise("A52")
async def test_of_privacy_and_preferences_only_what_is_named_changes(api: Api) -> None:
    made = await api.register()
    await api.call("PATCH", ME, made.access, json={"privacy": {"online": "contacts"}, "preferences": {"theme": "dark"}})
    await api.call("PATCH", ME, made.access, json={"privacy": {"email": "everyone"}, "preferences": {}})
    me = (await api.me(made.access)).json()
    assert (me["privacy"]["online"], me["privacy"]["email"]) == ("contacts", "everyone")
    assert me["preferences"]["theme"] == "dark"


@pytest.mark.promise("A52", "Z3")
@pytest.mark.parametrize(
    "change",
    [
        {"privacy": {"online": "friends"}},
        {"privacy": {"role": "admin"}},
        {"privacy": {"read_receipts": None}},
        {"privacy": None},
        {"privacy": []},
        {"preferences": {"theme": "x" * 10_000}},
        {"preferences": {"anything": {"nested": 1}}},
    ],
)
async def test_privacy_and_preferences_are_bounded(api: Api, change: dict[str, object]) -> None:
    made = await api.register()
    before = (await api.me(made.access)).json()
    assert (await api.call("PATCH", ME, made.access, json=change)).status_code == 422
    assert (await api.me(made.access)).json() == before


async def test_other_services_hear_of_privacy(api: Api) -> None:
    made = await api.register()
    await api.call("PATCH", ME, made.access, json={"privacy": {"read_receipts": False}, "direct_messages": "contacts"})
    profile = (await api.events(made.id))[-1][1]["profile"]
    assert profile["direct_messages"] == "contacts"
    assert (profile["privacy"]["read_receipts"], profile["privacy"]["online"]) == (False, "everyone")


@pytest.mark.promise("A53", "K30")
async def test_a_whole_account_may_be_sent_back(api: Api) -> None:
    made = await api.register()
    me = (await api.me(made.access)).json()
    answer = await api.call("PATCH", ME, made.access, json={**me, "bio": "new"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["bio"], answer.json()["version"]) == ("new", 2)
    again = await api.call("PATCH", ME, made.access, json=answer.json())
    assert (again.status_code, again.json()["version"]) == (200, 2)


@pytest.mark.promise("K30")
@pytest.mark.parametrize("change", [{"is_verified": True}, {"is_active": False}, {"password": "another password"}])
async def test_what_cannot_be_changed_here_stays(api: Api, change: dict[str, object]) -> None:
    made = await api.register()
    answer = await api.call("PATCH", f"/api/v1/users/{made.id}", made.access, json={**change, "bio": "x"})
    assert answer.status_code == 422
    me = (await api.me(made.access)).json()
    assert (me["is_verified"], me["bio"]) == (False, "")
    assert (await api.sign_in(username=made.username)).status_code == 200


@pytest.mark.promise("K30", "Z1")
async def test_nobody_changes_another_person(api: Api) -> None:
    made, other = await api.register(), await api.register()
    answer = await api.call("PATCH", f"/api/v1/users/{made.id}", other.access, json={"bio": "mine"})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert (await api.call("PATCH", f"/api/v1/users/{uuid4()}", other.access, json={})).status_code == 403
    assert (await api.me(made.access)).json()["bio"] == ""
    assert (await api.call("PATCH", f"/api/v1/users/{made.id}", made.access, json={"bio": "mine"})).status_code == 200


@pytest.mark.promise("K30")
async def test_staff_change_people_and_not_each_other(api: Api) -> None:
    made, support, admin = await api.register(), await staff(api, "support"), await staff(api, "admin")
    path = f"/api/v1/users/{made.id}"
    assert (await api.call("PATCH", path, support.access, json={"bio": "x"})).json()["bio"] == "x"
    assert (await api.call("PATCH", f"/api/v1/users/{admin.id}", support.access, json={"bio": "x"})).status_code == 403
    assert (await api.call("PATCH", f"/api/v1/users/{support.id}", admin.access, json={"bio": "x"})).status_code == 200
    assert (await api.call("PATCH", f"/api/v1/users/{uuid4()}", admin.access, json={})).status_code == 404


ELSEWHERE = [
    "http://images.example.com/a.png",
    "https://127.0.0.1/a.png",
    "https://[::1]/a.png",
    "https://169.254.169.254/latest/meta-data",
    "https://images.example.com.evil.example/a.png",
    "https://images.example.com@evil.example/a.png",
    "https://images.example.com:22/a.png",
    "https://images.example.com./a.png",
    "https://IMAGES.example.com/a.png",
    "https:/images.example.com/a.png",
    "//images.example.com/a.png",
    "https://images.example.com/a.png#x",
    'https://images.example.com/"><script>',
    "https://images.example.com/\r\nSet-Cookie: a=b",
    "https://evil.example\\images.example.com/a.png",
    "javascript:alert(1)",
    "data:image/svg+xml,<svg onload=alert(1)>",
    "file:///etc/passwd",
    "gopher://images.example.com/",
]


@pytest.mark.promise("Z4", "Z6")
async def test_pictures_lie_only_where_the_operator_allows(open_api: OpenApi) -> None:
    async with open_api(avatar_hosts=["images.example.com"]) as api:
        made = await api.register()
        for url in ELSEWHERE:
            answer = await api.call("PATCH", ME, made.access, json={"avatar_url": url})
            assert (answer.status_code, list(fields(answer))) == (422, ["avatar_url"]), url
        good = "https://images.example.com/u/7.png?size=2"
        assert (await api.call("PATCH", ME, made.access, json={"avatar_url": good})).json()["avatar_url"] == good
        assert (await api.call("PATCH", ME, made.access, json={"avatar_url": None})).json()["avatar_url"] is None


async def test_without_allowed_hosts_nobody_sets_a_picture(api: Api) -> None:
    made = await api.register()
    answer = await api.call("PATCH", ME, made.access, json={"avatar_url": "https://images.example.com/a.png"})
    assert answer.status_code == 422


@pytest.mark.promise("A44")
async def test_what_changed_is_in_the_log_by_name_and_not_by_content(api: Api) -> None:
    made = await api.register()
    change = {
        "username": unique(),
        "bio": "Notes on engines",
        "privacy": {"email": "everyone", "online": "everyone"},
        "preferences": {"theme": "dark"},
    }
    await api.call("PATCH", ME, made.access, json={"privacy": {"online": "everyone"}})
    for _ in range(2):
        await api.call("PATCH", ME, made.access, json=change, ip="203.0.113.5")
    first, second = await api.audit("profile.changed", subject_id=made.id)
    assert first.data == {"fields": ["privacy.online"]}
    assert second.data == {"fields": ["bio", "preferences.theme", "privacy.email", "username"]}
    assert (second.actor_id, str(second.session_id), second.ip) == (made.id, session_of(made.access), "203.0.113.5")


@pytest.mark.promise("A44")
async def test_a_change_that_is_refused_changed_nothing(api: Api) -> None:
    made, other = await api.register(), await api.register()
    assert (await api.call("PATCH", ME, made.access, json={"username": other.username})).status_code == 409
    assert await api.audit("profile.changed", subject_id=made.id) == []


@pytest.mark.promise("A44")
async def test_who_of_staff_changed_a_profile_is_in_the_log(api: Api) -> None:
    made, admin = await api.register(), await staff(api, "admin")
    await api.call("PATCH", f"/api/v1/users/{made.id}", admin.access, json={"first_name": "Ada"})
    [row] = await api.audit("profile.changed", subject_id=made.id)
    assert (row.actor_id, row.data) == (admin.id, {"fields": ["first_name"]})
