"""Second factors: the authenticator app, recovery codes, and the second half of a sign-in."""

from typing import Annotated

from fastapi import APIRouter, Query, status

from auth_service.deps import Confirmed, Device, Tools
from auth_service.domain import enrolment, factors, mfa, recovery_codes, totp, users
from auth_service.domain.enrolment import Owner
from auth_service.routes.cookies import Cookies
from auth_service.schemas.mfa import (
    FactorAdded,
    Factors,
    RecoveryCodes,
    SecondFactor,
    TotpCode,
    TotpSecret,
    WaitingSignIn,
)
from auth_service.schemas.passkeys import PasskeyOptions
from auth_service.schemas.reauth import CodeSent
from auth_service.schemas.tokens import CookieTokens, Tokens
from libs.auth import CurrentUser
from libs.deps import Db

router = APIRouter(prefix="/api/v1/auth/mfa", tags=["second factors"])
KeepSessions = Annotated[bool, Query(description="Leave one's other sessions running.")]


@router.get("")
async def read_factors(me: CurrentUser, db: Db) -> Factors:
    """Which second factors are set up, and how many recovery codes are left."""
    methods = await factors.methods(db, me.user_id)
    left = await recovery_codes.remaining(db, me.user_id)
    return Factors(enabled=bool(methods), methods=methods, recovery_codes_remaining=left)


@router.post("/totp", responses={409: {"description": "An authenticator app is set up already."}})
async def enrol_totp(me: Confirmed, db: Db, kit: Tools) -> TotpSecret:
    """A secret for an authenticator app, shown once. It counts after a code of it was confirmed."""
    enrolment = await totp.enrol(db, kit, await users.myself(db, me.user_id))
    return TotpSecret(secret=enrolment.secret, otpauth_uri=enrolment.uri)


@router.post("/totp/confirm", responses={401: {"description": "The code is wrong."}})
async def confirm_totp(*, body: TotpCode, me: Confirmed, kit: Tools, device: Device, jar: Cookies) -> FactorAdded:
    """Confirms the authenticator app with a code. The first factor brings ten recovery codes, shown once.

    Older access tokens of the account are out of date from now on; other sessions get theirs by refreshing.
    """
    added = await enrolment.add_totp(kit, Owner(me.user_id, me.session_id, device), body.code)
    return FactorAdded(recovery_codes=added.codes, tokens=jar.continued(added.pair))


@router.delete("/totp", status_code=status.HTTP_204_NO_CONTENT)
async def remove_totp(me: Confirmed, kit: Tools, device: Device, *, keep_sessions: KeepSessions = False) -> None:
    """Removes the authenticator app, and the recovery codes if no factor is left. Other sessions end."""
    await enrolment.remove_totp(kit, Owner(me.user_id, me.session_id, device), keep_sessions=keep_sessions)


@router.post("/recovery-codes", responses={409: {"description": "There is no second factor."}})
async def renew_recovery_codes(
    me: Confirmed, kit: Tools, device: Device, *, keep_sessions: KeepSessions = False
) -> RecoveryCodes:
    """Ten new recovery codes, shown once. The earlier ones open nothing any more, and other sessions end."""
    owner = Owner(me.user_id, me.session_id, device)
    return RecoveryCodes(recovery_codes=await enrolment.renew_codes(kit, owner, keep_sessions=keep_sessions))


@router.post("/passkey/options", responses={401: {"description": "The mfa token is invalid or expired."}})
async def ask_second_passkey(body: WaitingSignIn, db: Db, kit: Tools) -> PasskeyOptions:
    """What the browser is asked when a passkey is to end a sign-in."""
    return PasskeyOptions.of(await mfa.ask_passkey(db, kit, body.mfa_token))


@router.post(
    "/code",
    status_code=status.HTTP_202_ACCEPTED,
    responses={
        401: {"description": "The mfa token is invalid or expired."},
        403: {"description": "`mfa_required`: the account has a second factor, which no mailed code stands in for."},
    },
)
async def send_sign_in_code(body: WaitingSignIn, db: Db, kit: Tools) -> CodeSent:
    """Mails a code when `mailed_code` is among the methods: the sign-in comes from a country that is new to the
    account. At most five an hour."""
    return CodeSent(ceremony_id=await mfa.send_code(db, kit, body.mfa_token))


@router.post(
    "/verify",
    responses={
        401: {"description": "The factor is wrong, or the mfa token is invalid, expired or used."},
        429: {"description": "Five wrong codes in a quarter of an hour. The owner gets a mail."},
    },
)
async def verify_second_factor(body: SecondFactor, kit: Tools, device: Device, jar: Cookies) -> Tokens | CookieTokens:
    """Ends a sign-in that was answered with 403 `mfa_required`. One mfa token makes one session."""
    if mfa.is_for_cookies(kit, body.mfa_token):
        jar.require_own_page()
    return await jar.opened(await mfa.finish(kit, body.mfa_token, body.shown(), client=device))
