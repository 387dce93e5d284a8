"""The calls of the Sender client: paths with a trailing slash below `/api/auth`."""

from fastapi import APIRouter, Response, status

from auth_service.deps import Device, Tools
from auth_service.domain import accounts, identifiers, rotation, sessions, sign_in, social
from auth_service.domain.accounts import Registration
from auth_service.errors import (
    EmailTaken,
    FacebookRefused,
    InvalidCredentials,
    InvalidRefreshToken,
    NotAllowed,
    RefreshReused,
    SessionExpired,
)
from auth_service.routes.answers import signed_in
from auth_service.routes.translation import saying
from auth_service.schemas.compat import (
    GivenCredentials,
    GivenFacebookCode,
    GivenRefresh,
    SenderSignedOut,
    VerificationAsked,
)
from auth_service.schemas.tokens import Tokens
from libs.auth import CurrentUser
from libs.deps import Db
from libs.errors import BadRequest, FieldError, Invalid, TokenRevoked, Unauthenticated, WrongTokenType

router = APIRouter(prefix="/api/auth", tags=["Sender"])
FAMILY = "sender"


class Incomplete(BadRequest):
    code = "invalid"
    detail = "Please provide both email and password"


class NotAcceptable(BadRequest):
    code = "invalid"


class Registered(BadRequest):
    code = "email_taken"
    detail = "Email already registered"


class WrongCredentials(Unauthenticated):
    code = "invalid_credentials"
    detail = "Invalid credentials"


class NotValid(Unauthenticated):
    code = "token_not_valid"
    detail = "Token is invalid or expired"


class RefreshMissing(BadRequest):
    code = "invalid"
    detail = "Refresh token is required"


class RefreshNotValid(BadRequest):
    code = "token_not_valid"
    detail = "Token is invalid or expired"


class RefreshBlacklisted(BadRequest):
    code = "token_blacklisted"
    detail = "Token is blacklisted"


def _credentials(body: GivenCredentials) -> tuple[str, str]:
    if not body.email or not body.password:
        raise Incomplete
    return body.email, body.password


@router.post(
    "/register/",
    status_code=status.HTTP_201_CREATED,
    response_model=None,
    responses={201: {"model": Tokens}, 202: {"model": VerificationAsked}},
)
async def register_sender(
    *, body: GivenCredentials, db: Db, kit: Tools, device: Device, response: Response
) -> Tokens | VerificationAsked:
    """Makes an account with an e-mail address and signs it in for twelve hours."""
    email, password = _credentials(body)
    with saying({EmailTaken: lambda _: Registered(), NotAllowed: lambda error: NotAcceptable(error.errors[0].message)}):
        new = Registration(password=password, email=identifiers.email(email))
        pair = await accounts.register(db, kit, new, device, family=FAMILY)
    if pair is None:
        response.status_code = status.HTTP_202_ACCEPTED
        return VerificationAsked()
    return signed_in(pair, response)


@router.post("/login/")
async def sign_in_sender(body: GivenCredentials, kit: Tools, device: Device, response: Response) -> Tokens:
    """Signs in with an e-mail address or a username, for twelve hours."""
    name, password = _credentials(body)
    with saying({InvalidCredentials: lambda _: WrongCredentials()}):
        pair = await sign_in.with_password(kit, identifiers.known_as(name), password, device, family=FAMILY)
    return signed_in(pair, response)


@router.post("/login/facebook/")
@router.post("/login/facebook", include_in_schema=False)
async def sign_in_sender_with_facebook(
    body: GivenFacebookCode, kit: Tools, device: Device, response: Response
) -> Tokens:
    """Signs in with Facebook, for twelve hours: `code` is an access token of our app or an authorization code."""
    code, redirect_uri = body.code or "", body.redirect_uri or ""
    with saying({InvalidCredentials: lambda _: FacebookRefused()}):
        pair = await social.sign_in_with_facebook_code(kit, code, redirect_uri, device, family=FAMILY)
    return signed_in(pair, response)


@router.post("/logout/")
async def sign_out_sender(body: GivenRefresh, me: CurrentUser, kit: Tools, device: Device) -> SenderSignedOut:
    """Ends the session of the access token, and that of the refresh token."""
    if not body.refresh:
        raise RefreshMissing
    with saying(
        {
            TokenRevoked: lambda _: RefreshBlacklisted(),
            InvalidRefreshToken: lambda _: RefreshNotValid(),
            WrongTokenType: lambda _: RefreshNotValid(),
        }
    ):
        await sessions.sign_out_with(kit, me.session_id, me.user_id, refresh_token=body.refresh, client=device)
    return SenderSignedOut()


@router.post("/token/refresh/")
@router.post("/token/refresh", include_in_schema=False)
async def refresh_sender(body: GivenRefresh, kit: Tools, device: Device) -> Tokens:
    """Exchanges a refresh token; the lifetimes of the sign-in stay."""
    if not body.refresh:
        raise Invalid(errors=[FieldError("refresh", "This field is required.")])
    refused = (InvalidRefreshToken, RefreshReused, SessionExpired, TokenRevoked, WrongTokenType)
    with saying(dict.fromkeys(refused, lambda _: NotValid())):
        return Tokens.of(await rotation.refresh(kit, body.refresh, device))
