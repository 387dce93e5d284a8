"""What is new about a sign-in, for its owner to know: another device in another place, or another country.

Known from the audit log: the sign-ins of the last 90 days, and the last one, however long ago. There is no impossible
travel: of an address we know the country, not the place.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import messages
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from auth_service.models import User
from libs.clock import rfc3339

_MEMORY = timedelta(days=90)
_DEVICE_CHARS = 100

_SEEN = text(
    """
    SELECT count(*) > 0 AS before,
        coalesce(bool_or(country = :country), false) AS country,
        coalesce(bool_or(country IS NOT NULL), false) AS countries,
        coalesce(bool_or(user_agent IS NOT DISTINCT FROM :user_agent
            AND CAST(ip AS inet) <<= CAST(:network AS inet)), false) AS like_this
    FROM (
        SELECT country, user_agent, ip, at, row_number() OVER (ORDER BY id DESC) AS place FROM audit
        WHERE subject_id = :user AND actor_id = :user AND action = 'session.started'
        ORDER BY id DESC LIMIT :most
    ) AS sign_ins
    WHERE at > :since OR place = 1
    """
)
_MOST_SIGN_INS = 1000


@dataclass(frozen=True, slots=True)
class News:
    """`device`: a stranger to the account, and nothing like it was there before. `country`: never there before."""

    device: bool = False
    country: bool = False


async def news(db: AsyncSession, kit: Kit, user_id: UUID, client: Client, *, known_device: bool) -> News:
    """Nothing is new to an account that nobody has signed in to: then everything is, and its owner knows. A place that
    no database knows is no new country."""
    travels = kit.adaptive != "off" and client.country is not None
    if known_device and not travels:
        return News()
    values = {
        "user": user_id,
        "since": kit.clock.now() - _MEMORY,
        "country": client.country,
        "user_agent": client.user_agent or None,
        "network": client.surroundings,
        "most": _MOST_SIGN_INS,
    }
    seen = (await db.execute(_SEEN, values)).one()
    return News(
        device=not known_device and seen.before and not seen.like_this,
        country=travels and seen.countries and not seen.country,
    )


async def tell(db: AsyncSession, kit: Kit, user: User, client: Client) -> None:
    place = client.country or client.surroundings or "unknown"
    variables = {
        "device": client.user_agent[:_DEVICE_CHARS] or "unknown",
        "place": place,
        "time": rfc3339(kit.clock.now()),
    }
    await messages.mail(db, kit, user, "new_device", variables=variables)
