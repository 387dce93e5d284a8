"""What a provider's refusal says beyond the message that it was given for."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain.channels import Effect
from notify_service.domain.suppressions import ALL

MARKETING = "marketing"
_SUPPRESS = text(
    """
    INSERT INTO suppression (channel, address, category, reason, created_at)
    SELECT DISTINCT channel, address, CAST(:category AS text), 'provider', now() FROM delivery WHERE id = ANY(:ids)
    ORDER BY channel, address
    ON CONFLICT (channel, address, category) DO UPDATE SET until = NULL
    """
)
_ASKED = text(
    """
    INSERT INTO suppression (channel, address, category, reason, created_at)
    SELECT channel, :address, :category, :reason, now() FROM account WHERE name = :account
    ON CONFLICT (channel, address, category) DO UPDATE SET until = NULL
    """
)
# What somebody has asked for elsewhere, or staff has set, is not the provider's to take back.
_LIFT = text(
    """
    DELETE FROM suppression USING account
    WHERE account.name = :account AND suppression.channel = account.channel AND address = ANY(:addresses)
        AND category = :category AND reason = 'provider'
    """
)
_HOLD = text(
    """
    UPDATE batch SET held = true, hold_reason = 'refused' WHERE NOT held AND id IN (
        SELECT batch_id FROM delivery WHERE id = ANY(:ids) AND batch_id IS NOT NULL)
    """
)
_STATEMENTS = {
    Effect.SUPPRESS: (_SUPPRESS, {"category": ALL}),
    Effect.OPT_OUT: (_SUPPRESS, {"category": MARKETING}),
    Effect.STOP_CAMPAIGN: (_HOLD, {}),
}


async def apply(db: AsyncSession, found: Iterable[tuple[UUID, Effect]]) -> None:
    """For deliveries, by id."""
    pairs = list(found)
    for effect, (statement, values) in _STATEMENTS.items():
        ids = [delivery for delivery, each in pairs if each is effect]
        if ids:
            await db.execute(statement, {**values, "ids": ids})


async def suppress(
    db: AsyncSession, account: str, address: str, effect: Effect, *, reason: str = "unsubscribe"
) -> None:
    """For somebody who has told an account that they want no more of it, or no marketing."""
    values = {"account": account, "address": address, "category": _category(effect), "reason": reason}
    await db.execute(_ASKED, values)


async def lift(db: AsyncSession, account: str, addresses: Sequence[str], effect: Effect) -> None:
    """For somebody who is back: takes away what the provider itself had told."""
    await db.execute(_LIFT, {"account": account, "addresses": list(addresses), "category": _category(effect)})


def _category(effect: Effect) -> str:
    return ALL if effect is Effect.SUPPRESS else MARKETING
