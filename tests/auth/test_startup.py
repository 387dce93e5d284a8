"""Accounts that exist from the start."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from auth_service.app import create_app
from auth_service.settings import EXAMPLE_SECRET, Settings
from libs.testing.clients import client
from tests.auth.api import Account, Api, account, claims
from tests.auth.conftest import OpenApi
from tests.auth.phones import new_phone
from tests.auth.test_administration import Run, run

__all__ = ["run"]

SECRET = "a secret of our own"
PRODUCTION: dict[str, Any] = {
    "environment": "production",
    "refresh_keys": SecretStr("1:" + "A" * 43),
    "field_keys": SecretStr("k:" + "A" * 43),
    "database_url": SecretStr("postgresql://u:p@127.0.0.1/x"),
}


@pytest.fixture
def phone() -> str:
    return new_phone()


async def first(api: Api, phone: str, secret: str = SECRET) -> Any:
    return await api.sign_in(secret, phone_number=phone)


@pytest.mark.promise("K38")
async def test_the_first_administrator_is_there_after_the_start(open_api: OpenApi, phone: str) -> None:
    async with open_api(admin_phone=phone, admin_secret=SECRET) as api:
        made = account(await first(api, phone))
        [row] = await api.sql("SELECT roles, must_change_password FROM users WHERE id = :id", id=made.id)
        assert (row.roles, row.must_change_password) == (["user", "admin"], True)
        assert (await api.events(made.id))[0][0] == "UserRegistered"


@pytest.mark.promise("K38")
async def test_it_has_no_rights_before_its_password_is_changed(open_api: OpenApi, phone: str) -> None:
    async with open_api(admin_phone=phone, admin_secret=SECRET) as api:
        made = account(await first(api, phone))
        assert claims(made.access)["roles"] == ["user"]
        assert (await api.get("/api/v1/admin/auth/users", made.access)).status_code == 403


@pytest.mark.promise("K38")
async def test_a_restart_with_another_secret_changes_nothing(open_api: OpenApi, phone: str) -> None:
    async with open_api(admin_phone=phone, admin_secret=SECRET) as api:
        made: Account = account(await first(api, phone))
    async with open_api(admin_phone=phone, admin_secret="quite another secret") as api:
        assert account(await first(api, phone)).id == made.id
        assert (await first(api, phone, "quite another secret")).status_code == 401


@pytest.mark.promise("K38")
async def test_whoever_has_the_phone_already_is_left_alone(api: Api, open_api: OpenApi, phone: str) -> None:
    made = await api.register(phone_number=phone)
    async with open_api(admin_phone=phone, admin_secret=SECRET) as restarted:
        assert claims((await restarted.refresh(made.refresh)).json()["access"])["roles"] == ["user"]
        assert (await first(restarted, phone)).status_code == 401


@pytest.mark.promise("K38")
async def test_processes_that_start_at_once_make_one(settings_for: Any, phone: str, api: Api) -> None:
    settings = await settings_for(admin_phone=phone, admin_secret=SECRET, demo_users=2)

    async def start() -> None:
        async with client(create_app(settings)):
            pass

    await asyncio.gather(*(start() for _ in range(4)))
    assert len(await api.sql("SELECT 1 FROM identifiers WHERE value = :phone", phone=phone)) == 1


@pytest.mark.promise("K38")
async def test_the_command_line_makes_it_too(run: Run, api: Api, phone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECT_ADMIN_DETAIL", phone)
    monkeypatch.setenv("PROJECT_ADMIN_DEFAULT_SECRET", SECRET)
    assert "made" in await run("create-admin")
    assert "already" in await run("create-admin")
    assert (await first(api, phone)).status_code == 200


async def test_without_the_variables_the_command_wants_an_address(run: Run) -> None:
    with pytest.raises(SystemExit, match="e-mail"):
        await run("create-admin")


@pytest.mark.promise("K38")
@pytest.mark.parametrize("secret", ["eleven char", "", EXAMPLE_SECRET])
def test_a_secret_that_is_short_or_public_refuses_the_start(secret: str) -> None:
    with pytest.raises(ValidationError, match="PROJECT_ADMIN_DEFAULT_SECRET"):
        Settings(**{**PRODUCTION, "admin_phone": "+46701234567", "admin_secret": SecretStr(secret)})


@pytest.mark.promise("K38")
def test_a_good_secret_starts_and_development_takes_any() -> None:
    Settings(**{**PRODUCTION, "admin_phone": "+46701234567", "admin_secret": SecretStr("twelve chars")})
    Settings(environment="development", admin_phone="+46701234567", admin_secret=SecretStr("short"))


@pytest.mark.parametrize("given", [{"admin_phone": "+46701234567"}, {"admin_secret": SecretStr(SECRET)}])
def test_the_two_variables_belong_together(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="together"):
        Settings(environment="development", **given)


@pytest.mark.promise("K39")
async def test_demo_users_exist_in_development(open_api: OpenApi) -> None:
    for _ in range(2):
        async with open_api(demo_users=2) as api:
            for number in ("01", "02"):
                answer = await api.sign_in(f"Parley-demo-{number}", email=f"demo{number}@example.com")
                assert answer.status_code == 200
                assert answer.json()["user"]["username"] == f"demo{number}"
            by_phone = await api.sign_in("Parley-demo-01", phone_number="+12025550101")
            assert by_phone.json()["user"]["username"] == "demo01"
            [row] = await api.sql("SELECT count(*) AS count FROM identifiers WHERE value = 'demo01'")
            assert row.count == 1


@pytest.mark.promise("K39")
def test_demo_users_refuse_the_start_elsewhere() -> None:
    with pytest.raises(ValidationError, match="development only"):
        Settings(**{**PRODUCTION, "demo_users": 1})
    assert Settings(**PRODUCTION).demo_users == 0


@pytest.mark.parametrize("number", [-1, 100])
def test_there_are_at_most_ninety_nine(number: int) -> None:
    with pytest.raises(ValidationError):
        Settings(environment="development", demo_users=number)
