"""The second half of a sign-in: the first factor was right, an mfa token says so, and now the second is shown."""

import hashlib
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import admission, ceremonies, factors, mailed_codes, passkeys, proof, users
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.passkeys import Asking
from auth_service.domain.proof import Shown
from auth_service.domain.sessions import Opening
from auth_service.domain.tokens import Pair, Pending
from auth_service.errors import InvalidPasskey, MfaRequired
from auth_service.models import Revocation
from libs.errors import InvalidToken

_PURPOSE = "mfa"


async def ask_passkey(db: AsyncSession, kit: Kit, token: str) -> Asking:
    pending = kit.mint.read_pending(token)
    return await passkeys.ask(db, kit, passkeys.SECOND, user_id=pending.user_id)


def is_for_cookies(kit: Kit, token: str) -> bool:
    """Whether the session will keep its tokens in cookies. Raises what `finish` does for a token of nobody."""
    return kit.mint.read_pending(token).cookie


async def send_code(db: AsyncSession, kit: Kit, token: str) -> UUID:
    """For who signs in from a country that is new to the account. Raises MfaRequired where there is a second factor,
    which a mailed code does not stand in for, and InvalidToken."""
    pending = kit.mint.read_pending(token)
    user = await users.find(db, pending.user_id, lock=True)
    if user is None or user.status != "active" or not user.email_verified:
        raise InvalidToken
    if methods := await factors.methods(db, user.id):
        raise MfaRequired(token, methods)
    return await mailed_codes.send(db, kit, user, mailed_codes.SIGN_IN)


async def finish(kit: Kit, token: str, shown: Shown, *, client: Client) -> Pair:
    """Raises InvalidToken for an mfa token that made a session already, or is older than a change of the account."""
    pending = kit.mint.read_pending(token)

    async def begin(db: AsyncSession, amr: Sequence[str]) -> Pair:
        await _spend(db, kit, pending)
        aal = 1 if amr == proof.MAILED else 2
        amr = list(dict.fromkeys([*pending.amr, *amr]))
        opening = Opening(amr=amr, aal=aal, family=pending.family, cookie=pending.cookie)
        return await admission.admit(db, kit, pending.user_id, opening, client=client)

    return await proof.prove(kit, pending.user_id, shown, client=client, then=begin)


async def sign_in_with_passkey(kit: Kit, answer: passkeys.Answer, *, cookie: bool = False, client: Client) -> Pair:
    """Nobody is named: the passkey says who it is. It counts as both factors. Raises InvalidPasskey."""
    checked = await passkeys.check(kit, passkeys.SIGN_IN, answer)
    opening = Opening(amr=proof.PASSKEY, aal=2, cookie=cookie)
    try:
        async with kit.database.transaction() as db:
            await users.take_turn(db, checked.user_id)
            await passkeys.use(db, kit, checked)
            return await admission.admit(db, kit, checked.user_id, opening, client=client)
    except InvalidPasskey as refusal:
        await proof.record_refusal(kit, checked.user_id, "passkey", refusal, client=client)
        raise


async def _spend(db: AsyncSession, kit: Kit, pending: Pending) -> None:
    changed = select(func.max(Revocation.epoch_ms)).where(
        or_((Revocation.kind == "user") & (Revocation.subject == pending.user_id), Revocation.kind == "everyone"),
        Revocation.created_at > kit.clock.now() - 2 * ceremonies.LIFETIME,
    )
    if pending.issued_ms <= (await db.scalar(changed) or 0):
        raise InvalidToken
    token_id = UUID(bytes=hashlib.sha256(pending.token_id.encode()).digest()[:16])
    if not await ceremonies.spend(db, token_id, _PURPOSE, user_id=pending.user_id, now=kit.clock.now()):
        raise InvalidToken
