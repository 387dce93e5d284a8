from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.idempotency import OnceOnly
from libs.paging import Page
from libs.shapes import Text
from notify_service.deps import STAFF, Outside, Paging
from notify_service.domain import notifications, profiles
from notify_service.errors import NoSuchUser, NotSupported, NotYourself
from notify_service.models import Notification
from notify_service.schemas import inbox as schemas

router = APIRouter(prefix="/api/v1/notifications", tags=["notifications"])


@router.post("", status_code=201, response_model=schemas.Notification)
async def create_notification(
    body: schemas.NotificationCreate,
    db: Db,
    *,
    me: CurrentUser,
    clock: Now,
    once: OnceOnly,
    outside: Outside,
) -> schemas.Notification:
    """Puts a notification into an inbox: your own, or for staff anybody's."""
    user_id = body.user or me.user_id
    if user_id != me.user_id and STAFF.isdisjoint(me.roles):
        raise NotYourself
    if body.scheduled_at is not None:
        raise NotSupported("scheduled_at is not supported yet.")

    async def make() -> schemas.Notification:
        if user_id != me.user_id and not await profiles.find(db, [user_id], outside.ask):
            raise NoSuchUser
        given = body.model_dump(exclude={"user", "scheduled_at", "extra_data"})
        draft = notifications.Draft(user_id=user_id, data=body.extra_data, **given)
        (created,) = await notifications.create(db, [draft], clock.now())
        outside.signals.live(db, user_id, schemas.notification_json(created))
        return schemas.Notification.model_validate(created)

    return await once(body, make, schemas.Notification)


@router.get("", response_model=Page[schemas.Notification])
async def list_notifications(
    db: Db,
    me: CurrentUser,
    *,
    paging: Paging,
    is_read: bool | None = None,
    category: Annotated[Text | None, Query(max_length=40)] = None,
) -> Page[Any]:
    """Your inbox, newest first."""
    rows = await notifications.page(
        db, me.user_id, is_read=is_read, category=category, before=paging.id, limit=paging.paging.limit
    )
    return paging.paging.page(rows, lambda row: (str(row.id),))


@router.get("/unread_count")
async def count_unread(db: Db, me: CurrentUser) -> schemas.UnreadCount:
    """How many are neither read nor archived."""
    return schemas.UnreadCount(unread_count=await notifications.unread_count(db, me.user_id))


@router.post("/mark_all_read")
async def mark_all_read(db: Db, me: CurrentUser, clock: Now, outside: Outside) -> schemas.AllMarkedRead:
    """Marks everything in your inbox as read."""
    marked = await notifications.mark_all_read(db, me.user_id, clock.now())
    outside.signals.live(db, me.user_id)
    return schemas.AllMarkedRead(notifications_marked=marked)


@router.get("/{notification_id:uuid}", response_model=schemas.Notification)
async def read_notification(notification_id: UUID, db: Db, me: CurrentUser) -> Notification:
    """One notification of yours. Looking at it does not mark it as read."""
    return await notifications.read(db, me.user_id, notification_id)


@router.patch("/{notification_id:uuid}", response_model=schemas.Notification)
async def change_notification(
    notification_id: UUID,
    body: schemas.NotificationUpdate,
    db: Db,
    *,
    me: CurrentUser,
    clock: Now,
    outside: Outside,
) -> Notification:
    """Switches its marks. What you leave out stays."""
    changed = await notifications.change(db, me.user_id, notification_id, flags=body.flags, now=clock.now())
    outside.signals.live(db, me.user_id, schemas.notification_json(changed))
    return changed


@router.delete("/{notification_id:uuid}", status_code=204)
async def delete_notification(notification_id: UUID, db: Db, me: CurrentUser, outside: Outside) -> None:
    """Removes it for good."""
    await notifications.remove(db, me.user_id, notification_id)
    outside.signals.live(db, me.user_id)
