"""The HTTP side: JSON in and out, with a token that is renewed when it is refused."""

from collections.abc import Awaitable, Callable
from typing import Any, Self

import httpx2

Token = Callable[[bool], Awaitable[str]]
"""Gives an access token; a fresh one when the argument is true, for the last was refused or runs out."""


class ApiError(Exception):
    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        self.code: str = problem.get("code", "")
        super().__init__(f"{status} {problem.get('detail') or problem}")


class Api:
    def __init__(self, url: str, token: Token | None = None) -> None:
        self._token = token
        self._http = httpx2.AsyncClient(base_url=url, timeout=15, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's JSON, None when it has none. Raises ApiError, and httpx2's errors when there is no answer."""
        answer = await self._send(method, path, body, query, fresh=False)
        if answer.status_code == 401 and self._token is not None:
            answer = await self._send(method, path, body, query, fresh=True)
        data = answer.json() if answer.content else None
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, data if isinstance(data, dict) else {})
        return data

    async def pages(self, path: str, **query: Any) -> list[Any]:
        """All rows of a list, page by page."""
        rows: list[Any] = []
        page = await self.call("GET", path, limit=100, **query)
        while True:
            rows += page["results"]
            if page.get("next") is None:
                return rows
            page = await self.call("GET", page["next"])

    async def _send(self, method: str, path: str, body: Any, query: dict[str, Any], *, fresh: bool) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {await self._token(fresh)}"} if self._token else {}
        return await self._http.request(method, path, json=body, params=query or None, headers=headers)
