"""Rows that nobody needs any more."""

from datetime import timedelta

from sqlalchemy import delete

from auth_service.domain import devices, throttles
from auth_service.models import (
    Ceremony,
    Export,
    Location,
    OneTimeToken,
    PhoneCode,
    Quota,
    Revocation,
    Session,
    Throttle,
    User,
)
from libs.clock import Clock
from libs.db import Database
from libs.revocation import KEEP_SECONDS

# For so long a used link still says that it was used, and an ended session can be looked into.
_KEEP = timedelta(days=7)
# What a phone and an address may still do is counted over a day.
_KEEP_CODES = timedelta(days=2)
_KEEP_DEVICES = timedelta(days=365)


async def forget(database: Database, clock: Clock) -> None:
    """What is over for a week: links, sessions, registrations without a confirmation; codes of the day before
    yesterday; revocations of tokens that have expired since; what was begun and can be ended no more; what was counted
    and counts no longer; devices that did not come back."""
    now = clock.now()
    doomed = (
        delete(Location).where(Location.expires_at < now),
        delete(Export).where(Export.expires_at < now),
        delete(Quota).where(Quota.ends_at < now),
        delete(PhoneCode).where(PhoneCode.created_at < now - _KEEP_CODES),
        delete(Ceremony).where(Ceremony.expires_at < now),
        delete(OneTimeToken).where(OneTimeToken.expires_at < now - _KEEP),
        delete(Session).where(Session.expires_at < now - _KEEP),
        delete(User).where(User.status == "pending", User.created_at < now - _KEEP),
        delete(Revocation).where(
            Revocation.created_at < now - timedelta(seconds=KEEP_SECONDS), Revocation.published_at.is_not(None)
        ),
        delete(Throttle).where(Throttle.last_at < now - throttles.LONGEST_MEMORY),
    )
    for statement in doomed:
        # One transaction each: a long one would hold back the cleaning of PostgreSQL itself.
        async with database.transaction() as db:
            await db.execute(statement.execution_options(synchronize_session=False))
    async with database.transaction() as db:
        await devices.prune(db, before=now - _KEEP_DEVICES)
