"""What became of messages, for those who sent them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from libs.errors import NotFound
from notify_service.domain import happenings
from notify_service.errors import TooLate
from notify_service.models import Batch, Delivery, DeliveryAttempt

_WAITING = Delivery.state.in_(("collected", "queued", "retry", "claimed"))
# The fence says to who has claimed it that it is nobody's any more.
_CANCELLED = {
    "state": "cancelled",
    "reason": "cancelled",
    "lease_until": None,
    "follow_at": None,
    "digest_id": None,
    "secret": None,
    "fence": Delivery.fence + 1,
    "updated_at": func.now(),
}


async def batch(db: AsyncSession, owner: str, batch_id: UUID) -> tuple[Batch, dict[str, int]]:
    """With how many of its deliveries are in which state. Somebody else's does not exist."""
    found = await db.scalar(select(Batch).where(Batch.id == batch_id, Batch.owner == owner))
    if found is None:
        raise NotFound
    query = select(Delivery.state, func.count()).where(Delivery.batch_id == batch_id).group_by(Delivery.state)
    counts: dict[str, int] = {}
    for state, count in await db.execute(query):
        shown = "queued" if state == "claimed" else state
        counts[shown] = counts.get(shown, 0) + count
    return found, counts


def of_batch(owner: str, batch_id: UUID, state: str | None, reason: str | None = None) -> Select[Delivery]:
    query = select(Delivery).where(Delivery.batch_id == batch_id, Delivery.owner == owner)
    if state is not None:
        query = query.where(Delivery.state.in_(("queued", "claimed") if state == "queued" else (state,)))
    if reason is not None:
        query = query.where(Delivery.reason == reason)
    return query


async def page(db: AsyncSession, query: Select[Delivery], *, before: UUID | None, limit: int) -> Sequence[Delivery]:
    """Newest first, one more than `limit` if there are more."""
    query = query.order_by(Delivery.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(Delivery.id < before)
    return (await db.scalars(query)).all()


async def one(db: AsyncSession, user_id: UUID, delivery_id: UUID) -> tuple[Delivery, Sequence[DeliveryAttempt]]:
    """A delivery to, or of, this user, with its attempts. Attempts are shown to who sent it alone."""
    mine = or_(Delivery.user_id == user_id, Delivery.owner == str(user_id))
    found = await db.scalar(select(Delivery).where(Delivery.id == delivery_id, mine))
    if found is None:
        raise NotFound
    if found.owner != str(user_id):
        return found, ()
    query = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery_id).order_by(DeliveryAttempt.fence)
    return found, (await db.scalars(query)).all()


async def cancel(db: AsyncSession, owner: str, delivery_id: UUID) -> None:
    """Before its first byte has left; whoever has claimed it finds it gone. Raises NotFound and TooLate."""
    query = select(Delivery.id).where(Delivery.id == delivery_id, Delivery.owner == owner)
    if await db.scalar(query) is None:
        raise NotFound
    if not await _cancel(db, Delivery.id == delivery_id):
        raise TooLate


async def cancel_batch(db: AsyncSession, owner: str, batch_id: UUID) -> int:
    """All of it that has not left. Returns how many."""
    await batch(db, owner, batch_id)
    return await _cancel(db, Delivery.batch_id == batch_id)


async def resume_batch(db: AsyncSession, owner: str, batch_id: UUID) -> None:
    """Lets a batch go on that a provider's word has put on hold; what somebody has put on hold stays so."""
    await batch(db, owner, batch_id)
    mine = update(Batch).where(Batch.id == batch_id, Batch.hold_reason.is_not(None))
    released = mine.values(held=False, hold_reason=None).execution_options(synchronize_session="fetch")
    await db.execute(released)


async def _cancel(db: AsyncSession, which: ColumnElement[bool]) -> int:
    statement = update(Delivery).where(which, _WAITING).values(_CANCELLED).returning(Delivery.id)
    cancelled = (await db.scalars(statement.execution_options(synchronize_session=False))).all()
    await happenings.ended(db, cancelled)
    return len(cancelled)
