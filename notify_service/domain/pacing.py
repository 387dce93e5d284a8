"""What becomes of new messages by the rules of their categories."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from notify_service.domain import categories, digests, throttles
from notify_service.domain.categories import Rule
from notify_service.domain.orders import Order


async def paced(db: AsyncSession, wanted: Sequence[Order], now: datetime) -> list[Order]:
    """Some wait for their digest, some are too many, and all others go as they are. In the same order."""
    return await by_rules(db, wanted, await categories.among(db, {order.category for order in wanted}), now)


async def by_rules(db: AsyncSession, wanted: Sequence[Order], rules: Mapping[str, Rule], now: datetime) -> list[Order]:
    """The same by the rules of their categories, where there are any."""
    if not rules:
        return list(wanted)
    return await throttles.admit(db, await digests.collect(db, wanted, rules, now), rules, now)
