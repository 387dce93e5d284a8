"""Changing one's password, and getting a new one by mail."""

from fastapi import APIRouter, Response, status

from auth_service.deps import Device, Tools
from auth_service.domain import identifiers, password_change, password_reset
from auth_service.domain.password_change import Asking, Change
from auth_service.routes.answers import remember_device
from auth_service.routes.cookies import Cookies
from auth_service.schemas.passwords import (
    ForgottenPassword,
    PasswordChange,
    PasswordReset,
    PasswordWasChanged,
    ResetSent,
)
from auth_service.schemas.tokens import CookieTokens, Tokens
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1", tags=["passwords"])


@router.post(
    "/users/me/password",
    responses={
        403: {
            "description": "`reauth_required`: give the current password, or prove again who you are;"
            " where there is a second factor, with that."
        },
        409: {"description": "The password was changed meanwhile."},
        429: {"description": "Ten wrong current passwords in an hour."},
    },
)
async def change_password(
    *, body: PasswordChange, me: CurrentUser, kit: Tools, device: Device, jar: Cookies
) -> Tokens | CookieTokens:
    """Sets another password.

    Other sessions end unless `keep_sessions` is true. All access tokens from before are refused from now on, and the
    refresh token of this session too: go on with the tokens of the answer.
    """
    wanted = Change(body.new_password, body.current_password, body.keep_sessions)
    asking = Asking(me.user_id, me.session_id, me.claims.iat_ms, device)
    return jar.continued(await password_change.change(kit, asking, wanted))


@router.post("/auth/password/forgot", status_code=status.HTTP_202_ACCEPTED)
async def ask_for_reset(body: ForgottenPassword, db: Db, kit: Tools, device: Device) -> ResetSent:
    """Sends a link to the address, if it is that of an account: good for half an hour, five an hour."""
    await password_reset.send_link(db, kit, identifiers.known_as(body.email, "email"), device)
    return ResetSent()


@router.post(
    "/auth/password/reset",
    responses={
        401: {"description": "`invalid_code`: nobody was sent this link."},
        410: {"description": "The link was used, has expired, or the password was changed meanwhile."},
    },
)
async def reset_password(body: PasswordReset, kit: Tools, device: Device, response: Response) -> PasswordWasChanged:
    """Sets another password with the token of a link, and ends every session. Sign in afterwards."""
    known = await password_reset.reset(kit, body.token, body.new_password, device)
    remember_device(known.token, response)
    return PasswordWasChanged()
