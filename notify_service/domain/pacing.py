"""What becomes of new messages by the rules of their categories."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain import categories, digests, throttles
from notify_service.domain.orders import Order


async def paced(db: AsyncSession, wanted: Sequence[Order], now: datetime) -> list[Order]:
    """Some wait for their digest, some are too many, and all others go as they are. In the same order."""
    rules = await categories.among(db, {order.category for order in wanted})
    if not rules:
        return list(wanted)
    return await throttles.admit(db, await digests.collect(db, wanted, rules, now), rules, now)
