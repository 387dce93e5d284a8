"""Notifications for later. Until then each is a delivery like any other; the notification will have its id."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from libs.clock import Clock
from libs.errors import NotFound
from libs.ids import uuid7
from notify_service.domain import orders, sent
from notify_service.domain.drafts import TEMPLATE, Draft
from notify_service.domain.orders import INAPP, Order
from notify_service.models import Delivery, Notification

_COMING = ("queued", "retry", "claimed", "sending")


async def schedule(db: AsyncSession, draft: Draft, *, owner: str, at: datetime, clock: Clock) -> Notification:
    """Returns what it will be, which is not stored yet."""
    order = Order(
        id=uuid7(),
        owner=owner,
        channel=INAPP,
        account=INAPP,
        address=str(draft.user_id),
        category=draft.category,
        template=TEMPLATE,
        variables=draft.said,
        send_at=at,
    )
    await orders.order(db, [order], clock)
    return Notification(id=order.id, user_id=draft.user_id, created_at=at, **draft.said)


async def take_back(db: AsyncSession, owner: str, notification_id: UUID) -> None:
    """Raises NotFound, and TooLate for one that comes at this very moment."""
    query = select(Delivery.state).where(
        Delivery.id == notification_id, Delivery.owner == owner, Delivery.template == TEMPLATE
    )
    if await db.scalar(query) not in _COMING:
        raise NotFound
    await sent.cancel(db, owner, notification_id)
