"""Step-up: showing again who one is, before a change that a stolen session must not make."""

from fastapi import APIRouter, status

from auth_service.deps import Device, Tools
from auth_service.domain import reauth
from auth_service.domain.reauth import Again
from auth_service.routes.cookies import Cookies
from auth_service.schemas.passkeys import PasskeyOptions
from auth_service.schemas.reauth import CodeSent, Reauth
from auth_service.schemas.tokens import CookieTokens, Tokens
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1/auth/reauth", tags=["step-up"])


@router.post(
    "",
    responses={
        401: {"description": "The password, code or passkey is wrong."},
        403: {"description": "Another method is wanted: `methods` of `reauth_required` says which."},
        429: {"description": "Five wrong answers in a quarter of an hour."},
    },
)
async def confirm_identity(
    *, body: Reauth, me: CurrentUser, kit: Tools, device: Device, jar: Cookies
) -> Tokens | CookieTokens:
    """For five minutes this session may change what needs a fresh proof.

    The session stays, its tokens are new: the refresh token of before is refused, and an access token of before goes on
    for everything else until it expires, but does not count as confirmed.
    """
    again = Again(me.user_id, me.session_id, device)
    if body.method == "password":
        return jar.continued(await reauth.with_password(kit, again, body.password or ""))
    if body.method == "code" and body.ceremony_id is not None:
        return jar.continued(await reauth.with_code(kit, again, body.ceremony_id, body.code or ""))
    return jar.continued(await reauth.with_factor(kit, again, body.shown()))


@router.post("/passkey/options")
async def ask_passkey_again(me: CurrentUser, db: Db, kit: Tools) -> PasskeyOptions:
    """What the browser is asked when a passkey is to confirm who one is."""
    return PasskeyOptions.of(await reauth.ask_passkey(db, kit, me.user_id))


@router.post(
    "/code", status_code=status.HTTP_202_ACCEPTED, responses={409: {"description": "There is no confirmed address."}}
)
async def send_reauth_code(me: CurrentUser, db: Db, kit: Tools) -> CodeSent:
    """Mails a code, for accounts with neither a password nor a second factor. At most five an hour."""
    return CodeSent(ceremony_id=await reauth.send_code(db, kit, me.user_id))
