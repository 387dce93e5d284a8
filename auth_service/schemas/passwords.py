"""Changing and resetting passwords."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from auth_service.domain.passwords import MAX_LENGTH
from auth_service.schemas.fields import Login, NewPassword, OneTime
from libs.shapes import Body, Text


class PasswordChange(Body):
    """Without `current_password` the caller must have proved who they are within the last five minutes."""

    current_password: Annotated[Text, Field(min_length=1, max_length=MAX_LENGTH)] | None = None
    new_password: NewPassword
    keep_sessions: Annotated[bool, Field(description="Leave other devices signed in.")] = False


class ForgottenPassword(Body):
    email: Login


class ResetSent(BaseModel):
    """The same answer for known and unknown addresses."""

    status: Literal["reset_sent"] = "reset_sent"


class PasswordReset(Body):
    token: OneTime
    new_password: NewPassword


class PasswordWasChanged(BaseModel):
    """Nobody was signed in by this: that takes the new password, and the second factor where there is one."""

    status: Literal["password_changed"] = "password_changed"
