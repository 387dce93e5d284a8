"""Step-up: showing again who one is."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from auth_service.domain import passkeys
from auth_service.domain.passkeys import Answer
from auth_service.domain.passwords import MAX_LENGTH
from auth_service.domain.proof import Shown
from auth_service.schemas.mfa import Code
from auth_service.schemas.passkeys import ShownCredential
from libs.shapes import Body, Text

_NEEDED = {
    "password": ("password",),
    "code": ("code", "ceremony_id"),
    "totp": ("code",),
    "recovery_code": ("code",),
    "passkey": ("ceremony_id", "credential"),
}


class Reauth(Body):
    """`password` alone, or a `method` with what it needs: `code`; `code` and `ceremony_id` when the code was mailed;
    `ceremony_id` and `credential` for a passkey."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"password": "correct horse battery"}]})

    method: Literal["password", "code", "totp", "recovery_code", "passkey"] = "password"
    password: Annotated[Text, Field(min_length=1, max_length=MAX_LENGTH)] | None = None
    code: Code | None = None
    ceremony_id: UUID | None = None
    credential: ShownCredential | None = None

    @model_validator(mode="after")
    def _require_parts(self) -> Self:
        missing = [name for name in _NEEDED[self.method] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"This method comes with {' and '.join(missing)}.")
        return self

    def shown(self) -> Shown:
        answer = None
        if self.ceremony_id is not None and self.credential is not None:
            answer = Answer(ceremony_id=self.ceremony_id, credential=self.credential.model_dump())
        return Shown(method=self.method, code=self.code or "", passkey=answer, purpose=passkeys.REAUTH)


class CodeSent(BaseModel):
    """Six digits are on their way to the confirmed e-mail address; they work for five minutes."""

    status: Literal["code_sent"] = "code_sent"
    ceremony_id: UUID
