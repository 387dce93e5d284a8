"""Codes on paper, for the day on which the phone is lost. Ten at a time, each good once."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import messages, users
from auth_service.domain.kit import Kit
from auth_service.errors import InvalidCode
from auth_service.models import RecoveryCode

COUNT = 10
# Without 0, 1, I, L and O, which look alike on paper. Twelve of 31 characters are 59 bits.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
_PART = 4
_CHARS = 12


@dataclass(frozen=True, slots=True)
class Prepared:
    """New codes and their hashes, made before the transaction begins: hashing takes its time."""

    codes: list[str]
    hashes: list[str]


@dataclass(frozen=True, slots=True)
class Matched:
    lookup: str
    hash: str


async def prepare(kit: Kit) -> Prepared:
    codes: dict[str, str] = {}
    while len(codes) < COUNT:
        code = "".join(secrets.choice(_ALPHABET) for _ in range(_CHARS))
        codes.setdefault(code[:_PART], code)
    # One after the other: ten at once would fill the queue that sign-ins wait in.
    return Prepared(list(codes.values()), [await kit.hasher.hash(code[_PART:]) for code in codes.values()])


async def replace(db: AsyncSession, user_id: UUID, prepared: Prepared, *, now: datetime) -> list[str]:
    """The earlier codes open nothing any more. The new ones, as they are shown once."""
    await forget(db, user_id)
    rows = [
        {"user_id": user_id, "lookup": code[:_PART], "hash": hashed, "created_at": now}
        for code, hashed in zip(prepared.codes, prepared.hashes, strict=True)
    ]
    await db.execute(insert(RecoveryCode), rows)
    return ["-".join(code[at : at + _PART] for at in range(0, _CHARS, _PART)) for code in prepared.codes]


async def forget(db: AsyncSession, user_id: UUID) -> None:
    await db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))


async def match(kit: Kit, user_id: UUID, given: str) -> Matched:
    """Raises InvalidCode, at the same cost whichever part was wrong."""
    code = "".join(c for c in given.upper() if c.isalnum())
    query = select(RecoveryCode.hash).where(
        RecoveryCode.user_id == user_id, RecoveryCode.lookup == code[:_PART], RecoveryCode.used_at.is_(None)
    )
    async with kit.database.transaction() as db:
        stored = await db.scalar(query)
    verdict = await kit.hasher.verify(stored, code[_PART:])
    if stored is None or not verdict.matches:
        raise InvalidCode
    return Matched(code[:_PART], stored)


async def use(db: AsyncSession, kit: Kit, user_id: UUID, matched: Matched) -> None:
    """Raises InvalidCode when somebody was faster, or the codes were replaced meanwhile. The owner gets a mail."""
    mine = RecoveryCode.user_id == user_id, RecoveryCode.lookup == matched.lookup, RecoveryCode.hash == matched.hash
    spending = update(RecoveryCode).where(*mine, RecoveryCode.used_at.is_(None)).values(used_at=kit.clock.now())
    if await db.scalar(spending.returning(RecoveryCode.lookup)) is None:
        raise InvalidCode
    user = await users.myself(db, user_id)
    left = str(await remaining(db, user_id))
    await messages.mail(db, kit, user, "recovery_code_used", variables={"remaining": left})


async def remaining(db: AsyncSession, user_id: UUID) -> int:
    unused = RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None)
    return await db.scalar(select(func.count()).select_from(RecoveryCode).where(*unused)) or 0
