"""Six digits that prove who reads a mailbox, where typing is easier than following a link.

For one purpose, once, within five minutes. Whoever checks one has counted the guess before.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import ceremonies, messages, quotas
from auth_service.domain.kit import Kit
from auth_service.errors import InvalidCode
from auth_service.models import User

_AN_HOUR = 5
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Purpose:
    """`kind` is the template of its mail."""

    kind: str


REAUTH = Purpose("reauth_code")
SIGN_IN = Purpose("sign_in_code")


async def send(db: AsyncSession, kit: Kit, user: User, purpose: Purpose) -> UUID:
    """Raises RateLimited after five an hour."""
    now = kit.clock.now()
    await quotas.take(db, f"{purpose.kind}:{user.id}", most=_AN_HOUR, window=_HOUR, now=now)
    code = f"{secrets.randbelow(10**6):06}"
    await messages.mail(db, kit, user, purpose.kind, secret=code)
    data = {"code": kit.cipher.encrypt(code, f"{purpose.kind}:{user.id}")}
    return await ceremonies.begin(db, purpose.kind, user_id=user.id, data=data, now=now)


async def redeem(kit: Kit, purpose: Purpose, ceremony_id: UUID, code: str, *, user_id: UUID) -> None:
    """Raises InvalidCode. A wrong code leaves the right one alive."""
    async with kit.database.transaction() as db:
        begun = await ceremonies.look(db, ceremony_id, purpose.kind, user_id=user_id, now=kit.clock.now())
    sent = kit.cipher.decrypt(begun.data["code"], f"{purpose.kind}:{user_id}") if begun else ""
    if not begun or not hmac.compare_digest(sent.encode(), code.encode()):
        raise InvalidCode
    if await ceremonies.take(kit.database, ceremony_id, purpose.kind, user_id=user_id, now=kit.clock.now()) is None:
        raise InvalidCode
