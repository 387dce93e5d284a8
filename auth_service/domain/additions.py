"""What was added to an account lately: it goes with whoever had taken the account over.

Otherwise a thief who was found out comes back by an authenticator app, a passkey or an account elsewhere of their own,
and the owner cannot sign in because of them.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain import factors, recovery_codes
from auth_service.models import (
    ApiToken,
    Device,
    ExternalIdentity,
    Passkey,
    RecoveryCode,
    Totp,
)

# Who takes an account over makes sure of it first, and then changes where it is reached.
_BEFORE = timedelta(days=1)
_KEYS = (
    (Totp, Totp.created_at),
    (Passkey, Passkey.created_at),
    (RecoveryCode, RecoveryCode.created_at),
    (ExternalIdentity, ExternalIdentity.linked_at),
    (Device, Device.created_at),
)


async def remove(db: AsyncSession, user_id: UUID, *, changed_at: datetime, now: datetime) -> None:
    """Of a locked account. Tokens of programs end, whenever they were made."""
    for table, added_at in _KEYS:
        added = delete(table).where(table.user_id == user_id, added_at >= changed_at - _BEFORE)
        await db.execute(added.execution_options(synchronize_session=False))
    if not await factors.methods(db, user_id):
        await recovery_codes.forget(db, user_id)
    tokens = update(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
    await db.execute(tokens.values(revoked_at=now).execution_options(synchronize_session=False))
