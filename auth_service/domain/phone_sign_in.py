"""Signing in with a code that was texted. The first time makes the account."""

from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import accounts, admission, audit, identifiers, phone_codes, phones, reclaiming, users
from auth_service.domain.accounts import Registration, Standing
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.phone_codes import Attempt
from auth_service.domain.sessions import Opening
from auth_service.domain.tokens import Pair
from auth_service.errors import CountryBlocked, InvalidCredentials, MfaRequired, WrongCode
from libs import outbox
from libs.contracts.accounts import UserRegistered

log = structlog.get_logger()
# Strangers know a phone number sooner than an address of one's choice.
_NEWCOMER = Standing(phone_verified=True, direct_messages="contacts")


async def with_code(
    kit: Kit, attempt: Attempt, client: Client, *, first_name: str, last_name: str, cookie: bool
) -> tuple[Pair, bool]:
    """Tokens, and whether the account is new; the names are for a new one. Raises WrongCode for whatever is wrong with
    the code, and for an account that is suspended."""
    proved = await phone_codes.redeem(kit, phone_codes.LOGIN, attempt, client=client)
    phone = identifiers.phone(proved)
    opening = Opening(amr=["otp", "sms"], cookie=cookie)
    user_id: UUID | None = None
    try:
        async with kit.database.transaction() as db:
            user_id, reclaimed = await phones.owner_by_proof(db, kit, phone, client=client)
            created = user_id is None
            if user_id is None:
                new = Registration("", phone=phone, first_name=first_name, last_name=last_name)
                user_id = await _register(db, kit, new, client)
            pair = await admission.admit(db, kit, user_id, opening, client=client)
    except (InvalidCredentials, CountryBlocked, MfaRequired) as refusal:
        entry = Entry(action="sign_in.refused", result="refused", reason=refusal.code, subject_id=user_id)
        await audit.record_alone(kit.database, entry, client, now=kit.clock.now())
        if isinstance(refusal, InvalidCredentials):
            raise WrongCode from None
        raise
    if reclaimed is not None:
        await reclaiming.announce(kit, reclaimed)
    return pair, created


async def _register(db: AsyncSession, kit: Kit, new: Registration, client: Client) -> UUID:
    now = kit.clock.now()
    user = await accounts.create(db, new, None, now=now, standing=_NEWCOMER)
    await outbox.add(db, UserRegistered(profile=users.profile(user)), now)
    entry = Entry(action="account.created", actor_id=user.id, subject_id=user.id, data={"by": "phone_code"})
    await audit.record(db, entry, client, now=now)
    return user.id
