"""Accounts as staff sees them, and what staff may ask for."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from auth_service.domain.directory import Dossier
from auth_service.models import Session
from auth_service.schemas.fields import Line
from libs.shapes import Body, Moment, Resource, Text

Part = Annotated[Text, Field(min_length=1, max_length=320)]
Role = Literal["user", "support", "moderator", "admin"]
Why = Annotated[Line, Field(min_length=3, max_length=500, description="Why; kept in the audit log.")]


class UserQuery(BaseModel):
    """Filters; all that are given must hold."""

    q: Part | None = Field(None, description="A part of a name, an address or a number.")
    username: Part | None = None
    email: Part | None = None
    phone_number: Part | None = None
    status: Literal["pending", "active", "suspended", "deleted"] | None = None
    role: Role | None = None
    verified: bool | None = Field(None, description="Whether an address or a number was confirmed.")


class Account(Resource):
    """An account as staff sees it."""

    id: UUID
    number: int
    username: str
    email: str | None
    email_verified: bool
    phone_number: str | None
    phone_verified: bool
    first_name: str
    last_name: str
    status: str
    suspended_reason: str | None
    roles: list[str]
    allowed_countries: list[str] | None
    must_change_password: bool
    deletion_at: Moment | None
    created_at: Moment
    updated_at: Moment


class AccountSession(Resource):
    """`actor_id` is the member of staff who acts as the user."""

    id: UUID
    actor_id: UUID | None
    ip: str | None
    country: str | None
    user_agent: str
    amr: list[str]
    aal: int
    created_at: Moment
    last_seen_at: Moment

    @classmethod
    def of(cls, session: Session) -> Self:
        return cls.model_validate(session)


class AccountDossier(Account):
    """Everything of an account but secrets: `factors` and `identities` are names."""

    sessions: list[AccountSession]
    identities: list[str]
    factors: list[str]
    has_password: bool

    @classmethod
    def of_dossier(cls, dossier: Dossier) -> Self:
        return cls(
            **Account.model_validate(dossier.user).model_dump(),
            sessions=[AccountSession.of(session) for session in dossier.sessions],
            identities=list(dossier.identities),
            factors=list(dossier.factors),
            has_password=dossier.has_password,
        )


class Reason(Body):
    reason: Why


class Roles(Body):
    """All roles that the account has from now on; `user` is always among them."""

    roles: Annotated[list[Role], Field(max_length=4)]


class ResetSent(BaseModel):
    status: Literal["reset_sent"] = "reset_sent"


class SessionsEnded(BaseModel):
    ended: int


class Unlocked(BaseModel):
    status: Literal["unlocked"] = "unlocked"


class Impersonation(BaseModel):
    """An access token without a refresh token. Its claim `act` names the member of staff: show it as a banner."""

    access: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105
    expires_in: int
    user_id: UUID
    actor_id: UUID
