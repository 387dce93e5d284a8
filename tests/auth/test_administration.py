"""The command line of auth."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from auth_service.__main__ import main
from tests.auth.api import PASSWORD, Api, claims, unique

Run = Callable[..., Awaitable[str]]


@pytest.fixture
async def run(
    database_url: Callable[[str], Awaitable[str]],
    redis_url: str,
    key_ring_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """`await run("create-admin", email)`: what the command wrote."""
    monkeypatch.setenv("AUTH_DATABASE_URL", await database_url("auth"))
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("PARLEY_KEY_RING", str(key_ring_path))
    monkeypatch.setenv("AUTH_ADMIN_PASSWORD", PASSWORD)

    async def call(*arguments: str) -> str:
        # A command runs a loop of its own.
        await asyncio.to_thread(main, arguments)
        return capsys.readouterr().out

    return call


async def test_demo_users_are_made_once(run: Run, api: Api) -> None:
    await run("seed-demo")
    assert "exist" in await run("seed-demo")
    for name in ("ada", "grace", "alan"):
        answer = await api.sign_in(email=f"{name}@example.com", password="parley-demo-2026")
        assert answer.status_code == 200
        assert answer.json()["user"]["is_verified"]
        kinds = [kind for kind, _ in await api.events(answer.json()["user"]["id"])]
        assert kinds[0] == "UserRegistered"


async def test_demo_users_are_for_development_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_ENVIRONMENT", "production")
    monkeypatch.setenv("AUTH_REFRESH_KEYS", "1:" + "A" * 43)
    monkeypatch.setenv("PARLEY_FIELD_KEYS", "k:" + "A" * 43)
    with pytest.raises(SystemExit, match="development"):
        await run("seed-demo")


async def test_an_administrator_is_made_and_signs_in(run: Run, api: Api) -> None:
    email, username = f"{unique()}@example.com", unique()
    assert "Made" in await run("create-admin", email, "--username", username)
    signed_in = (await api.sign_in(username=username)).json()
    assert claims(signed_in["access"])["roles"] == ["user", "admin"]
    assert signed_in["user"]["is_verified"]
    assert "already" in await run("create-admin", email)


async def test_somebody_who_exists_becomes_an_administrator(run: Run, api: Api) -> None:
    made, other = await api.register(), await api.register()
    assert "now" in await run("create-admin", made.email.upper())
    assert claims((await api.refresh(made.refresh)).json()["access"])["roles"] == ["user", "admin"]
    assert claims((await api.refresh(other.refresh)).json()["access"])["roles"] == ["user"]
    kind, data = (await api.events(made.id))[-1]
    assert (kind, data["profile"]["roles"]) == ("UserUpdated", ["user", "admin"])


@pytest.mark.parametrize(
    ("email", "password", "reason"),
    [
        ("nobody", PASSWORD, "valid email"),
        ("a@example.com", "password1", "too common"),
        ("a@example.com", "x", "least 8"),
    ],
)
async def test_an_administrator_follows_the_rules(
    run: Run, monkeypatch: pytest.MonkeyPatch, email: str, password: str, reason: str
) -> None:
    monkeypatch.setenv("AUTH_ADMIN_PASSWORD", password)
    with pytest.raises(SystemExit, match=reason):
        await run("create-admin", email)


async def test_the_password_may_come_from_standard_input(run: Run, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTH_ADMIN_PASSWORD")
    monkeypatch.setattr("sys.stdin", io.StringIO("horse battery correct\n"))
    email = f"{unique()}@example.com"
    await run("create-admin", email)
    assert (await api.sign_in(email=email, password="horse battery correct")).status_code == 200


async def test_migrating_twice_changes_nothing(run: Run, api: Api) -> None:
    made = await api.register()
    await run("migrate")
    assert (await api.me(made.access)).status_code == 200
