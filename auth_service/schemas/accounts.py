"""Registering and confirming addresses."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from auth_service.schemas.fields import Login, Name, NewPassword, OneTime
from libs.shapes import Body


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


class VerifyEmail(Body):
    token: OneTime


class VerificationSent(BaseModel):
    """The same answer for known and unknown addresses."""

    status: Literal["verification_sent"] = "verification_sent"


class Verified(BaseModel):
    status: Literal["verified"] = "verified"
