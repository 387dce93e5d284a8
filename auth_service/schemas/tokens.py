"""Signing in, refreshing, and the answers that carry tokens."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from auth_service.domain.passwords import MAX_LENGTH
from auth_service.domain.tokens import FAMILIES, Holder, Pair
from auth_service.schemas.fields import Login
from libs.shapes import Body, Moment, Text

Refresh = Annotated[
    Text | None,
    Field(max_length=2048, validation_alias=AliasChoices("refresh", "refreshToken"), description="The refresh token."),
]


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
    cookie: Annotated[bool, Field(strict=True, description="Tokens come as cookies that no script can read.")] = False

    @model_validator(mode="after")
    def _require_one_name(self) -> Self:
        if len([name for name in (self.login, self.email, self.username, self.phone_number) if name is not None]) != 1:
            raise ValueError("Give exactly one of login, email, username and phone_number.")
        return self


class RefreshRequest(Body):
    """`refreshToken` is accepted as a name for `refresh`. Without it, that of the cookie counts."""

    refresh: Refresh = None


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
            is_verified=user.is_verified,
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


class CookieTokens(BaseModel):
    """The tokens came as cookies; `expires_in` are the seconds until a refresh is due."""

    success: Literal[True] = True
    expires_in: int
    user: SignedInUser

    @classmethod
    def of(cls, pair: Pair) -> Self:
        return cls(expires_in=int(FAMILIES["canonical"].access.total_seconds()), user=SignedInUser.of(pair.user))


class CsrfToken(BaseModel):
    csrfToken: str  # noqa: N815
