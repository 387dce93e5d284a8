"""Showing that one holds a second factor: to end a sign-in, or again within a session."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import attempts, audit, mailed_codes, messages, passkeys, quotas, recovery_codes, totp, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.passkeys import Answer
from auth_service.errors import InvalidCode, InvalidPasskey, PasskeyCloned

# RFC 8176: a one-time password. Recovery codes have no name there.
OTP = ("otp", "mfa")
RECOVERY = ("recovery", "mfa")
# To the confirmed address: better than a password alone, and no second factor.
MAILED = ("otp",)
# A key, and its user was present and verified: two factors in one.
PASSKEY = ("hwk", "user", "mfa")
_WARNED_EVERY = timedelta(hours=1)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """`method` is one of those of `factors.methods`; a passkey comes with the `purpose` that its challenge was for. Or
    it is `mailed_code`, which comes with what was begun when the code was sent."""

    method: str
    code: str = field(default="", repr=False)
    passkey: Answer | None = None
    purpose: str = passkeys.SECOND
    ceremony_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What was right so far, and how it is used up in the transaction of what it is good for."""

    amr: Sequence[str]
    spend: Callable[[AsyncSession], Awaitable[None]]


async def prove(
    kit: Kit,
    user_id: UUID,
    shown: Shown,
    *,
    client: Client,
    then: Callable[[AsyncSession, Sequence[str]], Awaitable[Result]],
) -> Result:
    """`then`, with the methods that were proved, in the transaction that uses the factor up. Raises InvalidCode,
    InvalidPasskey and RateLimited."""
    guessable = shown.method != "passkey"
    if guessable:
        await attempts.take(kit, attempts.FACTOR, user_id, client=client)
    try:
        proof = await _check(kit, user_id, shown)
        async with kit.database.transaction() as db:
            # The account before its factors, as those do it who change them: each would wait for the other.
            await users.take_turn(db, user_id)
            await proof.spend(db)
            result = await then(db, proof.amr)
            if guessable:
                await attempts.give_back(db, attempts.FACTOR, user_id)
            entry = Entry(action="factor.used", reason=shown.method, actor_id=user_id, subject_id=user_id)
            await audit.record(db, entry, client, now=kit.clock.now())
    except (InvalidCode, InvalidPasskey) as refusal:
        await record_refusal(kit, user_id, shown.method, refusal, client=client)
        raise
    return result


async def record_refusal(
    kit: Kit, user_id: UUID, method: str, refusal: InvalidCode | InvalidPasskey, *, client: Client
) -> None:
    cloned = isinstance(refusal, PasskeyCloned)
    action = "passkey.cloned" if cloned else "factor.used"
    entry = Entry(action=action, result="refused", reason=method, actor_id=user_id, subject_id=user_id)
    async with kit.database.transaction() as db:
        await audit.record(db, entry, client, now=kit.clock.now())
        if cloned:
            await _warn(db, kit, user_id)


async def _warn(db: AsyncSession, kit: Kit, user_id: UUID) -> None:
    """Once an hour: whoever has the copy could fill the mailbox with it."""
    now = kit.clock.now()
    user = await users.find(db, user_id)
    if user and await quotas.allows(db, f"passkey_cloned:{user_id}", most=1, window=_WARNED_EVERY, now=now):
        await messages.mail(db, kit, user, "passkey_cloned")


async def _check(kit: Kit, user_id: UUID, shown: Shown) -> Proof:
    if shown.method == "totp":
        return Proof(OTP, lambda db: totp.use(db, kit, user_id, shown.code))
    if shown.method == "recovery_code":
        matched = await recovery_codes.match(kit, user_id, shown.code)
        return Proof(RECOVERY, lambda db: recovery_codes.use(db, kit, user_id, matched))
    if shown.method == "mailed_code" and shown.ceremony_id is not None:
        await mailed_codes.redeem(kit, mailed_codes.SIGN_IN, shown.ceremony_id, shown.code, user_id=user_id)
        return Proof(MAILED, _spent)
    if shown.passkey is None:
        raise InvalidPasskey
    checked = await passkeys.check(kit, shown.purpose, shown.passkey, user_id=user_id)
    return Proof(PASSKEY, lambda db: passkeys.use(db, kit, checked))


async def _spent(_: AsyncSession) -> None:
    """It was when it was checked."""
