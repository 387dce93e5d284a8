"""Work that a client must show before another guess: cheap for one person, dear for who guesses a million times.

A puzzle is a token, signed and bound to the name that is guessed at. Its solution is the token, a colon and a text with
which the SHA-256 of the whole begins with so many zero bits. Each opens one try, within five minutes.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import quotas

LIFETIME = timedelta(minutes=5)
_FORM = re.compile(r"((\d{1,12})\.([\w-]{22})\.(\d{1,2}))\.([\w-]{32}):[!-~]{1,40}", re.ASCII)


class Challenge(Protocol):
    """What else could take the place of work, as a picture to be read."""

    def ask(self, who: str, now: datetime) -> Mapping[str, object]:
        """What the client is told."""

    async def solved(self, db: AsyncSession, solution: str, who: str, now: datetime) -> bool:
        """Whether it was asked for this name and solved; uses the solution up."""


class Puzzles:
    """`bits` is how much work: each more doubles it. 18 takes a browser about a second."""

    def __init__(self, key: bytes, bits: int) -> None:
        self._key = key
        self._bits = bits

    def ask(self, who: str, now: datetime) -> Mapping[str, object]:
        expires = int((now + LIFETIME).timestamp())
        signed = f"{expires}.{secrets.token_urlsafe(16)}.{self._bits}"
        return {
            "kind": "sha256",
            "token": f"{signed}.{self._signature(signed, who)}",
            "bits": self._bits,
            "expires_in": int(LIFETIME.total_seconds()),
        }

    async def solved(self, db: AsyncSession, solution: str, who: str, now: datetime) -> bool:
        form = _FORM.fullmatch(solution)
        if form is None:
            return False
        signed, expires, puzzle_id, bits, signature = form.groups()
        if not hmac.compare_digest(signature, self._signature(signed, who)):
            return False
        if int(expires) <= now.timestamp() or zero_bits(solution) < int(bits):
            return False
        return await quotas.allows(db, f"puzzle:{puzzle_id}", most=1, window=LIFETIME, now=now)

    def _signature(self, signed: str, who: str) -> str:
        # Half of it is enough for five minutes.
        return hmac.digest(self._key, f"{signed}|{who}".encode(), "sha256").hex()[:32]


def zero_bits(solution: str) -> int:
    """With how many the digest of a solution begins."""
    return 256 - int.from_bytes(hashlib.sha256(solution.encode()).digest()).bit_length()
