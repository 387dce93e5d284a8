"""Links that confirm the e-mail address of an account."""

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import links, messages
from auth_service.domain.kit import Kit
from auth_service.errors import AlreadyVerified, NoEmail
from auth_service.models import OneTimeToken, User
from libs.errors import RateLimited

_LINKS_AN_HOUR = 5
_HOUR = timedelta(hours=1)


async def send_link(db: AsyncSession, kit: Kit, user: User) -> None:
    """Asks notify for a mail with a new link; earlier links stay good, for mails overtake one another."""
    email = user.identifier("email")
    if email is None:
        raise NoEmail
    token = await links.issue(db, links.VERIFY_EMAIL, user.id, target=email.value_norm, now=kit.clock.now())
    await messages.mail(db, kit, user, "verify_email", secret=token)


async def send_again(db: AsyncSession, kit: Kit, user: User) -> None:
    """At most five links an hour, so that nobody fills a mailbox that is perhaps not theirs."""
    if user.email_verified:
        raise AlreadyVerified
    # Held until the commit: two requests at once must not both find room for one more.
    await db.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
    now = kit.clock.now()
    ours = OneTimeToken.user_id == user.id, OneTimeToken.purpose == links.VERIFY_EMAIL.name
    recent = select(func.count(), func.min(OneTimeToken.created_at)).where(*ours, OneTimeToken.created_at > now - _HOUR)
    sent, first = (await db.execute(recent)).one()
    if sent >= _LINKS_AN_HOUR:
        raise RateLimited(int((first + _HOUR - now).total_seconds()) + 1)
    await send_link(db, kit, user)


async def send_account_exists(db: AsyncSession, kit: Kit, user: User) -> None:
    """Tells the owner of an address that somebody has tried to register with it."""
    await messages.mail(db, kit, user, "account_exists")
