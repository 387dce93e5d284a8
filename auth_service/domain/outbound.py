"""Requests to addresses that somebody else has named: bounded in time and size, and to nowhere inside."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from auth_service.errors import UrlNotAllowed
from libs.outside import Guarded, NotAllowed, Resolve, look_up, require_allowed
from libs.tls import tls_context

SECONDS = 5.0
MOST_BYTES = 1 << 20


class OutboundFailed(Exception):
    """No proper answer. The text is for our log: it says what happened, and nothing that the other side has said."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """Raises OutboundFailed for anything but a success with an object."""
        found = self.value()
        if not isinstance(found, dict):
            raise OutboundFailed("no object")
        return found

    def value(self) -> object:
        if not self.ok:
            raise OutboundFailed(f"status {self.status}")
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise OutboundFailed("no JSON") from None


class Outbound:
    """With `private_networks` also to this machine and its neighbours, over plain HTTP and on any port."""

    def __init__(
        self, *, private_networks: bool, resolve: Resolve = look_up, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._private_networks = private_networks
        inner = transport or httpx2.AsyncHTTPTransport(
            verify=tls_context(),
            trust_env=False,
            # Kept connections are found again by their address, and two names may share one.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )
        self._client = httpx2.AsyncClient(
            transport=Guarded(inner, private_networks=private_networks, resolve=resolve),
            timeout=SECONDS,
            follow_redirects=False,
            trust_env=False,
            # Packed bodies could unpack to any size.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Parley"},
        )

    async def get(
        self, url: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return await self._send("GET", url, params=params, headers=headers)

    async def post_form(self, url: str, form: str, *, headers: Mapping[str, str] | None = None) -> Reply:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._send("POST", url, content=form.encode(), headers={**kind, **(headers or {})})

    async def close(self) -> None:
        await self._client.aclose()

    def require_allowed(self, url: str) -> None:
        """Raises UrlNotAllowed for what no address has to be looked up to refuse."""
        try:
            require_allowed(url, private_networks=self._private_networks)
        except NotAllowed:
            raise UrlNotAllowed from None

    async def _send(self, method: str, url: str, **options: Any) -> Reply:
        """Raises UrlNotAllowed, or OutboundFailed when there is no answer of at most 1 MiB within five seconds.
        Redirects are answers like others: nobody follows them."""
        self.require_allowed(url)
        try:
            async with asyncio.timeout(SECONDS), self._client.stream(method, url, **options) as answer:
                return Reply(answer.status_code, await _bounded(answer))
        except NotAllowed:
            raise UrlNotAllowed from None
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError, UnicodeError) as error:
            raise OutboundFailed(type(error).__name__) from None


async def _bounded(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise OutboundFailed("more than 1 MiB")
    return bytes(body)
