"""Calls to another service: short, authenticated, and with one way to fail."""

from collections.abc import Mapping
from typing import Any

import httpx2
import structlog

from libs.errors import Unavailable
from libs.tokens import SERVICE_HEADER, ServiceTokens

_TIMEOUT = httpx2.Timeout(3.0, connect=1.0)


class InternalClient:
    """One target service. Raises Unavailable for anything but a 2xx answer within three seconds."""

    def __init__(self, base_url: str, target: str, tokens: ServiceTokens) -> None:
        self.target = target
        self._tokens = tokens
        self._client = httpx2.AsyncClient(base_url=base_url, timeout=_TIMEOUT, follow_redirects=False, trust_env=False)

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return await self._call("GET", path, params=params)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._call("POST", path, json=body)

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        headers = {SERVICE_HEADER: f"Bearer {self._tokens.token_for(self.target)}"}
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        if request_id:
            headers["X-Request-Id"] = request_id
        try:
            answer = await self._client.request(method, path, headers=headers, **kwargs)
        except httpx2.HTTPError as error:
            raise Unavailable(f"The {self.target} service is not reachable.") from error
        if not answer.is_success:
            raise Unavailable(f"The {self.target} service refused a call ({answer.status_code}).")
        return answer.json()
