"""The one way in: whatever proved who somebody is, a session begins here or does not begin."""

from dataclasses import replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import deletion, devices, factors, familiarity, sessions, users
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.domain.sessions import Opening
from auth_service.domain.tokens import Pair
from auth_service.errors import CountryBlocked, EmailNotVerified, InvalidCredentials, MfaRequired
from auth_service.models import User


async def admit(db: AsyncSession, kit: Kit, user_id: UUID, opening: Opening, *, client: Client) -> Pair:
    """Raises InvalidCredentials for an account that is gone or suspended, EmailNotVerified, CountryBlocked, and
    MfaRequired, with a token that only the second factor can spend, when one is set up and was not shown, or when a
    password alone does not do for where it comes from."""
    # Locked, so that a change of roles comes wholly before this or finds the token that it must outdate.
    user = await users.find(db, user_id, lock=True)
    if user is None or user.status not in ("active", "pending"):
        raise InvalidCredentials
    if user.status == "pending":
        raise EmailNotVerified
    _require_country(user, client)
    if opening.aal < 2:
        methods = await factors.methods(db, user.id)
        if methods:
            raise MfaRequired(kit.mint.pending(user.id, opening), methods)
        if await _is_strange(db, kit, user, opening, client=client):
            raise MfaRequired(kit.mint.pending(user.id, opening), ["mailed_code"])
    return await begin(db, kit, user, opening, client=client)


async def begin(db: AsyncSession, kit: Kit, user: User, opening: Opening, *, client: Client) -> Pair:
    """The owner's session, on a device that the account knows from now on. Whoever was about to leave stays."""
    if user.deletion_at is not None:
        user = await deletion.take_back(db, user.id, client=client, now=kit.clock.now())
    device = await devices.remember(db, user.id, client, now=kit.clock.now())
    news = await familiarity.news(db, kit, user.id, client, known_device=device.token is None)
    if news.device or news.country:
        await familiarity.tell(db, kit, user, client)
    opening = replace(opening, device_id=device.id)
    pair = await sessions.start(db, kit, users.holder(user), opening, client=client)
    return replace(pair, device_token=device.token)


def _require_country(user: User, client: Client) -> None:
    """An account may be bound to countries. A place that no database knows is let in: its owner would be locked out."""
    if user.allowed_countries is not None and client.country and client.country not in user.allowed_countries:
        raise CountryBlocked(client.country)


async def _is_strange(db: AsyncSession, kit: Kit, user: User, opening: Opening, *, client: Client) -> bool:
    """A password alone, from a country that is new to the account. Who has no confirmed address is let in: there is
    nowhere to send a code to."""
    if kit.adaptive != "step_up" or list(opening.amr) != ["pwd"] or not user.email_verified:
        return False
    return (await familiarity.news(db, kit, user.id, client, known_device=True)).country
