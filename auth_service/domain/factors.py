"""Which second factors somebody has."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_METHODS = text(
    """
    SELECT EXISTS (SELECT FROM totp WHERE user_id = :user AND confirmed_at IS NOT NULL) AS totp,
        EXISTS (SELECT FROM passkeys WHERE user_id = :user) AS passkey,
        EXISTS (SELECT FROM recovery_codes WHERE user_id = :user AND used_at IS NULL) AS recovery_code
    """
)


async def methods(db: AsyncSession, user_id: UUID) -> list[str]:
    """Those that end a sign-in: `totp`, `passkey`, `recovery_code`. Empty for an account without a second factor;
    recovery codes alone are none."""
    row = (await db.execute(_METHODS, {"user": user_id})).one()
    if not (row.totp or row.passkey):
        return []
    return [method for method in ("totp", "passkey", "recovery_code") if getattr(row, method)]
