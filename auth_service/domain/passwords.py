"""What makes a password acceptable, and where its hash is kept."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain.breaches import Breaches
from auth_service.domain.hashing import normal
from auth_service.errors import NotAllowed, PasswordTooShort
from auth_service.models import Password

MIN_LENGTH = 8
MIN_LENGTH_ALONE = 15
MAX_LENGTH = 256
_SIMILAR_LENGTH = 4
_TOO_COMMON = "This password is too common."
_KEYBOARD = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "1q2w3e4r5t6y7u8i9o0p")
# What people add to a common word to satisfy a rule: a year, a number, a sign.
_DECORATION = re.compile(r"^[\W\d_]{0,5}(.*?)[\W\d_]{0,5}$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Policy:
    """`nist` asks for 15 characters where the password is all that there is (NIST SP 800-63B-4)."""

    nist: bool = False
    breaches: Breaches | None = None

    async def require(self, password: str, own_names: Iterable[str], *, second_factor: bool = False) -> None:
        """Raises NotAllowed for what is too short, on everybody's list, made of the owner's own names, or was found in
        a breach. To be called before the first statement: it may wait for a second."""
        text = normal(password)
        least = MIN_LENGTH_ALONE if self.nist and not second_factor else MIN_LENGTH
        if len(text) < least:
            raise PasswordTooShort(least)
        plain = text.casefold()
        if _is_common(plain) or _is_similar(plain, own_names):
            raise NotAllowed("password", _TOO_COMMON)
        if self.breaches is not None and await self.breaches.know(text):
            raise NotAllowed("password", _TOO_COMMON)


async def keep(db: AsyncSession, user_id: UUID, password_hash: str, *, now: datetime) -> None:
    row = {"hash": password_hash, "changed_at": now}
    insertion = insert(Password).values(user_id=user_id, **row)
    await db.execute(insertion.on_conflict_do_update(index_elements=[Password.user_id], set_=row))


async def exists(db: AsyncSession, user_id: UUID) -> bool:
    return await db.scalar(select(Password.user_id).where(Password.user_id == user_id)) is not None


async def void(db: AsyncSession, user_id: UUID) -> None:
    """From now on none opens the account, until its owner has chosen one by mail."""
    await db.execute(delete(Password).where(Password.user_id == user_id))


async def upgrade(db: AsyncSession, user_id: UUID, *, old: str, new: str) -> None:
    """Another form of the same password; not a change of it."""
    await db.execute(update(Password).where(Password.user_id == user_id, Password.hash == old).values(hash=new))


def _is_common(plain: str) -> bool:
    common = _common_words()
    core = _DECORATION.sub(r"\1", plain)
    return plain in common or core in common or len(set(plain)) <= 2 or _is_walk(plain)


def _is_walk(plain: str) -> bool:
    """Keys or letters in the order in which they lie, forwards or backwards."""
    return any(plain in row or plain[::-1] in row for row in _KEYBOARD)


def _is_similar(plain: str, own_names: Iterable[str]) -> bool:
    core = _DECORATION.sub(r"\1", plain)
    for name in own_names:
        whole = name.casefold()
        for part in (whole, whole.partition("@")[0]):
            if len(part) >= _SIMILAR_LENGTH and (core == part or (part in plain and len(plain) - len(part) <= 6)):
                return True
    return False


@cache
def _common_words() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text(encoding="utf-8").split()
    return frozenset(lines)
