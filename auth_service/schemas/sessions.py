"""Sessions, and their end."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from auth_service.schemas.tokens import Refresh
from libs.shapes import Body, Moment, Resource


class SignOut(Body):
    """The refresh token is not needed: the session is that of the access token."""

    refresh: Refresh = None


class SignedOut(BaseModel):
    status: Literal["logged_out"] = "logged_out"


class SignedOutEverywhere(SignedOut):
    """`ended` sessions were running until now. `api_tokens` of programs go on working; they are revoked one by one."""

    ended: int
    api_tokens: int


class SessionShown(Resource):
    """A running session. `ip` is shortened to its network; `device`, `os` and `app` are what its program said it is."""

    id: UUID
    current: bool
    ip: str | None
    country: str | None
    device: str
    os: str | None
    app: str | None
    user_agent: str
    amr: list[str]
    aal: int
    created_at: Moment
    last_seen_at: Moment
    expires_at: Moment
