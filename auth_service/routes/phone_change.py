"""One's own phone number."""

from fastapi import APIRouter, Response, status

from auth_service.deps import Device, Tools, Unbroken
from auth_service.domain import identifiers, people, phone_change, phone_codes, users
from auth_service.domain.phone_codes import Attempt
from auth_service.schemas.phones import Challenge, CodeGiven, PhoneNumber, PhoneRestored, UndoPhone
from auth_service.schemas.users import Me
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(tags=["phone codes"])


@router.post("/api/v1/users/me/phone", status_code=status.HTTP_202_ACCEPTED)
async def change_phone(*, body: PhoneNumber, me: Unbroken, db: Db, kit: Tools, device: Device) -> Challenge:
    """Texts a code to the number that shall be one's own. Nothing changes before it comes back.

    Needs a sign-in or confirmation of the last five minutes (403 `reauth_required`). The limits of sign-in codes hold.
    """
    phone = identifiers.phone(body.phone_number)
    send = phone_codes.send(db, kit, phone_codes.CHANGE_PHONE, phone, client=device, user_id=me.user_id)
    return Challenge(challenge_id=await send)


@router.post(
    "/api/v1/users/me/phone/confirm",
    responses={
        401: {"description": "The code is wrong, used or expired: `invalid_code`."},
        409: {"description": "The number is another account's."},
    },
)
async def confirm_phone(
    *, body: CodeGiven, me: CurrentUser, db: Db, kit: Tools, device: Device, response: Response
) -> Me:
    """Makes the number one's own, verified. The e-mail address, or the old number where none is confirmed, gets a link
    that takes the change back for 7 days."""
    attempt = Attempt(body.challenge_id, body.code.strip(), user_id=me.user_id)
    user = await phone_change.confirm(db, kit, attempt, me.user_id, session_id=me.session_id, client=device)
    response.headers["ETag"] = users.etag(user)
    return Me.model_validate(await people.own(db, user))


@router.post(
    "/api/v1/auth/phone/undo",
    responses={
        409: {"description": "The number is another account's by now."},
        410: {"description": "The link was used or has expired."},
    },
)
async def undo_phone(body: UndoPhone, kit: Tools, device: Device) -> PhoneRestored:
    """Brings the number back that was replaced, with the token of the link, ends all sessions of the account, and voids
    its password: a link to choose another one goes to the e-mail address."""
    await phone_change.undo(kit, body.token, device)
    return PhoneRestored()
