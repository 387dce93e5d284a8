"""What is secret stands nowhere else: not in logs, errors, descriptions, metrics, nor in a copy of the database."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from prometheus_client import generate_latest

from tests.auth.api import Account, Api, unique
from tests.auth.conftest import OpenApi
from tests.auth.factors import Person, with_totp

pytestmark = pytest.mark.promise("Z11")


@dataclass
class Used:
    api: Api
    said: str
    """What every answer that refused something said."""
    secrets: dict[str, str]


async def account_with_everything(api: Api, password: str) -> tuple[Account, Person, dict[str, str]]:
    person = await with_totp(api, password=password)
    made = person.account
    token = await api.post("/api/v1/auth/api-tokens", {"name": "backup", "scopes": ["auth:read"]}, person.access)
    assert token.status_code == 201, token.text
    assert person.app is not None
    secrets = {
        "password": password,
        "access token": person.access,
        "refresh token": made.refresh,
        "api token": token.json()["token"],
        "totp secret": person.app.secret,
        "recovery code": person.codes[0],
    }
    return made, person, secrets


@pytest.fixture(scope="module")
async def used(open_api: OpenApi) -> AsyncIterator[Used]:
    """An account that did what leaves secrets behind, and was refused with each of them."""
    async with open_api() as api:
        made, _, secrets = await account_with_everything(api, f"quite {unique()} a secret")
        said = ""
        for secret in secrets.values():
            for path, body in (
                ("/api/v1/auth/token", {"email": made.email, "password": secret[:250]}),
                ("/api/v1/auth/token/refresh", {"refresh": secret}),
                ("/api/v1/auth/mfa/verify", {"mfa_token": secret, "method": "totp", "code": secret}),
                ("/api/v1/auth/email/verify", {"token": secret}),
                ("/api/v1/auth/register", {"email": secret, "password": 7, "username": secret}),
            ):
                answer = await api.post(path, body, secret if path.endswith("verify") else None)
                said += answer.text + str(answer.headers)
        secrets["mailed token"] = await mailed(api, made)
        yield Used(api, said, secrets)


async def mailed(api: Api, made: Account) -> str:
    """The token in the link that confirms the address."""
    mail = next(mail for mail in await api.mails(made.email) if mail.secret is not None)
    token: str = api.app.state.cipher.decrypt(mail.secret, f"message:{mail.id}")
    return token


def found(used: Used, text: str) -> list[str]:
    return [name for name, secret in used.secrets.items() if secret in text]


async def test_not_in_refusals(used: Used) -> None:
    assert found(used, used.said) == []


async def test_not_in_the_description(used: Used) -> None:
    assert found(used, (await used.api.get("/api/v1/auth/openapi.json")).text) == []


async def test_not_in_metrics(used: Used) -> None:
    assert found(used, generate_latest().decode()) == []


async def test_not_in_a_copy_of_the_database(used: Used) -> None:
    tables = await used.api.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    copy = ""
    for (table,) in tables:
        rows = await used.api.sql(f'SELECT CAST(t AS text) FROM "{table}" AS t')
        copy += "\n".join(text for (text,) in rows)
    assert len(copy) > 10_000
    assert found(used, copy) == []
    # Columns of bytes are shown in hexadecimal.
    assert [name for name, secret in used.secrets.items() if secret.encode().hex() in copy] == []
    assert base64.b32decode(used.secrets["totp secret"]).hex() not in copy


async def test_not_in_logs(open_api: OpenApi, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    async with open_api() as api:
        made, _, secrets = await account_with_everything(api, f"quite {unique()} a secret")
        for secret in secrets.values():
            await api.post("/api/v1/auth/token", {"email": made.email, "password": secret[:250]})
            await api.post("/api/v1/auth/token/refresh", {"refresh": secret})
            await api.get("/api/v1/users/me", secret)
    logged = "".join(capsys.readouterr())
    assert "session_started" in logged
    assert [name for name, secret in secrets.items() if secret in logged] == []
