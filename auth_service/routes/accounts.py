"""Registering and confirming an address."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response, status

from auth_service.deps import Device, Tools
from auth_service.domain import accounts, identifiers, users, verification
from auth_service.domain.accounts import Registration
from auth_service.routes.answers import signed_in
from auth_service.schemas.accounts import Register, VerificationSent, Verified, VerifyEmail
from auth_service.schemas.tokens import Tokens
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1/auth", tags=["accounts"])


async def _registration(body: Register) -> Registration:
    return Registration(
        password=body.password,
        username=identifiers.username(body.username) if body.username is not None else None,
        email=identifiers.email(body.email) if body.email is not None else None,
        phone=identifiers.phone(body.phone_number) if body.phone_number is not None else None,
        first_name=body.first_name,
        last_name=body.last_name,
    )


@router.post(
    "/register",
    status_code=status.HTTP_201_CREATED,
    response_model=None,
    responses={
        201: {"model": Tokens, "description": "The account is there and signed in."},
        202: {"model": VerificationSent, "description": "Addresses must be confirmed first: look into the mailbox."},
        409: {"description": "A name is taken."},
    },
)
async def register(
    *, new: Annotated[Registration, Depends(_registration)], db: Db, kit: Tools, device: Device, response: Response
) -> Tokens | VerificationSent:
    """Makes an account and signs it in.

    Where addresses must be confirmed first the answer is 202 and the same whether or not the address is known; only a
    taken username is still 409.
    """
    pair = await accounts.register(db, kit, new, device)
    if pair is None:
        response.status_code = status.HTTP_202_ACCEPTED
        return VerificationSent()
    return signed_in(pair, response)


@router.post("/email/verify", responses={410: {"description": "The link was used or has expired."}})
async def verify_email(body: VerifyEmail, db: Db, kit: Tools, device: Device) -> Verified:
    """Confirms an e-mail address with the token of a link. Each link works once.

    Where addresses must be confirmed first, and this one was registered more than once with different passwords, none
    of them opens the account: a mail follows with a link to choose one.
    """
    await accounts.confirm_email(db, kit, body.token, device)
    return Verified()


@router.post("/email/verify/send", status_code=status.HTTP_202_ACCEPTED)
async def send_verification(me: CurrentUser, db: Db, kit: Tools) -> VerificationSent:
    """Sends another link to one's own address, at most five an hour."""
    await verification.send_again(db, kit, await users.myself(db, me.user_id))
    return VerificationSent()
