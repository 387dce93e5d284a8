"""Sending as a program would, and waiting for the end of it."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from tests.notify.world import eventually

OPEN = {"collected", "queued", "sending", "retry"}
# The one bot that the simulator has.
TOKEN = "1000001:parley"
MakeBot = Callable[..., Awaitable[str]]
Decide = Callable[..., Awaitable[str]]


class Person:
    def __init__(self, http: httpx2.AsyncClient, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = {**self._headers, **options.pop("headers", {})}
        return await self._http.request(method, f"/api/v1{path}", headers=headers, **options)

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.call("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def notify(self, title: str = "Done", **body: Any) -> Any:
        given = {"title": title, "message": "It is done.", **body}
        answer = await self.call("POST", "/notifications", json=given)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def unread(self) -> int:
        return int((await self.get("/notifications/unread_count"))["unread_count"])


async def send(person: Person, account: str, *to: Any, **body: Any) -> Any:
    recipients = [each if isinstance(each, dict) else {"address": each} for each in to]
    given = {"channel": "telegram", "account": account, "to": recipients, "content": {"text": "Hello"}, **body}
    headers = given.pop("headers", {})
    answer = await person.call("POST", "/deliveries", json=given, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def ended(person: Person, delivery: Any) -> Any:
    async def check() -> Any:
        found = await person.get(f"/deliveries/{delivery['id']}")
        return found if found["state"] not in OPEN else None

    return await eventually(check)
