"""Which second factors somebody has, and whether they can sign in at all."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.errors import LastMethod

_METHODS = text(
    """
    SELECT EXISTS (SELECT FROM totp WHERE user_id = :user AND confirmed_at IS NOT NULL) AS totp,
        EXISTS (SELECT FROM passkeys WHERE user_id = :user) AS passkey,
        EXISTS (SELECT FROM recovery_codes WHERE user_id = :user AND used_at IS NULL) AS recovery_code
    """
)
_WAY_IN = text(
    """
    SELECT EXISTS (SELECT FROM passwords WHERE user_id = :user)
        OR EXISTS (SELECT FROM passkeys WHERE user_id = :user)
        OR EXISTS (SELECT FROM identities WHERE user_id = :user)
        OR EXISTS (SELECT FROM identifiers WHERE user_id = :user AND kind = 'phone' AND verified_at IS NOT NULL)
    """
)


async def methods(db: AsyncSession, user_id: UUID) -> list[str]:
    """Those that end a sign-in: `totp`, `passkey`, `recovery_code`. Empty for an account without a second factor;
    recovery codes alone are none."""
    row = (await db.execute(_METHODS, {"user": user_id})).one()
    if not (row.totp or row.passkey):
        return []
    return [method for method in ("totp", "passkey", "recovery_code") if getattr(row, method)]


async def require_way_in(db: AsyncSession, user_id: UUID) -> None:
    """After a removal, in its transaction: raises LastMethod when nothing is left to sign in with."""
    if not (await db.execute(_WAY_IN, {"user": user_id})).scalar_one():
        raise LastMethod
