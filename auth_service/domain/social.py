"""Signing in with an account elsewhere: whose account of ours it opens, and when it makes one.

An identity is known by the provider and its own id there. Only when it is seen for the first time does its address
matter, and then only if the provider vouches for it (Facebook never does). An address without that opens nothing: the
new account goes without it where somebody has it already.
"""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import (
    accounts,
    admission,
    audit,
    identifiers,
    identities,
    oauth,
    reclaiming,
    sessions,
    users,
    verification,
    visits,
)
from auth_service.domain.accounts import Registration, Standing
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.identifiers import Name
from auth_service.domain.kit import Kit
from auth_service.domain.oauth import Claimed, Grant
from auth_service.domain.reclaiming import Reclaimed
from auth_service.domain.sessions import Opening
from auth_service.domain.tokens import Pair
from auth_service.errors import (
    CountryBlocked,
    EmailTaken,
    FacebookIncomplete,
    FacebookRefused,
    InvalidCredentials,
    NotAllowed,
)
from auth_service.models import ExternalIdentity, User
from libs import outbox
from libs.contracts.accounts import UserRegistered

# Somebody else has checked who it is; by what means we do not know.
_METHODS = ("fed",)


async def sign_in_with_visit(kit: Kit, code: str, browser: str | None, client: Client, *, cookie: bool = False) -> Pair:
    return await sign_in(kit, await visits.redeem(kit, code, browser), client, cookie=cookie)


async def sign_in_with_code(kit: Kit, name: str, grant: Grant, client: Client) -> Pair:
    """For a program that has made the visit itself, with a verifier and a nonce of its own."""
    visits.require_return(kit, grant.redirect_uri, field="redirect_uri")
    provider = kit.providers.get(name)
    return await sign_in(kit, await oauth.in_time(provider.config, provider.identify(grant)), client)


async def sign_in_with_facebook_code(kit: Kit, code: str, redirect_uri: str, client: Client, *, family: str) -> Pair:
    """`code` is an access token of our app, or else an authorization code. Raises FacebookRefused, those derived
    from it, and what `admit` raises."""
    if not code or not redirect_uri:
        raise FacebookIncomplete
    facebook = kit.providers.facebook()
    if facebook is None:
        raise FacebookRefused
    return await sign_in(kit, await facebook.identify_either(code, redirect_uri), client, family=family)


async def sign_in(
    kit: Kit, claimed: Claimed, client: Client, *, family: str = "canonical", cookie: bool = False
) -> Pair:
    """Raises what `admit` raises. Who it is stays settled then: only the session is refused."""
    try:
        user_id = await _settle(kit, claimed, client)
    except EmailTaken:
        # Somebody has registered with the address in between; now there is an account to look at.
        user_id = await _settle(kit, claimed, client)
    opening = Opening(amr=_METHODS, family=family, cookie=cookie)
    try:
        async with kit.database.transaction() as db:
            await users.take_turn(db, user_id)
            await identities.require(db, claimed, user_id)
            return await admission.admit(db, kit, user_id, opening, client=client)
    except (InvalidCredentials, CountryBlocked) as refusal:
        entry = Entry(action="sign_in.refused", result="refused", reason=refusal.code, subject_id=user_id)
        await audit.record_alone(kit.database, entry, client, now=kit.clock.now())
        raise


async def link(
    kit: Kit, user_id: UUID, code: str, browser: str | None, *, session_id: UUID, client: Client
) -> ExternalIdentity:
    """Ends a visit that this user has begun. Raises what `redeem` raises, IdentityTaken, and TokenRevoked when the
    session has ended while the provider was asked."""
    claimed = await visits.redeem(kit, code, browser, user_id=user_id)
    async with kit.database.transaction() as db:
        # Before the account is locked, as signing in does it, or the two would wait for each other.
        await identities.take_turn(db, claimed)
        user = await users.myself(db, user_id, lock=True)
        await sessions.hold(db, user_id, session_id)
        return await identities.link(db, kit, user, claimed, client=client)


async def _settle(kit: Kit, claimed: Claimed, client: Client) -> UUID:
    reclaimed: Reclaimed | None = None
    async with kit.database.transaction() as db:
        user_id = await identities.owner(db, kit, claimed)
        if user_id is None:
            user_id, reclaimed = await _first_time(db, kit, claimed, client=client)
    if reclaimed is not None:
        await reclaiming.announce(kit, reclaimed)
    return user_id


async def _first_time(db: AsyncSession, kit: Kit, claimed: Claimed, *, client: Client) -> tuple[UUID, Reclaimed | None]:
    email = _address(claimed)
    user = await _holder(db, email) if email and claimed.email_verified else None
    if user is None or email is None:
        return await _open_account(db, kit, claimed, email, client=client), None
    if user.status not in ("active", "pending"):
        # Left as it is; `admit` says no.
        return user.id, None
    reclaimed = None
    if not user.email_verified:
        reclaimed = await reclaiming.reclaim(db, kit, user, email, client=client)
        if reclaimed is None:
            return await _open_account(db, kit, claimed, email, client=client), None
    await identities.link(db, kit, user, claimed, client=client)
    return user.id, reclaimed


async def _holder(db: AsyncSession, email: Name) -> User | None:
    user_id = await identifiers.owner(db, email)
    user = await users.find(db, user_id, lock=True) if user_id else None
    found = user.identifier("email") if user else None
    return user if found is not None and found.value_norm == email.norm else None


async def _open_account(db: AsyncSession, kit: Kit, claimed: Claimed, email: Name | None, *, client: Client) -> UUID:
    if not claimed.email_verified and email is not None and not await _may_claim(db, kit, email):
        email = None
    new = Registration(email=email, first_name=claimed.first_name, last_name=claimed.last_name)
    now = kit.clock.now()
    user = await accounts.create(db, new, None, now=now, standing=Standing(email_verified=claimed.email_verified))
    await outbox.add(db, UserRegistered(profile=users.profile(user)), now)
    if email is not None and not claimed.email_verified:
        await verification.send_link(db, kit, user)
    await identities.add(db, kit, user.id, claimed, client=client)
    entry = Entry(action="account.created", actor_id=user.id, subject_id=user.id, data={"by": claimed.provider})
    await audit.record(db, entry, client, now=now)
    return user.id


async def _may_claim(db: AsyncSession, kit: Kit, email: Name) -> bool:
    """An address that nobody vouches for is taken like one that is typed at registration. Where addresses must be
    confirmed first nobody has one before; so this way tells nobody either which are known."""
    return not kit.must_verify and await identifiers.owner(db, email) is None


def _address(claimed: Claimed) -> Name | None:
    try:
        return identifiers.email(claimed.email) if claimed.email else None
    except NotAllowed:
        return None
