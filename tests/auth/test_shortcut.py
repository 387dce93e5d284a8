"""On a device that the account knows a sign-in takes a short way: the same sign-in, and nothing more is let through."""

import asyncio
from typing import Any

import bcrypt
import pytest

from tests.auth.api import PASSWORD, Account, Api, claims
from tests.auth.conftest import OpenApi
from tests.auth.factors import Person, add_passkey, mfa_token, verify, with_totp
from tests.auth.test_devices import register, sign_in_on
from tests.auth.test_roles import put_roles

SHORT = "3"
OTHERS = "another correct horse"
_UNALIKE = {"id", "salt", "device_id", "last_seen_at", "event_id", "session_id", "request_id", "at"}
_TIMES = ("created_at", "rotated_at", "window_started_at", "authenticated_at", "idle_expires_at", "expires_at")


async def change(api: Api, made: Account, **columns: Any) -> None:
    ((column, value),) = columns.items()
    await api.sql(f"UPDATE users SET {column} = :value WHERE id = :id", value=value, id=made.id)


async def test_it_is_short(api: Api) -> None:
    made, device = await register(api)
    assert (await sign_in_on(api, device, made.email)).headers["X-Database-Queries"] == SHORT
    assert int((await api.sign_in(email=made.email)).headers["X-Database-Queries"]) > int(SHORT)


async def test_both_ways_lead_to_the_same(still: Api) -> None:
    made, device = await register(still)
    await still.sql("DELETE FROM sessions WHERE user_id = :id", id=made.id)
    agent = {"User-Agent": "Reader/1.0"}
    await still.sign_in(email=made.email, headers=agent)
    await still.sign_in(email=made.email, headers={"X-Device-Token": device, **agent})
    for table, column in (("sessions", "user_id"), ("audit", "subject_id")):
        rows = await still.sql(f"SELECT * FROM {table} WHERE {column} = :id ORDER BY id DESC LIMIT 2", id=made.id)
        short, long = ({k: v for k, v in row._mapping.items() if k not in _UNALIKE} for row in rows)
        assert short == long


async def test_its_tokens_say_the_same(still: Api) -> None:
    made, device = await register(still)
    answers = [await still.sign_in(email=made.email), await sign_in_on(still, device, made.email)]
    long, short = (claims(answer.json()["access"]) for answer in answers)
    assert {name for name in long | short if long.get(name) != short.get(name)} <= {"sid", "jti", "exp"}
    assert answers[0].json()["user"] == answers[1].json()["user"]


@pytest.mark.promise("A10")
async def test_it_forgets_failures_too(still: Api) -> None:
    made, device = await register(still)
    await still.sign_in("not the password", email=made.email)
    await sign_in_on(still, device, made.email)
    assert not await still.sql("SELECT FROM throttles WHERE key LIKE :key", key=f"password:{made.id}%")


@pytest.mark.promise("A56")
@pytest.mark.parametrize("status", ["suspended", "deleted"])
async def test_a_closed_account_stays_closed_on_a_known_device(api: Api, status: str) -> None:
    made, device = await register(api)
    await change(api, made, status=status)
    assert (await sign_in_on(api, device, made.email)).json()["code"] == "invalid_credentials"


@pytest.mark.promise("A55")
@pytest.mark.parametrize("adaptive", ["off", "mail"])
async def test_countries_count_on_a_known_device(open_api: OpenApi, adaptive: str) -> None:
    async with open_api(adaptive=adaptive) as api:
        made, device = await register(api)
        await change(api, made, allowed_countries=["SE"])
        assert (await sign_in_on(api, device, made.email, country="NO")).json()["code"] == "country_blocked"
        assert (await sign_in_on(api, device, made.email, country="SE")).status_code == 200
        assert (await sign_in_on(api, device, made.email)).headers["X-Database-Queries"] == SHORT


@pytest.mark.promise("A39")
async def test_a_second_factor_is_asked_for_on_a_known_device(ahead: Api) -> None:
    person = await with_totp(ahead)
    assert person.app is not None
    made = await verify(ahead, await mfa_token(ahead, person), "totp", person.app.next_code())
    again = await sign_in_on(ahead, made.headers["X-Device-Token"], person.account.email)
    assert again.json()["code"] == "mfa_required"


async def test_a_passkey_is_asked_for_on_a_known_device(api: Api) -> None:
    made, device = await register(api)
    assert (await add_passkey(api, Person(made, made.access))).status_code == 201
    assert (await sign_in_on(api, device, made.email)).json()["code"] == "mfa_required"


async def test_sessions_are_no_more_than_allowed_on_a_known_device(api: Api) -> None:
    made, device = await register(api)
    answers = await asyncio.gather(*(sign_in_on(api, device, made.email) for _ in range(25)))
    assert {answer.status_code for answer in answers} == {200}
    (running,) = await api.sql(
        "SELECT count(*) AS n FROM sessions WHERE user_id = :id AND revoked_at IS NULL", id=made.id
    )
    assert running.n == 20


async def test_who_was_about_to_leave_stays_by_a_known_device(api: Api) -> None:
    made, device = await register(api)
    await api.call("DELETE", "/api/v1/users/me", made.access)
    assert (await sign_in_on(api, device, made.email)).status_code == 200
    (row,) = await api.sql("SELECT deletion_at FROM users WHERE id = :id", id=made.id)
    assert row.deletion_at is None


async def test_an_old_hash_is_replaced_on_a_known_device(api: Api) -> None:
    made, device = await register(api)
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await api.sql("UPDATE passwords SET hash = :hash WHERE user_id = :id", hash=old, id=made.id)
    assert (await sign_in_on(api, device, made.email)).status_code == 200
    (row,) = await api.sql("SELECT hash FROM passwords WHERE user_id = :id", id=made.id)
    assert row.hash.startswith("$argon2id$")


@pytest.mark.promise("A42")
async def test_a_password_of_somebody_else_gives_no_roles_on_a_known_device(api: Api) -> None:
    made, device = await register(api)
    await change(api, made, roles=["user", "admin"])
    await change(api, made, must_change_password=True)
    assert claims((await sign_in_on(api, device, made.email)).json()["access"])["roles"] == ["user"]


async def test_whoever_holds_the_account_is_waited_for_on_the_long_way(api: Api) -> None:
    made, device = await register(api)
    async with api.db.transaction() as db:
        connection = await db.connection()
        await connection.exec_driver_sql("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", (made.id,))
        waiting = asyncio.create_task(sign_in_on(api, device, made.email))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await connection.exec_driver_sql("UPDATE users SET roles = $2 WHERE id = $1", (made.id, ["user", "support"]))
    assert claims((await waiting).json()["access"])["roles"] == ["user", "support"]


@pytest.mark.promise("A42")
async def test_a_change_of_roles_outdates_what_came_before_it_on_a_known_device(api: Api) -> None:
    admin, (made, device) = await api.staff("admin"), await register(api)

    async def promote() -> None:
        assert (await put_roles(api, admin, made, "support")).status_code == 200

    answers = await asyncio.gather(*(sign_in_on(api, device, made.email) for _ in range(6)), promote())
    for answer in answers[:6]:
        token = answer.json()["access"]  # type: ignore[union-attr]
        if "support" not in claims(token)["roles"]:
            assert await api.ended(token) == "token_stale"


async def test_a_password_that_was_changed_while_it_was_checked_opens_nothing(open_api: OpenApi) -> None:
    async with open_api() as api:
        (made, device), other = await register(api), await api.register(password=OTHERS)
        hasher = api.app.state.kit.hasher
        # While its one thread is taken, whoever signs in has read the password and waits.
        async with hasher._free:
            waiting = asyncio.create_task(sign_in_on(api, device, made.email))
            async with asyncio.timeout(20):
                while not hasher._waiting:
                    await asyncio.sleep(0.01)
            await api.sql(
                "UPDATE passwords SET hash = (SELECT hash FROM passwords WHERE user_id = :other) WHERE user_id = :id",
                id=made.id,
                other=other.id,
            )
        assert (await waiting).status_code == 401
