"""Links that prove who reads a mailbox. A link is followed by posting its token: opening it changes nothing, so that a
mail scanner which opens every link confirms nothing."""

import hashlib
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import messages
from auth_service.domain.kit import Kit
from auth_service.errors import AlreadyVerified, InvalidCode, LinkSpent, NoEmail
from auth_service.models import OneTimeToken, User
from libs.errors import RateLimited
from libs.ids import uuid7

PURPOSE = "verify_email"
LIFETIME = timedelta(hours=24)
_TOKEN_BYTES = 32
_LINKS_AN_HOUR = 5
_HOUR = timedelta(hours=1)


async def send_link(db: AsyncSession, kit: Kit, user: User) -> None:
    """Asks notify for a mail with a new link; earlier links stay good, for mails overtake one another."""
    email = user.identifier("email")
    if email is None:
        raise NoEmail
    now = kit.clock.now()
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    row = {
        "id": uuid7(),
        "user_id": user.id,
        "purpose": PURPOSE,
        "hash": _digest(token),
        "target": email.value_norm,
        "created_at": now,
        "expires_at": now + LIFETIME,
    }
    await db.execute(insert(OneTimeToken).values(row))
    await messages.mail(db, kit, user, "verify_email", secret=token)


async def send_again(db: AsyncSession, kit: Kit, user: User) -> None:
    """At most five links an hour, so that nobody fills a mailbox that is perhaps not theirs."""
    if user.email_verified:
        raise AlreadyVerified
    # Held until the commit: two requests at once must not both find room for one more.
    await db.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
    now = kit.clock.now()
    recent = select(func.count(), func.min(OneTimeToken.created_at)).where(
        OneTimeToken.user_id == user.id, OneTimeToken.purpose == PURPOSE, OneTimeToken.created_at > now - _HOUR
    )
    sent, first = (await db.execute(recent)).one()
    if sent >= _LINKS_AN_HOUR:
        raise RateLimited(int((first + _HOUR - now).total_seconds()) + 1)
    await send_link(db, kit, user)


async def send_account_exists(db: AsyncSession, kit: Kit, user: User) -> None:
    """Tells the owner of an address that somebody has tried to register with it."""
    await messages.mail(db, kit, user, "account_exists")


async def consume(db: AsyncSession, token: str, *, now: datetime) -> tuple[UUID, str]:
    """The user and the address that a link proves. Raises InvalidCode or LinkSpent; of two uses one succeeds."""
    wanted = OneTimeToken.hash == _digest(token), OneTimeToken.purpose == PURPOSE
    use = update(OneTimeToken).where(*wanted, OneTimeToken.used_at.is_(None), OneTimeToken.expires_at > now)
    used = await db.execute(use.values(used_at=now).returning(OneTimeToken.user_id, OneTimeToken.target))
    row = used.one_or_none()
    if row is not None:
        return row.user_id, row.target
    if await db.scalar(select(OneTimeToken.id).where(*wanted)) is None:
        raise InvalidCode
    raise LinkSpent


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
