"""Calls to another service: short, authenticated, and with one way to fail."""

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx2
import structlog
from pydantic import BaseModel, ValidationError

from libs.errors import Unavailable
from libs.tls import tls_context
from libs.tokens import SERVICE_HEADER, ServiceTokens

Shape = TypeVar("Shape", bound=BaseModel)
_TIMEOUT = httpx2.Timeout(3.0, connect=1.0)


class InternalClient:
    """One target service. Raises Unavailable for anything but a proper 2xx answer within three seconds."""

    def __init__(self, base_url: str, target: str, tokens: ServiceTokens) -> None:
        self.target = target
        self._tokens = tokens
        self._client = httpx2.AsyncClient(
            base_url=base_url, timeout=_TIMEOUT, verify=tls_context(), follow_redirects=False, trust_env=False
        )

    async def get(self, path: str, shape: type[Shape], params: Mapping[str, Any] | None = None) -> Shape:
        return await self._call("GET", path, shape, params=params)

    async def post(self, path: str, shape: type[Shape], body: Mapping[str, Any]) -> Shape:
        return await self._call("POST", path, shape, json=body)

    async def _call(self, method: str, path: str, shape: type[Shape], **content: Any) -> Shape:
        headers = {SERVICE_HEADER: f"Bearer {self._tokens.token_for(self.target)}"}
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        if request_id:
            headers["X-Request-Id"] = request_id
        try:
            answer = await self._client.request(method, path, headers=headers, **content)
        except httpx2.HTTPError as error:
            raise Unavailable(f"The {self.target} service is not reachable.") from error
        if not answer.is_success:
            raise Unavailable(f"The {self.target} service refused a call ({answer.status_code}).")
        try:
            return shape.model_validate_json(answer.content)
        except ValidationError as error:
            raise Unavailable(f"The {self.target} service gave no proper answer.") from error

    async def close(self) -> None:
        await self._client.aclose()
