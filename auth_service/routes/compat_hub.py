"""The calls of the Hub client: paths without a trailing slash below `/api/auth`."""

from fastapi import APIRouter, Response, status

from auth_service.deps import Device, Tools
from auth_service.domain import accounts, identifiers, rotation, sessions, sign_in, users
from auth_service.domain.accounts import Registration
from auth_service.errors import (
    EmailTaken,
    InvalidCredentials,
    InvalidRefreshToken,
    NotAllowed,
    PasswordTooShort,
    RefreshReused,
    SessionExpired,
)
from auth_service.routes.answers import signed_in
from auth_service.routes.translation import Words, saying
from auth_service.schemas.compat import GivenCredentials, GivenRefresh, HubMe, HubSignedOut, VerificationAsked
from auth_service.schemas.tokens import Tokens
from libs.auth import CurrentUser
from libs.deps import Db
from libs.errors import Conflict, FieldError, Invalid, TokenRevoked, Unauthenticated, WrongTokenType

router = APIRouter(prefix="/api/auth", tags=["Hub"])
FAMILY = "hub"


class UserExists(Conflict):
    code = "user_exists"
    detail = "User with this email already exists"


class AuthenticationFailed(Unauthenticated):
    code = "authentication_failed"
    detail = "Invalid email or password"


class RefreshFailed(Unauthenticated):
    code = "token_refresh_failed"


_UNKNOWN, _EXPIRED, _REVOKED = (
    "Invalid refresh token",
    "Refresh token has expired",
    "Refresh token has been revoked",
)
_REGISTERING: Words = {
    EmailTaken: lambda _: UserExists(),
    PasswordTooShort: lambda error: NotAllowed("password", f"Password must be at least {error.least} characters."),
}
_REFRESHING: Words = {
    SessionExpired: lambda _: RefreshFailed(_EXPIRED),
    TokenRevoked: lambda _: RefreshFailed(_REVOKED),
    RefreshReused: lambda _: RefreshFailed(_REVOKED),
    InvalidRefreshToken: lambda _: RefreshFailed(_UNKNOWN),
    WrongTokenType: lambda _: RefreshFailed(_UNKNOWN),
}


def _credentials(body: GivenCredentials) -> tuple[str, str]:
    given = {"email": body.email, "password": body.password}
    missing = [FieldError(name, f"{name.capitalize()} is required.") for name, value in given.items() if not value]
    if missing:
        raise Invalid(errors=missing)
    return body.email or "", body.password or ""


def _refresh_token(body: GivenRefresh) -> str:
    if not body.refresh:
        raise Invalid(errors=[FieldError("refreshToken", "Refresh token is required.")])
    return body.refresh


@router.post(
    "/register",
    status_code=status.HTTP_201_CREATED,
    response_model=None,
    responses={201: {"model": Tokens}, 202: {"model": VerificationAsked}},
)
async def register_hub(
    *, body: GivenCredentials, db: Db, kit: Tools, device: Device, response: Response
) -> Tokens | VerificationAsked:
    """Makes an account with an e-mail address and signs it in for a quarter of an hour."""
    email, password = _credentials(body)
    with saying(_REGISTERING):
        new = Registration(password=password, email=identifiers.email(email))
        pair = await accounts.register(db, kit, new, device, family=FAMILY)
    if pair is None:
        response.status_code = status.HTTP_202_ACCEPTED
        return VerificationAsked()
    return signed_in(pair, response)


@router.post("/login")
async def sign_in_hub(body: GivenCredentials, kit: Tools, device: Device, response: Response) -> Tokens:
    """Signs in with an e-mail address, for a quarter of an hour."""
    name, password = _credentials(body)
    with saying({InvalidCredentials: lambda _: AuthenticationFailed()}):
        pair = await sign_in.with_password(kit, identifiers.known_as(name), password, device, family=FAMILY)
    return signed_in(pair, response)


@router.post("/refresh")
@router.post("/refresh/", include_in_schema=False)
async def refresh_hub(body: GivenRefresh, kit: Tools, device: Device) -> Tokens:
    """A new access token. The refresh token of this client stays the same for its seven days: one of its ways to
    refresh does not keep a new one."""
    with saying(_REFRESHING):
        return Tokens.of(await rotation.refresh(kit, _refresh_token(body), device))


@router.post("/logout")
async def sign_out_hub(body: GivenRefresh, kit: Tools, device: Device) -> HubSignedOut:
    """Ends the session of the refresh token, which is the credential; the answer is the same for any token."""
    await sessions.end_by_refresh_token(kit, _refresh_token(body), device)
    return HubSignedOut()


@router.get("/me")
@router.get("/me/", include_in_schema=False)
async def read_me_hub(me: CurrentUser, db: Db) -> HubMe:
    """One's own account."""
    return HubMe.of(await users.myself(db, me.user_id))
