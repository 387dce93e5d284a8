"""Codes that are texted to a phone: each proves who holds it, for one purpose, once, and for five minutes.

A code is six digits, so what keeps it safe is how rarely it may be guessed: five times, and ten times a day for one
phone over all its codes. Rows and counters are in PostgreSQL, where no flush forgets them, and every failure is
committed before it is told.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from prometheus_client import Counter
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, floods, messages, phone_limits
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.phone_limits import DAY, Text
from auth_service.errors import WrongCode
from auth_service.models import Identifier, PhoneCode
from libs.db import even_out
from libs.errors import RateLimited

LIFETIME = timedelta(minutes=5)
RESEND = phone_limits.RESEND
_BLOCKED = "blocked"
# Of a request, where nobody must see what became of it.
_STATEMENTS = 25
_NO_MAC = bytes(hashlib.sha256().digest_size)
_TRIES = 5
_TRIES_A_DAY = 10

SENT = Counter("parley_phone_codes_sent_total", "Codes that were texted.", ["purpose"])
VERIFIED = Counter("parley_phone_codes_verified_total", "Codes that were right. Sent ones far above: SMS pumping.")
REFUSED = Counter("parley_phone_codes_refused_total", "Codes that were refused.", ["reason"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Purpose:
    """`kind` names the template of the message, `refusal` what the audit log calls a code that did not work."""

    name: str
    kind: str
    refusal: str


LOGIN = Purpose("login", "phone_code", "sign_in.refused")
CHANGE_PHONE = Purpose("change_phone", "phone_change", "phone.changed")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody brings back. `phone` and `user_id` must be the challenge's, where they are given."""

    challenge_id: UUID
    code: str
    phone: str | None = None
    user_id: UUID | None = None


async def send(
    db: AsyncSession, kit: Kit, purpose: Purpose, phone: Name, *, client: Client, user_id: UUID | None = None
) -> UUID:
    """The challenge that the code belongs to.

    Whether anything was sent shows nowhere: not for an address that asks too often, not for a phone that had its share,
    not for a number that would be expensive, and no account is looked up. A challenge without a message is one that no
    code opens, and leaves the earlier code good.
    """
    now = kit.clock.now()
    address = await phone_limits.reason_of_address(db, client, phone.norm, now=now)
    await _lock(db, phone.norm)
    challenge = PhoneCode(
        id=uuid4(),
        phone=phone.norm,
        purpose=purpose.name,
        user_id=user_id,
        failures=0,
        prefix=kit.texting.budgets.prefix_of(phone.norm)[0],
        ip=phone_limits.network(client),
        created_at=now,
        expires_at=now + LIFETIME,
    )
    code = f"{secrets.randbelow(10**kit.texting.digits):0{kit.texting.digits}}"
    mac = _mac(kit, challenge, code)
    # What is withheld is done all the same and undone: the answer must not come sooner, nor with fewer queries.
    async with db.begin_nested() as trial:
        withheld = await _reason_to_withhold(db, kit, phone.norm, client=client) or address
        await _end_earlier(db, purpose, phone.norm, now)
        await messages.text(db, kit, purpose.kind, to=phone.norm, secret=code, user_id=user_id)
        if withheld is not None:
            await trial.rollback()
    if withheld is None:
        challenge.code = mac
        SENT.labels(purpose.name).inc()
    await phone_limits.note(db, kit.texting, Text(purpose.kind, phone.norm, user_id), withheld, client=client, now=now)
    db.add(challenge)
    await db.flush()
    await even_out(db, _STATEMENTS)
    return challenge.id


async def redeem(kit: Kit, purpose: Purpose, attempt: Attempt, *, client: Client) -> str:
    """The phone that the code proves; it is used up, whatever comes next. Raises WrongCode, always the same, and
    RateLimited for a phone that had its wrong codes of the day and for an address that tries too many phones.

    In transactions of its own: a failure counts although it is refused.
    """
    now = kit.clock.now()
    until: datetime | None = None
    reason: str | None = "unknown"
    async with kit.database.transaction() as db:
        phone = await db.scalar(select(PhoneCode.phone).where(PhoneCode.id == attempt.challenge_id))
        if phone is not None:
            await phone_limits.require_phone(db, client, phone, now=now)
            await _lock(db, phone)
            until = await _blocked_until(db, phone, now)
            reason = _BLOCKED if until else await _judge(db, kit, purpose, attempt, now=now)
            if reason is not None:
                await _record(db, purpose, attempt, phone=phone, reason=reason, client=client, now=now)
    if phone is not None and reason is None:
        VERIFIED.inc()
        return str(phone)
    REFUSED.labels(reason).inc()
    log.info("phone_code_refused", reason=reason, purpose=purpose.name)
    if until is not None:
        raise RateLimited(int((until - now).total_seconds()) + 1)
    raise WrongCode


async def _judge(db: AsyncSession, kit: Kit, purpose: Purpose, attempt: Attempt, *, now: datetime) -> str | None:
    """Why the code is refused; None for the right one, which is used up by it. Needs the lock of the phone.

    What was never sent is guessed at like any other code, and counts: it would be told by what does not.
    """
    query = select(PhoneCode).where(PhoneCode.id == attempt.challenge_id)
    challenge: PhoneCode | None = await db.scalar(query)
    if challenge is None:
        return "unknown"
    reason = _unusable(challenge, purpose, attempt, now)
    if reason is not None:
        return reason
    mac = _mac(kit, challenge, attempt.code)
    fits = hmac.compare_digest(mac, challenge.code or _NO_MAC) and attempt.phone in (None, challenge.phone)
    values: dict[str, Any] = {"ended_at": now} if fits else {"failures": PhoneCode.failures + 1}
    running = update(PhoneCode).where(PhoneCode.id == challenge.id, PhoneCode.ended_at.is_(None))
    running = running.execution_options(synchronize_session=False)
    if await db.scalar(running.values(values).returning(PhoneCode.id)) is None:
        return "used"
    return None if fits else "wrong"


def _unusable(challenge: PhoneCode, purpose: Purpose, attempt: Attempt, now: datetime) -> str | None:
    if challenge.purpose != purpose.name or challenge.user_id != attempt.user_id:
        return "foreign"
    if challenge.ended_at is not None:
        return "used"
    if challenge.expires_at <= now:
        return "expired"
    return "dead" if challenge.failures >= _TRIES else None


async def _record(
    db: AsyncSession, purpose: Purpose, attempt: Attempt, *, phone: str, reason: str, client: Client, now: datetime
) -> None:
    """Of whoever has the number. A number of nobody is recorded too, so that it takes as long."""
    owned = select(Identifier.user_id).where(Identifier.value_norm == phone, Identifier.verified_at.is_not(None))
    subject_id = await db.scalar(owned) if purpose is LOGIN else attempt.user_id
    entry = Entry(
        action=purpose.refusal,
        result="refused",
        reason=f"code_{reason}",
        actor_id=attempt.user_id,
        subject_id=subject_id,
    )
    if reason == _BLOCKED:
        await floods.record(db, entry, client, of=phone, now=now)
    else:
        await audit.record(db, entry, client, now=now)


async def _reason_to_withhold(db: AsyncSession, kit: Kit, phone: str, *, client: Client) -> str | None:
    now = kit.clock.now()
    blocked = await _blocked_until(db, phone, now)
    reason = await phone_limits.reason_not_to_send(db, kit.texting, phone, client=client, now=now)
    return _BLOCKED if blocked else reason


async def _blocked_until(db: AsyncSession, phone: str, now: datetime) -> datetime | None:
    """When a phone has had its failures of a day, whichever codes were meant: many codes must not mean many tries."""
    newer = func.sum(PhoneCode.failures).over(order_by=(PhoneCode.created_at.desc(), PhoneCode.id))
    recent = PhoneCode.phone == phone, PhoneCode.created_at > now - DAY
    codes = select(PhoneCode.created_at, newer.label("failures")).where(*recent).subquery()
    # The block ends when the newest code is forgotten that, with those after it, makes ten.
    full = select(func.max(codes.c.created_at)).where(codes.c.failures >= _TRIES_A_DAY)
    filled: datetime | None = await db.scalar(full)
    return filled + DAY if filled is not None else None


async def _end_earlier(db: AsyncSession, purpose: Purpose, phone: str, now: datetime) -> None:
    same = PhoneCode.phone == phone, PhoneCode.purpose == purpose.name
    ending = update(PhoneCode).where(*same, PhoneCode.ended_at.is_(None))
    await db.execute(ending.values(ended_at=now).execution_options(synchronize_session=False))


async def end_pending(db: AsyncSession, user_id: UUID, *, now: datetime) -> None:
    """Codes that this user has asked for and not brought back."""
    ending = update(PhoneCode).where(PhoneCode.user_id == user_id, PhoneCode.ended_at.is_(None))
    await db.execute(ending.values(ended_at=now).execution_options(synchronize_session=False))


async def _lock(db: AsyncSession, phone: str) -> None:
    """Until the transaction ends. Everything that is counted for a phone is counted by one at a time."""
    await db.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:phone, 70404))"), {"phone": phone})


def _mac(kit: Kit, challenge: PhoneCode, code: str) -> bytes:
    """Who reads the table, or a copy of it, has no use for it: without the key six digits cannot be tried out."""
    said = f"{challenge.id}|{challenge.purpose}|{challenge.phone}|{code}"
    return hmac.digest(kit.texting.key, said.encode(), hashlib.sha256)
