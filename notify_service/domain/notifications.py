"""The inbox."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from libs import outbox
from libs.contracts.notifications import NotificationCreated
from libs.errors import NotFound
from libs.ids import uuid7
from notify_service.domain import readings, scheduled
from notify_service.domain.drafts import Draft
from notify_service.models import Notification

_UNREAD = (Notification.read_at.is_(None), Notification.archived_at.is_(None))
# What a client may switch, and the column that says since when.
FLAGS = {
    "is_read": "read_at",
    "is_archived": "archived_at",
    "is_clicked": "clicked_at",
    "is_dismissed": "dismissed_at",
}


async def create(db: AsyncSession, drafts: Sequence[Draft], now: datetime) -> Sequence[Notification]:
    """Puts them into their inboxes and announces each. Left out: those whose occasion the user was told of before, and
    those that are there already."""
    if not drafts:
        return []
    rows = [{**asdict(draft), "id": draft.id or uuid7(), "created_at": now} for draft in drafts]
    statement = insert(Notification).on_conflict_do_nothing().returning(Notification)
    created = (await db.scalars(statement, rows)).all()
    events = [
        NotificationCreated(notification_id=each.id, user_id=each.user_id, category=each.category) for each in created
    ]
    await outbox.add_all(db, events, now)
    return created


def visible_to(user_id: UUID) -> Select[Notification]:
    return select(Notification).where(Notification.user_id == user_id)


async def page(
    db: AsyncSession,
    user_id: UUID,
    *,
    is_read: bool | None,
    category: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Notification]:
    """What came last is first, whenever it was written; one more than `limit` if there are more."""
    key = (Notification.created_at, Notification.id)
    query = visible_to(user_id).order_by(*(column.desc() for column in key)).limit(limit + 1)
    if is_read is not None:
        query = query.where(Notification.read_at.is_not(None) if is_read else Notification.read_at.is_(None))
    if category is not None:
        query = query.where(Notification.category == category)
    if before is not None:
        query = query.where(tuple_(*key) < tuple_(*before))
    return (await db.scalars(query)).all()


async def unread_count(db: AsyncSession, user_id: UUID) -> int:
    """Without archived ones: what was put away unread is no news."""
    query = select(func.count()).select_from(Notification).where(Notification.user_id == user_id, *_UNREAD)
    return await db.scalar(query) or 0


async def read(db: AsyncSession, user_id: UUID, notification_id: UUID) -> Notification:
    return _found(await db.scalar(visible_to(user_id).where(Notification.id == notification_id)))


async def change(
    db: AsyncSession, user_id: UUID, notification_id: UUID, *, flags: Mapping[str, bool], now: datetime
) -> Notification:
    """Switching on what is on keeps the time at which that happened."""
    query = visible_to(user_id).where(Notification.id == notification_id).with_for_update()
    notification = _found(await db.scalar(query))
    for flag, wanted in flags.items():
        if getattr(notification, flag) != wanted:
            setattr(notification, FLAGS[flag], now if wanted else None)
    await db.flush()
    if flags.get("is_read"):
        await readings.mark(db, [notification_id], now)
    return notification


async def mark_all_read(db: AsyncSession, user_id: UUID, now: datetime) -> int:
    """Returns how many were unread."""
    marked = await db.scalars(
        update(Notification)
        .where(Notification.user_id == user_id, *_UNREAD)
        .values(read_at=now)
        .returning(Notification.id)
        .execution_options(synchronize_session=False)
    )
    found = marked.all()
    await readings.mark(db, found, now)
    return len(found)


async def remove(db: AsyncSession, user_id: UUID, notification_id: UUID, now: datetime) -> None:
    """One of this user's, who has seen it then; or takes back one that this user has asked for and that is yet to come.
    Raises NotFound, and TooLate for one that comes at this very moment."""
    removed = await db.scalar(
        delete(Notification)
        .where(Notification.user_id == user_id, Notification.id == notification_id)
        .returning(Notification.id)
    )
    if removed is None:
        await scheduled.take_back(db, str(user_id), notification_id)
    else:
        await readings.mark(db, [notification_id], now)


def _found(notification: Notification | None) -> Notification:
    if notification is None:
        raise NotFound
    return notification
