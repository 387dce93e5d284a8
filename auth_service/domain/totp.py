"""Authenticator apps: time-based one-time passwords (RFC 6238; HMAC-SHA-1, six digits, thirty seconds)."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain.kit import Kit
from auth_service.errors import AlreadyEnrolled, InvalidCode
from auth_service.models import Totp, User

_SECRET_BYTES = 20
_STEP_SECONDS = 30
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Enrolment:
    secret: str = field(repr=False)
    uri: str = field(repr=False)


def code_at(secret: bytes, step: int) -> str:
    digest = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**_DIGITS:0{_DIGITS}}"


async def enrol(db: AsyncSession, kit: Kit, user: User) -> Enrolment:
    """A new secret, which counts once a code of it was shown. Raises AlreadyEnrolled when one counts already."""
    secret = secrets.token_bytes(_SECRET_BYTES)
    row = {
        "secret": kit.cipher.encrypt(secret.hex(), context(user.id)),
        "last_counter": 0,
        "created_at": kit.clock.now(),
    }
    insertion = insert(Totp).values(user_id=user.id, **row)
    replacing = insertion.on_conflict_do_update(
        index_elements=[Totp.user_id], set_=row, where=Totp.confirmed_at.is_(None)
    )
    if await db.scalar(replacing.returning(Totp.user_id)) is None:
        raise AlreadyEnrolled
    text = base64.b32encode(secret).decode()
    return Enrolment(text, _uri(kit.relying_party.name, user.email or user.username, text))


async def confirm(db: AsyncSession, kit: Kit, user_id: UUID, code: str) -> None:
    """Raises InvalidCode."""
    await _use(db, kit, user_id, code, confirmed=False)


async def use(db: AsyncSession, kit: Kit, user_id: UUID, code: str) -> None:
    """Raises InvalidCode. A code counts once: not again in its half minute, nor in the next."""
    await _use(db, kit, user_id, code, confirmed=True)


async def remove(db: AsyncSession, user_id: UUID) -> bool:
    """Whether there was one."""
    removal = delete(Totp).where(Totp.user_id == user_id, Totp.confirmed_at.is_not(None))
    return await db.scalar(removal.returning(Totp.user_id)) is not None


async def _use(db: AsyncSession, kit: Kit, user_id: UUID, code: str, *, confirmed: bool) -> None:
    state = Totp.confirmed_at.is_not(None) if confirmed else Totp.confirmed_at.is_(None)
    sealed = await db.scalar(select(Totp.secret).where(Totp.user_id == user_id, state))
    step = _matching(bytes.fromhex(kit.cipher.decrypt(sealed, context(user_id))), code, kit) if sealed else None
    if step is None:
        raise InvalidCode
    # One statement decides: of two requests with one code the second finds it spent.
    spending = update(Totp).where(Totp.user_id == user_id, state, Totp.secret == sealed, Totp.last_counter < step)
    values = {"last_counter": step} if confirmed else {"last_counter": step, "confirmed_at": kit.clock.now()}
    if await db.scalar(spending.values(values).returning(Totp.user_id)) is None:
        raise InvalidCode


def _matching(secret: bytes, code: str, kit: Kit) -> int | None:
    """The time step whose code this is, of now and one to each side: clocks of phones differ, and people type."""
    now = int(kit.clock.seconds()) // _STEP_SECONDS
    found = None
    for step in (now - 1, now, now + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), code.encode()):
            found = step
    return found


def _uri(issuer: str, account: str, secret: str) -> str:
    label = quote(f"{issuer}:{account}", safe=":@")
    query = {"secret": secret, "issuer": issuer, "algorithm": "SHA1", "digits": _DIGITS, "period": _STEP_SECONDS}
    return f"otpauth://totp/{label}?{urlencode(query, quote_via=quote)}"


def context(user_id: UUID) -> str:
    return f"totp:{user_id}"
