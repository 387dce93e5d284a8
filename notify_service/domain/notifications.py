"""The inbox."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
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

_HERE = Notification.snoozed_until.is_(None)
_UNREAD = (Notification.read_at.is_(None), Notification.archived_at.is_(None), _HERE)
# What a client may switch, and the column that says since when.
FLAGS = {
    "is_read": "read_at",
    "is_seen": "seen_at",
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of an inbox."""

    is_read: bool | None
    is_snoozed: bool
    category: str | None


def visible_to(user_id: UUID) -> Select[Notification]:
    return select(Notification).where(Notification.user_id == user_id)


async def page(
    db: AsyncSession,
    user_id: UUID,
    *,
    wanted: Wanted,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Notification]:
    """What came last is first, whenever it was written; one more than `limit` if there are more."""
    key = (Notification.created_at, Notification.id)
    query = visible_to(user_id).order_by(*(column.desc() for column in key)).limit(limit + 1)
    query = query.where(~_HERE if wanted.is_snoozed else _HERE)
    if wanted.is_read is not None:
        query = query.where(Notification.read_at.is_not(None) if wanted.is_read else Notification.read_at.is_(None))
    if wanted.category is not None:
        query = query.where(Notification.category == wanted.category)
    if before is not None:
        query = query.where(tuple_(*key) < tuple_(*before))
    return (await db.scalars(query)).all()


async def unread_counts(db: AsyncSession, user_id: UUID) -> tuple[int, int]:
    """How many are unread, and how many of them were not even seen. Without archived ones, for what was put away
    unread is no news, and without those that are snoozed."""
    unseen = func.count().filter(Notification.seen_at.is_(None))
    query = select(func.count(), unseen).select_from(Notification).where(Notification.user_id == user_id, *_UNREAD)
    unread, not_seen = (await db.execute(query)).one()
    return unread, not_seen


async def read(db: AsyncSession, user_id: UUID, notification_id: UUID) -> Notification:
    return _found(await db.scalar(visible_to(user_id).where(Notification.id == notification_id)))


async def change(
    db: AsyncSession, user_id: UUID, notification_id: UUID, *, changes: Mapping[str, Any], now: datetime
) -> Notification:
    """`changes`: any of `FLAGS`, and `snoozed_until`. Switching on what is on keeps the time at which that happened."""
    query = visible_to(user_id).where(Notification.id == notification_id).with_for_update()
    notification = _found(await db.scalar(query))
    for flag, column in FLAGS.items():
        if flag in changes and getattr(notification, flag) != changes[flag]:
            setattr(notification, column, now if changes[flag] else None)
    if "snoozed_until" in changes:
        until = changes["snoozed_until"]
        notification.snoozed_until = until if until and until > now else None
    await db.flush()
    if changes.get("is_read"):
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


async def mark_all_seen(db: AsyncSession, user_id: UUID, now: datetime) -> int:
    """Returns how many nobody had seen."""
    marked = await db.scalars(
        update(Notification)
        .where(Notification.user_id == user_id, *_UNREAD, Notification.seen_at.is_(None))
        .values(seen_at=now)
        .returning(Notification.id)
        .execution_options(synchronize_session=False)
    )
    return len(marked.all())


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
