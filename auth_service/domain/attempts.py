"""How often somebody may guess at a short secret: five times a quarter of an hour, user and kind of secret."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import audit, messages, quotas, users
from auth_service.domain.audit import Entry
from auth_service.domain.clients import Client
from auth_service.domain.kit import Kit
from libs.errors import RateLimited

FACTOR = "factor"
REAUTH = "reauth"
_MOST = 5
_WINDOW = timedelta(minutes=15)
_GIVE_BACK = text("UPDATE quotas SET used = used - 1 WHERE key = :key AND used > 0")


async def take(kit: Kit, kind: str, user_id: UUID, *, client: Client) -> None:
    """Counted before the look, so that guesses which come at once are no more than five; a right one is given back.

    Raises RateLimited, and tells the owner once a window: whoever comes this far knows something else of theirs.
    """
    refused: RateLimited | None = None
    async with kit.database.transaction() as db:
        try:
            await quotas.take(db, _key(kind, user_id), most=_MOST, window=_WINDOW, now=kit.clock.now())
        except RateLimited as limited:
            refused = limited
            await _tell_owner(db, kit, kind, user_id, client=client)
    if refused is not None:
        raise refused


async def give_back(db: AsyncSession, kind: str, user_id: UUID) -> None:
    await db.execute(_GIVE_BACK, {"key": _key(kind, user_id)})


async def _tell_owner(db: AsyncSession, kit: Kit, kind: str, user_id: UUID, *, client: Client) -> None:
    now = kit.clock.now()
    if not await quotas.allows(db, _key(f"{kind}_told", user_id), most=1, window=_WINDOW, now=now):
        return
    user = await users.find(db, user_id)
    if user is None:
        return
    await messages.mail(db, kit, user, "factor_locked")
    entry = Entry(action="factor.locked", result="refused", reason=kind, actor_id=user_id, subject_id=user_id)
    await audit.record(db, entry, client, now=now)


def _key(kind: str, user_id: UUID) -> str:
    return f"{kind}:{user_id}"
