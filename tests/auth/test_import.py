"""Accounts from elsewhere, with the hashes of their passwords."""

import json
from pathlib import Path
from typing import Any

import pytest
from passlib.hash import argon2, bcrypt, pbkdf2_sha256

from tests.auth.api import PASSWORD, Account, Api, claims, unique
from tests.auth.test_administration import Run, run

__all__ = ["run"]

IMPORT = "/api/v1/admin/auth/users/import"
# As a program that spends less on a hash writes it.
CHEAP = {
    "argon2id": argon2.using(type="ID", memory_cost=64, rounds=1, parallelism=1).hash(PASSWORD),
    "argon2i": argon2.using(type="I", memory_cost=64, rounds=1, parallelism=1).hash(PASSWORD),
    "bcrypt": bcrypt.using(rounds=4).hash(PASSWORD),
    "bcrypt of 2a": bcrypt.using(rounds=4, ident="2a").hash(PASSWORD),
}
SALTED = "c29tZXNhbHRzb21lc2FsdA$" + "aGFzaGhhc2hoYXNoaGFzaA"
TOO_MUCH = {
    "memory": f"$argon2id$v=19$m=1048577,t=1,p=1${SALTED}",
    "rounds": f"$argon2id$v=19$m=65536,t=11,p=1${SALTED}",
    "lanes": f"$argon2id$v=19$m=65536,t=1,p=17${SALTED}",
    "numbers": f"$argon2id$v=19$m=99999999999,t=1,p=1${SALTED}",
    "bcrypt": "$2b$16$" + "a" * 53,
}
WRONG = {
    "no hash": "correct horse battery",
    "another scheme": pbkdf2_sha256.using(rounds=1).hash(PASSWORD),
    "too little memory": f"$argon2id$v=19$m=4,t=1,p=1${SALTED}",
    "no salt": "$argon2id$v=19$m=64,t=1,p=1$YQ$aGFzaGhhc2hoYXNoaGFzaA",
    "no digest": "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$aGFz",
    "no base64": "$argon2id$v=19$m=64,t=1,p=1$a$b",
    "bcrypt without work": "$2b$00$" + "a" * 53,
    "of another version": f"$argon2id$v=16$m=64,t=1,p=1${SALTED}",
    "empty": "",
    "NUL": "$2b$04$\x00",
}


def someone(**changed: Any) -> dict[str, Any]:
    return {"email": f"{unique()}@example.com", "password_hash": CHEAP["argon2id"], **changed}


async def bring(api: Api, *rows: Any, admin: Account | None = None) -> Any:
    admin = admin or await api.staff("admin")
    answer = await api.post(IMPORT, {"users": rows}, admin.access)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.promise("A9")
@pytest.mark.parametrize("form", CHEAP)
async def test_who_was_imported_signs_in_as_always(api: Api, form: str) -> None:
    row = someone(password_hash=CHEAP[form], email_verified=True, first_name="Ada")
    found = await bring(api, row)
    assert (found["created"], found["duplicates"], found["refused"]) == (1, 0, 0)
    assert found["results"][0]["status"] == 201
    signed_in = await api.sign_in(email=row["email"])
    assert signed_in.status_code == 200
    user = signed_in.json()["user"]
    assert (user["id"], user["first_name"]) == (found["results"][0]["id"], "Ada")
    assert claims(signed_in.json()["access"])["roles"] == ["user"]


@pytest.mark.promise("A6", "A9")
@pytest.mark.parametrize("form", CHEAP)
async def test_their_hash_is_replaced_at_the_first_sign_in(api: Api, form: str) -> None:
    row = someone(password_hash=CHEAP[form])
    user_id = (await bring(api, row))["results"][0]["id"]
    await api.sign_in(email=row["email"])
    [kept] = await api.sql("SELECT hash FROM passwords WHERE user_id = :id", id=user_id)
    assert kept.hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await api.sign_in(email=row["email"])).status_code == 200


@pytest.mark.promise("A9")
@pytest.mark.parametrize("wrong", [*TOO_MUCH.values(), *WRONG.values()], ids=[*TOO_MUCH, *WRONG])
async def test_a_hash_that_costs_too_much_or_is_none_is_refused(api: Api, wrong: str) -> None:
    good, bad = someone(), someone(password_hash=wrong)
    found = await bring(api, bad, good)
    assert [row["status"] for row in found["results"]] == [422, 201]
    assert [error["field"] for error in found["results"][0]["errors"]] == ["password_hash"]
    if wrong:
        assert wrong not in json.dumps(found)
    assert await api.sql("SELECT 1 FROM identifiers WHERE value = :email", email=bad["email"]) == []


@pytest.mark.promise("A9")
async def test_the_bounds_themselves_are_allowed(api: Api) -> None:
    most = f"$argon2id$v=19$m=1048576,t=10,p=16${SALTED}"
    found = await bring(api, someone(password_hash=most), someone(password_hash="$2b$15$" + "a" * 53))
    assert found["created"] == 2


@pytest.mark.promise("A9")
async def test_who_exists_is_reported_and_left_alone(api: Api) -> None:
    made = await api.register()
    other_hash = argon2.using(type="ID", memory_cost=64, rounds=1).hash("another password")
    rows = [someone(email=made.email.upper(), password_hash=other_hash), someone(username=made.username)]
    found = await bring(api, *rows)
    assert [row["status"] for row in found["results"]] == [409, 409]
    assert [row["errors"][0]["field"] for row in found["results"]] == ["email", "username"]
    assert (await api.sign_in(email=made.email)).status_code == 200
    assert (await api.sign_in("another password", email=made.email)).status_code == 401
    assert await api.sql("SELECT 1 FROM identifiers WHERE value = :email", email=rows[1]["email"]) == []


async def test_the_second_of_two_in_one_file_is_a_duplicate(api: Api) -> None:
    row = someone()
    assert [each["status"] for each in (await bring(api, row, row))["results"]] == [201, 409]


@pytest.mark.promise("A9")
@pytest.mark.parametrize(
    "row",
    [
        {},
        {"password_hash": CHEAP["bcrypt"]},
        someone(roles=["admin"]),
        someone(id="4"),
        someone(must_change_password=False),
        someone(email="nobody"),
        someone(username="<script>"),
        someone(phone_number="12"),
        someone(first_name="a\nb"),
        someone(first_name="a\x00b"),
        someone(email_verified="perhaps"),
    ],
)
async def test_a_row_follows_the_rules_of_registering(api: Api, row: dict[str, Any]) -> None:
    found = await bring(api, row)
    assert (found["refused"], found["created"]) == (1, 0)


@pytest.mark.parametrize("body", [{}, {"users": []}, {"users": ["x"]}, {"users": [{}] * 501}, {"users": [[]]}])
async def test_the_frame_of_an_import_is_checked(api: Api, body: Any) -> None:
    admin = await api.staff("admin")
    assert (await api.post(IMPORT, body, admin.access)).status_code == 422


async def test_an_import_needs_a_fresh_proof(aging: Api) -> None:
    admin = await aging.staff("admin")
    aging.clock.advance(301)
    answer = await aging.post(IMPORT, {"users": [someone()]}, admin.access)
    assert answer.json()["code"] == "reauth_required"


async def test_others_hear_of_imported_people_and_the_log_of_who_did_it(api: Api) -> None:
    admin = await api.staff("admin")
    user_id = (await bring(api, someone(email_verified=True), admin=admin))["results"][0]["id"]
    [(kind, data)] = await api.events(user_id)
    assert (kind, data["profile"]["email_verified"]) == ("UserRegistered", True)
    [row] = await api.audit("user.imported", subject_id=user_id)
    assert row.actor_id == admin.id
    assert "argon2" not in str(tuple(row))


async def test_without_a_hash_an_account_has_no_password(api: Api) -> None:
    row = someone(password_hash=None)
    await bring(api, row)
    assert (await api.sign_in(email=row["email"])).status_code == 401


@pytest.mark.promise("A9")
async def test_the_command_line_takes_a_file_of_lines(run: Run, api: Api, tmp_path: Path) -> None:
    made, new = await api.register(), someone(password_hash=CHEAP["bcrypt"])
    lines = [
        json.dumps(new),
        "",
        json.dumps(someone(email=made.email)),
        json.dumps(someone(password_hash=TOO_MUCH["memory"])),
        "{",
        "[" * 100_000,
    ]
    file = tmp_path / "users.jsonl"
    file.write_text("\n".join(lines))
    told = (await run("import-users", str(file))).splitlines()
    assert [line.rpartition(": ")[0] for line in told if line.startswith("line")] == [
        "line 3: email",
        "line 4: password_hash",
        "line 5: line",
        "line 6: line",
    ]
    assert told[-1] == "1 created, 1 duplicates, 3 refused"
    assert (await api.sign_in(email=new["email"])).status_code == 200


async def test_a_file_that_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot be read"):
        await run("import-users", str(tmp_path / "nothing"))
