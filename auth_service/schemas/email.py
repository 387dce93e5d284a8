"""Changing the e-mail address."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from auth_service.schemas.fields import Login, OneTime
from libs.shapes import Body


class EmailChange(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "ada@example.com"}]})

    email: Login


class EmailChangeRequested(BaseModel):
    """The same answer for known and unknown addresses."""

    status: Literal["confirmation_sent"] = "confirmation_sent"


class EmailLink(Body):
    token: OneTime


class EmailChanged(BaseModel):
    status: Literal["email_changed"] = "email_changed"


class EmailRestored(BaseModel):
    status: Literal["email_restored"] = "email_restored"
