from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from libs.auth import CurrentUser
from libs.deps import Db, Now
from libs.errors import Unavailable
from libs.idempotency import OnceOnly
from libs.paging import Page, PageRequest, keyset
from libs.shapes import Text
from notify_service.deps import STAFF, Outside
from notify_service.domain import notifications, profiles, scheduled
from notify_service.domain.channels.inapp import NO_USER
from notify_service.domain.drafts import Draft
from notify_service.errors import NoSuchUser, NotYourself
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
    """Puts a notification into an inbox: your own, or for staff anybody's. With `scheduled_at` it comes at that time,
    with the id that it has already; until then all that can be done is that you remove it."""
    user_id = body.user or me.user_id
    own = user_id == me.user_id
    if not own and STAFF.isdisjoint(me.roles):
        raise NotYourself
    given = body.model_dump(exclude={"user", "scheduled_at", "extra_data"})
    draft = Draft(user_id=user_id, data=body.extra_data, **given)
    at = body.scheduled_at if body.scheduled_at and body.scheduled_at > clock.now() else None
    if at is None and not once.asked:
        # Nothing else is to be true with it, and somebody waits for it.
        return schemas.Notification.model_validate(_there(await outside.inboxes.create(draft, own=own)))

    async def make() -> schemas.Notification:
        if not own and not await profiles.find(db, [user_id], outside.ask):
            raise NoSuchUser
        if at is not None:
            made = await scheduled.schedule(db, draft, owner=str(me.user_id), at=at, clock=clock)
            return schemas.Notification.model_validate(made)
        (created,) = await notifications.create(db, [draft], clock.now())
        outside.signals.live(db, user_id, schemas.notification_json(created))
        return schemas.Notification.model_validate(created)

    return await once(body, make, schemas.Notification)


@router.get("", response_model=Page[schemas.Notification])
async def list_notifications(
    db: Db,
    me: CurrentUser,
    *,
    paging: Annotated[PageRequest, keyset(datetime, UUID)],
    is_read: bool | None = None,
    is_snoozed: bool = False,
    category: Annotated[Text | None, Query(max_length=40)] = None,
) -> Page[Any]:
    """Your inbox: what came last is first. With `is_snoozed` what is to come back."""
    wanted = notifications.Wanted(is_read, is_snoozed, category)
    rows = await notifications.page(db, me.user_id, wanted=wanted, before=paging.key, limit=paging.limit)
    return paging.page(rows, lambda row: (row.created_at, row.id))


@router.get("/unread_count")
async def count_unread(db: Db, me: CurrentUser) -> schemas.UnreadCount:
    """How many are neither read nor archived nor snoozed."""
    unread, unseen = await notifications.unread_counts(db, me.user_id)
    return schemas.UnreadCount(unread_count=unread, unseen_count=unseen)


@router.post("/mark_all_seen")
async def mark_all_seen(db: Db, me: CurrentUser, clock: Now) -> schemas.AllMarkedSeen:
    """Says that you have looked at your inbox: nothing in it is unseen. It stays unread."""
    marked = await notifications.mark_all_seen(db, me.user_id, clock.now())
    return schemas.AllMarkedSeen(notifications_marked=marked)


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
    """Switches its marks, or lets it come back later. What you leave out stays."""
    changed = await notifications.change(db, me.user_id, notification_id, changes=body.changes, now=clock.now())
    outside.signals.live(db, me.user_id, schemas.notification_json(changed))
    return changed


@router.delete("/{notification_id:uuid}", status_code=204)
async def delete_notification(notification_id: UUID, db: Db, *, me: CurrentUser, clock: Now, outside: Outside) -> None:
    """Removes it for good; one of yours that is yet to come is taken back."""
    await notifications.remove(db, me.user_id, notification_id, clock.now())
    outside.signals.live(db, me.user_id)


def _there(outcome: Notification | str) -> Notification:
    if outcome == NO_USER:
        raise NoSuchUser
    if isinstance(outcome, str):
        raise Unavailable
    return outcome
