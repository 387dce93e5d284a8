"""Events of auth, and the calls that other services may make to it."""

from collections.abc import Mapping
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from libs.contracts.events import EventData


class Profile(BaseModel):
    """What other services keep of a user: enough to show a name and to reach the person."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)

    user_id: UUID
    number: int
    username: str
    first_name: str = ""
    last_name: str = ""
    email: str | None = None
    email_verified: bool = False
    phone_number: str | None = None
    phone_verified: bool = False
    avatar_url: str | None = None
    language: str = "en"
    timezone: str = "UTC"
    roles: list[str] = []
    direct_messages: Literal["everyone", "contacts"] = "everyone"
    """Who may open a direct conversation with this user."""
    privacy: Mapping[str, str | bool] = Field(default_factory=dict)
    """Who sees what: `last_seen`, `online`, `email`, `phone`, `profile` are `everyone`, `contacts` or `nobody`;
    `read_receipts` is true or false."""
    version: int = 1
    """Grows with every change: a projection never replaces a newer profile by an older one."""


class UserRegistered(EventData):
    type: ClassVar[str] = "UserRegistered"
    profile: Profile


class UserUpdated(EventData):
    type: ClassVar[str] = "UserUpdated"
    profile: Profile


class UserSuspended(EventData):
    """Nobody signs in to this account, and its sessions have ended."""

    type: ClassVar[str] = "UserSuspended"
    user_id: UUID


class UserReinstated(EventData):
    type: ClassVar[str] = "UserReinstated"
    user_id: UUID


class UserDeleted(EventData):
    """The account was erased. Whatever is kept of the person elsewhere goes as well."""

    type: ClassVar[str] = "UserDeleted"
    user_id: UUID


class MessageRequested(EventData):
    """Auth asks notify to send a code, a link or a warning. `kind` names the template, `variables` are its words.

    `secret` is encrypted for `message:<id>`, and erased once sent.
    """

    type: ClassVar[str] = "MessageRequested"
    id: UUID
    kind: str
    channel: Literal["email", "sms"] = "email"
    user_id: UUID | None = None
    email: str | None = None
    phone_number: str | None = None
    name: str = ""
    language: str = "en"
    variables: Mapping[str, str] = Field(default_factory=dict)
    secret: str | None = None


class ProfilePage(BaseModel):
    """Answer of `/internal/users?id=...` or `?number=...`: those that exist, in no particular order."""

    users: list[Profile]


class ApiTokenAsked(BaseModel):
    """Body of `POST /internal/api-tokens`."""

    token: str = Field(max_length=100)


class ApiTokenFacts(BaseModel):
    """Its answer. `active` false: unknown, ended, expired, or of somebody who may not sign in; nothing else is said."""

    active: bool
    token_id: UUID | None = None
    user_id: UUID | None = None
    roles: list[str] = []
    scopes: list[str] = []
    exp: int | None = None


class ActiveRevocations(BaseModel):
    """Answer of `/internal/revocations`. Times are milliseconds since 1970."""

    sessions: dict[str, int]
    users: dict[str, int]
    everyone: int
