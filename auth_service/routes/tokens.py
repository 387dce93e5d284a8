"""Signing in and staying signed in."""

from fastapi import APIRouter

from auth_service.deps import Device, Tools
from auth_service.domain import identifiers, rotation, sign_in
from auth_service.domain.identifiers import Name
from auth_service.errors import NotAllowed
from auth_service.routes.cookies import Cookies
from auth_service.schemas.tokens import CookieTokens, Credentials, RefreshRequest, Tokens

router = APIRouter(prefix="/api/v1/auth/token", tags=["tokens"])


def _name(body: Credentials) -> Name | None:
    if body.login is not None:
        return identifiers.known_as(body.login)
    if body.email is not None:
        return identifiers.known_as(body.email, "email")
    if body.username is not None:
        return identifiers.known_as(body.username, "username")
    return identifiers.known_as(body.phone_number or "", "phone")


@router.post(
    "",
    responses={
        401: {"description": "Name or password is wrong."},
        403: {
            "description": "`mfa_required`, `email_not_verified` or `country_blocked`, after the right password;"
            " `challenge_required` before it is looked at, after wrong ones, where the deployment wants that."
        },
        429: {"description": "After wrong passwords: the next try must wait."},
    },
)
async def obtain_tokens(body: Credentials, kit: Tools, device: Device, jar: Cookies) -> Tokens | CookieTokens:
    """Signs in with a name and a password: 15 minutes of access, and a refresh token for 7 days without use.

    On a device that the account does not know yet the answer has an `X-Device-Token`, which browsers get as a cookie.
    Who sends it with later sign-ins is not slowed down by other people's wrong passwords.

    With `cookie` the tokens come as cookies that no script can read, and a session that the browser had before ends.
    """
    if body.cookie:
        jar.require_own_page()
    return await jar.opened(await sign_in.with_password(kit, _name(body), body.password, device, cookie=body.cookie))


@router.post(
    "/refresh",
    responses={
        401: {"description": "The token is invalid, expired or was used before."},
        403: {"description": "The account is bound to other countries: `country_blocked`. The session goes on there."},
    },
)
async def refresh_tokens(jar: Cookies, body: RefreshRequest | None = None) -> Tokens | CookieTokens:
    """Exchanges a refresh token for the next pair.

    An answer that got lost can be asked for again with the same token for 30 seconds, and is the same. After that a
    token that was exchanged already ends the session. At most 120 a minute.
    """
    token = jar.refresh_or(body.refresh if body else None)
    if token is None:
        raise NotAllowed("refresh", "Refresh token is required")
    return jar.continued(await rotation.refresh(jar.kit, token, jar.client))
