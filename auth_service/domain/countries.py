"""The countries that an account may be used from, as its owner wants it."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, messages, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.errors import NotAllowed
from auth_service.models import User


async def choose(db: AsyncSession, kit: Kit, user_id: UUID, countries: Sequence[str] | None, *, client: Client) -> User:
    """None: all. Asked at every sign-in and refresh from now on. Raises NotAllowed for a list without the country that
    the owner is in, who would be locked out by it."""
    now = kit.clock.now()
    user = await users.myself(db, user_id, lock=True)
    chosen = None if countries is None else sorted(set(countries))
    if chosen is not None and client.country and client.country not in chosen:
        raise NotAllowed("allowed_countries", f"You are in {client.country}, which must be among them.")
    if chosen == user.allowed_countries:
        return user
    user.allowed_countries = chosen
    await users.save(db, user, now=now)
    entry = Entry(action="user.restricted", actor_id=user_id, subject_id=user_id, data={"countries": chosen})
    await audit.record(db, entry, client, now=now)
    await messages.mail(db, kit, user, "countries_changed")
    return user
