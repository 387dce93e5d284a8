"""The requests and answers of auth: its public contract."""

from datetime import date
from typing import Annotated, Literal, Self
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, model_validator

from auth_service.domain.passwords import MAX_LENGTH, MIN_LENGTH
from auth_service.domain.tokens import Holder, Pair
from libs.shapes import Body, Moment, Resource, Text


def _one_line(text: str) -> str:
    # Names end up in the heads of mails and in logs, where a line break would begin something new.
    if not all(c.isprintable() for c in text):
        raise ValueError("Control characters are not allowed.")
    return text.strip()


def _known_zone(name: str) -> str:
    if name != "UTC" and name not in available_timezones():
        raise ValueError("Use a name of the IANA time zone database, as Europe/Berlin.")
    return name


Name = Annotated[Text, Field(max_length=150), AfterValidator(_one_line)]
Login = Annotated[Text, Field(min_length=1, max_length=320)]
NewPassword = Annotated[
    Text,
    Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH, description="Any characters; no rules but length and rarity."),
]
Language = Annotated[Text, Field(max_length=35, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", examples=["en"])]
Zone = Annotated[Text, Field(max_length=64), AfterValidator(_known_zone), Field(examples=["Europe/Berlin"])]
OneTime = Annotated[Text, Field(min_length=1, max_length=200)]
Refresh = Annotated[
    Text | None,
    Field(max_length=2048, validation_alias=AliasChoices("refresh", "refreshToken"), description="The refresh token."),
]


class Register(Body):
    """An e-mail address, a phone number or both; without a username the account is called `user<number>`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"email": "ada@example.com", "password": "correct horse battery"}]}
    )

    email: Login | None = None
    phone_number: Login | None = None
    username: Login | None = None
    password: NewPassword
    first_name: Name = ""
    last_name: Name = ""

    @model_validator(mode="after")
    def _require_address(self) -> Self:
        if self.email is None and self.phone_number is None:
            raise ValueError("Give an e-mail address or a phone number.")
        return self


class Credentials(Body):
    """Exactly one of the four names. `login` takes any of the other three."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"email": "ada@example.com", "password": "correct horse battery"}]}
    )

    login: Login | None = None
    email: Login | None = None
    username: Login | None = None
    phone_number: Login | None = None
    password: Annotated[Text, Field(min_length=1, max_length=MAX_LENGTH)]

    @model_validator(mode="after")
    def _require_one_name(self) -> Self:
        if len([name for name in (self.login, self.email, self.username, self.phone_number) if name is not None]) != 1:
            raise ValueError("Give exactly one of login, email, username and phone_number.")
        return self


class RefreshRequest(Body):
    """`refreshToken` is accepted as a name for `refresh`."""

    refresh: Refresh

    @model_validator(mode="after")
    def _require_token(self) -> Self:
        if self.refresh is None:
            raise ValueError("Refresh token is required")
        return self


class SignOut(Body):
    """The refresh token is not needed: the session is that of the access token."""

    refresh: Refresh = None


class VerifyEmail(Body):
    token: OneTime


class UserChange(Body):
    """Only what is sent changes."""

    username: Login = ""
    first_name: Name = ""
    last_name: Name = ""
    bio: Annotated[Text, Field(max_length=500)] = ""
    language: Language = ""
    timezone: Zone = ""


class SignedInUser(BaseModel):
    """The person of a token answer; `createdAt` is what existing clients read."""

    id: UUID
    number: int
    username: str
    email: str | None
    first_name: str
    last_name: str
    display_name: str
    is_verified: bool
    created_at: Moment
    createdAt: Moment  # noqa: N815

    @classmethod
    def of(cls, user: Holder) -> Self:
        return cls(
            id=user.id,
            number=user.number,
            username=user.username,
            email=user.email,
            first_name=user.first_name,
            last_name=user.last_name,
            display_name=user.display_name,
            is_verified=user.email_verified,
            created_at=user.created_at,
            createdAt=user.created_at,
        )


class TokenData(BaseModel):
    access: str
    refresh: str
    userId: UUID  # noqa: N815
    email: str | None


class CamelTokens(BaseModel):
    accessToken: str  # noqa: N815
    refreshToken: str  # noqa: N815


class Tokens(BaseModel):
    """A pair of tokens, under every name that a client may look for. New clients read `access` and `refresh`."""

    success: Literal[True] = True
    access: str
    refresh: str
    accessToken: str  # noqa: N815
    refreshToken: str  # noqa: N815
    tokens: CamelTokens
    data: TokenData
    user: SignedInUser

    @classmethod
    def of(cls, pair: Pair) -> Self:
        return cls(
            access=pair.access,
            refresh=pair.refresh,
            accessToken=pair.access,
            refreshToken=pair.refresh,
            tokens=CamelTokens(accessToken=pair.access, refreshToken=pair.refresh),
            data=TokenData(access=pair.access, refresh=pair.refresh, userId=pair.user.id, email=pair.user.email),
            user=SignedInUser.of(pair.user),
        )


class VerificationSent(BaseModel):
    """The same answer for known and unknown addresses."""

    status: Literal["verification_sent"] = "verification_sent"


class Verified(BaseModel):
    status: Literal["verified"] = "verified"


class SignedOut(BaseModel):
    status: Literal["logged_out"] = "logged_out"


class User(Resource):
    """Another person. Fields that are not shown to the caller are null."""

    id: UUID
    number: int
    username: str
    email: str | None
    first_name: str
    last_name: str
    display_name: str
    avatar_url: str | None
    bio: str
    is_verified: bool
    is_online: bool | None = None
    last_seen_at: Moment | None = None
    language: str
    timezone: str
    created_at: Moment
    updated_at: Moment


class Me(User):
    """One's own account."""

    phone_number: str | None
    phone_verified: bool
    email_verified: bool
    date_of_birth: date | None
    roles: list[str]
    version: int


class SessionShown(Resource):
    """A running session. `ip` is shortened to its network."""

    id: UUID
    current: bool
    ip: str | None
    country: str | None
    user_agent: str
    amr: list[str]
    aal: int
    created_at: Moment
    last_seen_at: Moment
    expires_at: Moment
