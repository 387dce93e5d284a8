"""Passwords that were published in breaches, asked of a service without telling it the password (k-anonymity).

The service gets the first five hex digits of the SHA-1 and answers with every suffix that it knows: a million passwords
share each beginning. SHA-1 is what the protocol of Have I Been Pwned speaks; nothing rests on its strength.
"""

import asyncio
import hashlib

import httpx2
import structlog

from libs.tls import tls_context

_BUDGET_SECONDS = 1.0
_PREFIX = 5
_MOST_BYTES = 1 << 20

log = structlog.get_logger()


class Breaches:
    """`url` is that of the range API. Whatever goes wrong with it, no password is refused for that."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._http = httpx2.AsyncClient(
            timeout=_BUDGET_SECONDS, verify=tls_context(), follow_redirects=False, trust_env=False
        )

    async def know(self, password: str) -> bool:
        digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
        try:
            async with asyncio.timeout(_BUDGET_SECONDS):
                return digest[_PREFIX:] in await self._suffixes(digest[:_PREFIX])
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            log.warning("breaches_not_asked", reason=type(error).__name__)
            return False

    async def close(self) -> None:
        await self._http.aclose()

    async def _suffixes(self, prefix: str) -> set[str]:
        body = bytearray()
        # With padding, answers have about one size, so that who only sees sizes learns nothing of the prefix either.
        async with self._http.stream("GET", f"{self._url}/{prefix}", headers={"Add-Padding": "true"}) as answer:
            answer.raise_for_status()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise ValueError("an answer without an end")
        entries = (line.partition(":") for line in body.decode("ascii").split())
        # A count of zero is padding.
        return {suffix.upper() for suffix, _, count in entries if int(count or 0) > 0}
