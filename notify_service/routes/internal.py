"""What other services may ask."""

from fastapi import APIRouter

from libs.auth import CallingService
from libs.contracts.notifications import ReadAsked, ReadDone
from libs.deps import Db, Now
from libs.errors import NotFound
from notify_service.deps import Outside
from notify_service.domain import notifications
from notify_service.schemas import inbox as schemas

router = APIRouter(prefix="/internal", include_in_schema=False)


@router.post("/notifications/read")
async def mark_read_elsewhere(
    body: ReadAsked, db: Db, _service: CallingService, clock: Now, *, outside: Outside
) -> ReadDone:
    """Marks a notification as read, for a user who has said so on a socket."""
    flags = {"is_read": True}
    try:
        changed = await notifications.change(db, body.user_id, body.notification_id, changes=flags, now=clock.now())
    except NotFound:
        return ReadDone(found=False)
    outside.signals.live(db, body.user_id, schemas.notification_json(changed))
    return ReadDone(found=True)
