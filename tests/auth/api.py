"""Auth through its own API, in the words of the tests."""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import httpx2
from fastapi import FastAPI
from sqlalchemy import text

from libs.contracts.accounts import MessageRequested
from libs.db import Database
from libs.keys import KeyRing
from libs.testing.clients import some_address
from libs.testing.clock import FakeClock
from notify_service.domain import templates
from notify_service.domain.templates import languages

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Account:
    id: UUID
    email: str
    username: str
    access: str
    refresh: str


@dataclass
class Api:
    http: httpx2.AsyncClient
    app: FastAPI
    clock: FakeClock
    # Where requests come from when they say nothing else: each test has an address of its own, for failures are counted
    # by address too.
    address: str = field(default_factory=some_address)

    @property
    def db(self) -> Database:
        database: Database = self.app.state.db
        return database

    @property
    def ring(self) -> KeyRing:
        ring: KeyRing = self.app.state.ring
        return ring

    async def call(self, method: str, path: str, token: str | None = None, **options: Any) -> httpx2.Response:
        """`ip` and `country` are what a trusted proxy says of the client."""
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
        if country := options.pop("country", None):
            headers["X-Client-Country"] = country
        client = (options.pop("ip", self.address), 0)
        return await self.http.request(method, path, headers=headers, extensions={"client": client}, **options)

    async def get(self, path: str, token: str | None = None, **options: Any) -> httpx2.Response:
        return await self.call("GET", path, token, **options)

    async def post(self, path: str, body: Any = None, token: str | None = None, **options: Any) -> httpx2.Response:
        return await self.call("POST", path, token, json=body, **options)

    async def register(self, **changed: Any) -> Account:
        name = unique()
        body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD, **changed}
        answer = await self.post("/api/v1/auth/register", {k: v for k, v in body.items() if v is not None})
        assert answer.status_code == 201, answer.text
        return account(answer)

    async def staff(self, *roles: str) -> Account:
        """Somebody with these roles besides `user`."""
        made = await self.register()
        await self.sql("UPDATE users SET roles = :roles WHERE id = :id", roles=["user", *roles], id=made.id)
        renewed = (await self.refresh(made.refresh)).json()
        return replace(made, access=renewed["access"], refresh=renewed["refresh"])

    async def sign_in(self, password: str = PASSWORD, **name: Any) -> httpx2.Response:
        """By `email`, `username`, `phone_number` or `login`; the rest is about the request."""
        about = {key: name.pop(key) for key in ("ip", "country", "headers") if key in name}
        return await self.post("/api/v1/auth/token", {**name, "password": password}, **about)

    async def refresh(self, token: str) -> httpx2.Response:
        return await self.post("/api/v1/auth/token/refresh", {"refresh": token})

    async def me(self, token: str) -> httpx2.Response:
        return await self.get("/api/v1/users/me", token)

    async def ended(self, token: str) -> str:
        """The code with which a token is refused. A process learns of an ended session within milliseconds, and while
        it hears from Redis it does not ask for each request: hence the patience."""
        async with asyncio.timeout(20):
            while (answer := await self.me(token)).status_code == 200:
                await asyncio.sleep(0.01)
        code: str = answer.json()["code"]
        return code

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        """For what only the database can tell, or an operator would do in it."""
        async with self.db.transaction() as db:
            result: Any = await db.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    async def audit(self, action: str, **who: UUID) -> list[Any]:
        """The entries of an action, oldest first; `who` is `actor_id` or `subject_id`."""
        ((column, value),) = who.items()
        return await self.sql(
            f"SELECT * FROM audit WHERE action = :a AND {column} = :id ORDER BY id", a=action, id=value
        )

    async def events(self, user_id: UUID | str) -> list[tuple[str, dict[str, Any]]]:
        """What auth has told others about a user, oldest first."""
        rows = await self.sql(
            "SELECT type, data FROM outbox WHERE coalesce(data->>'user_id', data->'profile'->>'user_id') = :id"
            " ORDER BY id",
            id=str(user_id),
        )
        return [(row.type, row.data) for row in rows]

    async def mails(self, email: str) -> list[MessageRequested]:
        rows = await self.sql(
            "SELECT data FROM outbox WHERE type = 'MessageRequested' AND data->>'email' = :email ORDER BY id",
            email=email,
        )
        mails = [MessageRequested.model_validate(row.data) for row in rows]
        for mail in mails:
            readable(mail)
        return mails

    async def link_token(self, email: str) -> str:
        """The token in the latest link that was sent to an address, as notify would read it."""
        mail = (await self.mails(email))[-1]
        assert mail.secret is not None
        opened: str = self.app.state.cipher.decrypt(mail.secret, f"message:{mail.id}")
        return opened


def readable(mail: MessageRequested) -> None:
    """Notify has words for it: none is told to its reader in the words of a program."""
    templates.render(mail.kind, {"language": "de", **mail.variables}, mail.secret and "code")
    assert mail.variables.get("what", "totp_added") in languages.of("de").names


def account(answer: httpx2.Response) -> Account:
    body = answer.json()
    user = body["user"]
    return Account(UUID(user["id"]), user["email"], user["username"], body["access"], body["refresh"])


def claims(token: str) -> dict[str, Any]:
    """What a token says, unchecked."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def session_of(token: str) -> str:
    return str(claims(token)["sid"])


def fields(answer: httpx2.Response) -> Mapping[str, str]:
    """The fields that a refusal names."""
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


def unique() -> str:
    return f"u{uuid4().hex[:14]}"
