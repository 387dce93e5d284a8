"""Signing in with a code that is texted to a phone."""

from fastapi import APIRouter, status

from auth_service.deps import Device, Tools
from auth_service.domain import identifiers, phone_codes, phone_sign_in
from auth_service.domain.phone_codes import Attempt
from auth_service.routes.cookies import Cookies
from auth_service.schemas.phones import Challenge, CodeCookies, CodeSignIn, CodeTokens, PhoneNumber
from libs.deps import Db

router = APIRouter(prefix="/api/v1/auth/otp", tags=["phone codes"])


@router.post("/request", status_code=status.HTTP_202_ACCEPTED)
async def request_code(body: PhoneNumber, db: Db, kit: Tools, device: Device) -> Challenge:
    """Texts a code to a phone: once a minute, five times an hour, ten times a day.

    Beyond that, and wherever nothing can be sent, the answer is the same; an earlier code then stays good. A new code
    ends the one before. For one address ten an hour are sent.
    """
    phone = identifiers.phone(body.phone_number)
    return Challenge(challenge_id=await phone_codes.send(db, kit, phone_codes.LOGIN, phone, client=device))


@router.post(
    "/verify",
    responses={
        401: {"description": "The code is wrong, used or expired: `invalid_code`."},
        403: {
            "description": "`mfa_required` or `country_blocked`, after the right code; `cross_site_request`, before it"
            " is looked at, for cookies that a page of another site wants."
        },
        429: {"description": "After ten wrong codes within a day, or codes for many phones from one address."},
    },
)
async def verify_code(body: CodeSignIn, kit: Tools, device: Device, jar: Cookies) -> CodeTokens | CodeCookies:
    """Signs in with the code. A phone that is new gets an account.

    A code works once, for five minutes and for five tries. After ten wrong ones within a day no code for that phone
    works before the day is over (429). A second factor is asked for as after a password (403 `mfa_required`). With
    `cookie` the tokens come as cookies, as after a password too.
    """
    if body.cookie:
        jar.require_own_page()
    phone = None
    if body.phone_number is not None:
        known = identifiers.known_as(body.phone_number, "phone")
        phone = known.norm if known else body.phone_number
    attempt = Attempt(body.challenge_id, body.code.strip(), phone=phone)
    pair, created = await phone_sign_in.with_code(
        kit, attempt, device, first_name=body.first_name, last_name=body.last_name, cookie=body.cookie
    )
    answer = CodeCookies if pair.cookie else CodeTokens
    return answer(**dict(await jar.opened(pair)), created=created)
