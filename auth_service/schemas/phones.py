"""Codes for phones."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from auth_service.domain.phone_codes import LIFETIME, RESEND
from auth_service.schemas.fields import Login, Name, OneTime
from auth_service.schemas.tokens import CookieTokens, Tokens
from libs.shapes import Body, Text

Code = Annotated[Text, Field(min_length=1, max_length=20)]


class PhoneNumber(Body):
    """In international form."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"phone_number": "+12025550101"}]})

    phone_number: Login


class Challenge(BaseModel):
    """The same answer for every phone, whether or not a message was sent. Times are seconds."""

    challenge_id: UUID
    expires_in: int = int(LIFETIME.total_seconds())
    resend_after: int = int(RESEND.total_seconds())


class CodeGiven(Body):
    challenge_id: UUID
    code: Code


class CodeSignIn(CodeGiven):
    """The names are for an account that this makes."""

    phone_number: Login | None = None
    first_name: Name = ""
    last_name: Name = ""
    cookie: Annotated[bool, Field(strict=True, description="Tokens come as cookies that no script can read.")] = False


class CodeTokens(Tokens):
    """`created`: whether the account is new."""

    created: bool


class CodeCookies(CookieTokens):
    """The same where the tokens came as cookies."""

    created: bool


class UndoPhone(Body):
    token: OneTime


class PhoneRestored(BaseModel):
    status: Literal["restored"] = "restored"
