"""Access tokens for mail servers that take no passwords: fetched by one for all connections, kept while they last."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from notify_service.domain.channels import CannotOpen, ErrorClass, Outcome

_SPARE_SECONDS = 60.0
_USUAL_SECONDS = 3600.0
_MOST_BYTES = 64 * 1024
# RFC 6749, 5.2: with these the account's owner, or who has registered us, must do something.
_OURS = frozenset({"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type"})


@dataclass(frozen=True, slots=True)
class Grant:
    """What we have from the provider to show for a token. Without a refresh token: our own credentials."""

    token_url: str
    client_id: str
    client_secret: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    scope: str | None = None


Rotated = Callable[[str], Awaitable[None]]


class Tokens:
    """Of one account. However many ask, one request is made."""

    def __init__(self, grant: Grant, rotated: Rotated, *, timeout: float) -> None:
        self._grant = grant
        self._rotated = rotated
        self._timeout = timeout
        self._refresh_token = grant.refresh_token
        self._token: str | None = None
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def current(self) -> str:
        """Raises CannotOpen."""
        if (token := self._valid()) is not None:
            return token
        async with self._turn:
            # Whoever was first in the queue has fetched it for all.
            return self._valid() or await self._fetch()

    def refused(self, token: str) -> None:
        """The mail server does not take it. Another one that has come meanwhile stays."""
        if token == self._token:
            self._token = None

    def _valid(self) -> str | None:
        return self._token if asyncio.get_running_loop().time() < self._until else None

    async def _fetch(self) -> str:
        answer = await self._ask()
        token, lasts, refresh = answer.get("access_token"), answer.get("expires_in"), answer.get("refresh_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise CannotOpen(Outcome(ErrorClass.UNREACHABLE, "bad_token"))
        seconds = float(lasts) if isinstance(lasts, int | float) and lasts > 0 else _USUAL_SECONDS
        self._token = token
        self._until = asyncio.get_running_loop().time() + max(seconds - _SPARE_SECONDS, seconds / 2)
        if isinstance(refresh, str) and refresh and refresh != self._refresh_token and self._refresh_token:
            # The old one may be worth nothing from now on.
            self._refresh_token = refresh
            await self._rotated(refresh)
        return token

    async def _ask(self) -> dict[str, Any]:
        try:
            async with (
                httpx2.AsyncClient(timeout=self._timeout, follow_redirects=False, trust_env=False) as client,
                client.stream("POST", self._grant.token_url, data=self._form()) as response,
            ):
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        break
        except httpx2.HTTPError:
            raise CannotOpen(Outcome(ErrorClass.UNREACHABLE, "no_token")) from None
        answer = _object(content)
        if response.status_code == 200:
            return answer
        said = answer.get("error")
        if response.status_code < 500 and isinstance(said, str) and said in _OURS:
            raise CannotOpen(Outcome(ErrorClass.AUTH, said))
        raise CannotOpen(Outcome(ErrorClass.UNREACHABLE, f"no_token {response.status_code}"))

    def _form(self) -> dict[str, str]:
        grant = self._grant
        form = {"client_id": grant.client_id, "client_secret": grant.client_secret, "scope": grant.scope}
        if self._refresh_token:
            form |= {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
        else:
            form["grant_type"] = "client_credentials"
        return {name: value for name, value in form.items() if value}


def _object(content: bytes | bytearray) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
