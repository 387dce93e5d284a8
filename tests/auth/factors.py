"""People with second factors, in the words of the tests."""

import base64
from dataclasses import dataclass, field
from typing import Any

import httpx2

from auth_service.domain.totp import code_at
from tests.auth.api import Account, Api, account
from tests.auth.authenticator import Authenticator

MFA = "/api/v1/auth/mfa"
PASSKEYS = "/api/v1/auth/passkeys"
REAUTH = "/api/v1/auth/reauth"


@dataclass
class App:
    """An authenticator app. `code()` is of the time that the test stands at."""

    api: Api
    secret: str

    def code(self, *, steps: int = 0) -> str:
        step = int(self.api.clock.seconds()) // 30
        return code_at(base64.b32decode(self.secret), step + steps)

    def next_code(self) -> str:
        """A code that was not used before: half a minute later."""
        self.api.clock.advance(30)
        return self.code()

    def wrong_code(self) -> str:
        taken = {self.code(steps=steps) for steps in (-2, -1, 0, 1, 2)}
        return next(code for code in (f"{n:06}" for n in range(10)) if code not in taken)


@dataclass
class Person:
    account: Account
    access: str
    app: App | None = None
    codes: list[str] = field(default_factory=list)
    passkey: Authenticator | None = None
    passkey_id: str = ""


async def with_totp(api: Api, **changed: Any) -> Person:
    made = await api.register(**changed)
    secret = (await api.post(f"{MFA}/totp", token=made.access)).json()["secret"]
    app = App(api, secret)
    answer = await api.post(f"{MFA}/totp/confirm", {"code": app.code()}, made.access)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return Person(made, body["tokens"]["access"], app, body["recovery_codes"])


async def with_passkey(api: Api, device: Authenticator | None = None, **changed: Any) -> Person:
    made = await api.register(**changed)
    person = Person(made, made.access)
    answer = await add_passkey(api, person, device)
    assert answer.status_code == 201, answer.text
    return person


async def add_passkey(api: Api, person: Person, device: Authenticator | None = None) -> httpx2.Response:
    device = device or Authenticator()
    asking = await api.post(f"{PASSKEYS}/register/options", token=person.access)
    if asking.status_code != 200:
        return asking
    body = {"ceremony_id": asking.json()["ceremony_id"], "credential": device.create(asking.json()["options"])}
    answer = await api.post(f"{PASSKEYS}/register/verify", body, person.access)
    if answer.status_code == 201:
        person.access = answer.json()["tokens"]["access"]
        person.codes = person.codes or answer.json()["recovery_codes"]
        person.passkey, person.passkey_id = device, answer.json()["passkey"]["id"]
    return answer


async def mfa_token(api: Api, person: Person) -> str:
    """The first half of a sign-in."""
    answer = await api.sign_in(email=person.account.email)
    assert answer.status_code == 403, answer.text
    assert answer.json()["code"] == "mfa_required"
    token: str = answer.json()["mfa_token"]
    return token


async def verify(api: Api, token: str, method: str, code: str) -> httpx2.Response:
    return await api.post(f"{MFA}/verify", {"mfa_token": token, "method": method, "code": code})


async def shown(
    api: Api, path: str, device: Authenticator, body: Any = None, token: str | None = None
) -> dict[str, Any]:
    """What goes into the answer: asks at `path`, and lets the device answer."""
    asking = await api.post(path, body, token)
    assert asking.status_code == 200, asking.text
    return {"ceremony_id": asking.json()["ceremony_id"], "credential": device.get(asking.json()["options"])}


async def passkey_login(api: Api, device: Authenticator) -> httpx2.Response:
    return await api.post(f"{PASSKEYS}/login/verify", await shown(api, f"{PASSKEYS}/login/options", device))


def signed_in(answer: httpx2.Response) -> Account:
    assert answer.status_code == 200, answer.text
    return account(answer)


async def audited(api: Api, person: Person, action: str) -> list[Any]:
    return await api.sql(
        "SELECT result, reason FROM audit WHERE subject_id = :id AND action = :action ORDER BY id",
        id=person.account.id,
        action=action,
    )
