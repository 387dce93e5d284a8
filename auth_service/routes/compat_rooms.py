"""The calls of the Rooms client, below `/api/users`."""

from collections.abc import Iterable

from fastapi import APIRouter, Response, status

from auth_service.deps import Device, Tools
from auth_service.domain import accounts, identifiers, rotation, sessions, sign_in, users
from auth_service.domain.accounts import Registration
from auth_service.domain.kit import Kit
from auth_service.errors import (
    InvalidCredentials,
    InvalidRefreshToken,
    NotAllowed,
    RefreshReused,
    SessionExpired,
    Taken,
    UsernameTaken,
)
from auth_service.routes.answers import signed_in
from auth_service.routes.translation import saying
from auth_service.schemas.compat import (
    GivenAccount,
    GivenRefresh,
    RoomsPerson,
    RoomsSignedOut,
    RoomsTokens,
)
from auth_service.schemas.tokens import Tokens
from libs.auth import CurrentUser
from libs.deps import Db
from libs.errors import (
    BadRequest,
    FieldError,
    Invalid,
    TokenRevoked,
    Unauthenticated,
    WrongTokenType,
)

router = APIRouter(prefix="/api/users", tags=["Rooms"])
FAMILY = "rooms"
_NAME_CHARS = 150


class NoActiveAccount(Unauthenticated):
    code = "no_active_account"
    detail = "No active account found with the given credentials"


class NotValid(Unauthenticated):
    code = "token_not_valid"
    detail = "Token is invalid or expired"


class RefreshNotValid(BadRequest):
    code = "token_not_valid"
    detail = "Token is invalid or expired"


_NOT_A_TOKEN = (InvalidRefreshToken, RefreshReused, SessionExpired, TokenRevoked, WrongTokenType)


def _require(body: GivenAccount | GivenRefresh, names: Iterable[str]) -> None:
    errors = []
    for name in names:
        value = getattr(body, name)
        if name not in body.model_fields_set:
            errors.append(FieldError(name, "This field is required."))
        elif value is None:
            errors.append(FieldError(name, "This field may not be null."))
        elif not value.strip():
            errors.append(FieldError(name, "This field may not be blank."))
    if errors:
        raise Invalid(errors=errors)


def _taken(error: Taken) -> Invalid:
    text = "A user with that username already exists." if isinstance(error, UsernameTaken) else error.errors[0].message
    return Invalid(errors=[FieldError(error.field, text)])


async def _registration(kit: Kit, body: GivenAccount) -> Registration:
    """Raises Invalid with everything that is wrong at once."""
    _require(body, ("username", "email", "password"))
    errors: list[FieldError] = []
    long = [name for name in ("first_name", "last_name") if len(getattr(body, name) or "") > _NAME_CHARS]
    errors += [FieldError(name, f"Ensure this field has no more than {_NAME_CHARS} characters.") for name in long]
    found = {}
    for read, given in ((identifiers.username, body.username), (identifiers.email, body.email)):
        try:
            name = read(given or "")
            found[name.kind] = name
        except NotAllowed as error:
            errors += error.errors
    new = Registration(
        password=body.password or "",
        username=found.get("username"),
        email=found.get("email"),
        first_name=(body.first_name or "").strip(),
        last_name=(body.last_name or "").strip(),
    )
    try:
        await kit.passwords.require(new.password, new.own_names)
    except NotAllowed as error:
        errors += error.errors
    if errors:
        raise Invalid(errors=errors)
    return new


@router.post("/register", include_in_schema=False, status_code=status.HTTP_201_CREATED)
@router.post("/register/", status_code=status.HTTP_201_CREATED)
async def register_rooms(body: GivenAccount, db: Db, kit: Tools, device: Device) -> RoomsPerson:
    """Makes an account, and does not sign it in."""
    with saying({Taken: _taken}):
        user = await accounts.open_account(db, kit, await _registration(kit, body), device)
    return RoomsPerson.of(user)


@router.post("/login", include_in_schema=False)
@router.post("/login/")
async def sign_in_rooms(body: GivenAccount, kit: Tools, device: Device, response: Response) -> RoomsTokens:
    """Signs in with a username, for an hour."""
    _require(body, ("username", "password"))
    name = identifiers.known_as(body.username or "")
    with saying({InvalidCredentials: lambda _: NoActiveAccount()}):
        pair = await sign_in.with_password(kit, name, body.password or "", device, family=FAMILY)
    return RoomsTokens.of(signed_in(pair, response), pair.user)


@router.post("/token/refresh", include_in_schema=False)
@router.post("/token/refresh/")
async def refresh_rooms(body: GivenRefresh, kit: Tools, device: Device) -> RoomsTokens:
    """Exchanges a refresh token; the lifetimes of the sign-in stay."""
    _require(body, ["refresh"])
    with saying(dict.fromkeys(_NOT_A_TOKEN, lambda _: NotValid())):
        pair = await rotation.refresh(kit, body.refresh or "", device)
    return RoomsTokens.of(Tokens.of(pair), pair.user)


@router.post("/logout", include_in_schema=False)
@router.post("/logout/")
async def sign_out_rooms(body: GivenRefresh, me: CurrentUser, kit: Tools, device: Device) -> RoomsSignedOut:
    """Ends the session of the access token, and that of the refresh token."""
    _require(body, ["refresh"])
    with saying(dict.fromkeys(_NOT_A_TOKEN, lambda _: RefreshNotValid())):
        await sessions.sign_out_with(kit, me.session_id, me.user_id, refresh_token=body.refresh or "", client=device)
    return RoomsSignedOut()


@router.get("/profile", include_in_schema=False)
@router.get("/profile/")
async def read_profile_rooms(me: CurrentUser, db: Db) -> RoomsPerson:
    """One's own account."""
    return RoomsPerson.of(await users.myself(db, me.user_id))
