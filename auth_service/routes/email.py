"""Changing the e-mail address, and undoing that."""

from typing import Any

from fastapi import APIRouter, status

from auth_service.deps import Device, Tools, Unbroken
from auth_service.domain import email_change, identifiers
from auth_service.schemas.email import EmailChange, EmailChanged, EmailChangeRequested, EmailLink, EmailRestored
from libs.deps import Db

router = APIRouter(prefix="/api/v1", tags=["accounts"])
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "Nobody sent this link: `invalid_code`."},
    409: {"description": "Somebody else has the address by now."},
    410: {"description": "The link was used, has expired, or another change came first."},
}


@router.post("/users/me/email", status_code=status.HTTP_202_ACCEPTED)
async def change_email(*, body: EmailChange, me: Unbroken, db: Db, kit: Tools, device: Device) -> EmailChangeRequested:
    """Asks for another address, or for a first one: a link goes to it, and nothing changes before it is followed.

    The answer is the same for addresses that are taken; their owners get a mail. At most five an hour.
    """
    await email_change.request(db, kit, me.user_id, identifiers.email(body.email), client=device)
    return EmailChangeRequested()


@router.post("/auth/email/confirm", responses=_REFUSALS)
async def confirm_email_change(body: EmailLink, db: Db, kit: Tools, device: Device) -> EmailChanged:
    """Makes the new address the account's, with the token of the link that went to it.

    The old address, if it was confirmed, gets a link that takes the change back for seven days.
    """
    await email_change.confirm(db, kit, body.token, device)
    return EmailChanged()


@router.post("/auth/email/undo", responses=_REFUSALS)
async def undo_email_change(body: EmailLink, kit: Tools, device: Device) -> EmailRestored:
    """Brings the old address back, with the token of the link that went to it.

    All sessions and API tokens end, the password is void, and so is every way to sign in that was added since the day
    before the change. A link to choose another password goes to the address.
    """
    await email_change.undo(kit, body.token, device)
    return EmailRestored()
