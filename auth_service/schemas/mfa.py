"""Second factors: set up, shown, taken away."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from auth_service.domain.passkeys import Answer
from auth_service.domain.proof import Shown
from auth_service.schemas.passkeys import PasskeyShown, ShownCredential
from auth_service.schemas.tokens import CookieTokens, Tokens
from libs.shapes import Body, Text

MfaToken = Annotated[Text, Field(min_length=1, max_length=2048, description="From the 403 `mfa_required`.")]
Code = Annotated[Text, Field(min_length=1, max_length=32)]
Digits = Annotated[Text, Field(pattern=r"^[0-9]{6}$", examples=["123456"])]


class WaitingSignIn(Body):
    mfa_token: MfaToken


class TotpSecret(BaseModel):
    """Shown once. `otpauth_uri` is what a QR code carries."""

    secret: str
    otpauth_uri: str


class TotpCode(Body):
    code: Digits


class FactorAdded(BaseModel):
    """`recovery_codes` come with the first factor, once; else the list is empty. The tokens replace those of before,
    which are out of date."""

    recovery_codes: list[str]
    tokens: Tokens | CookieTokens


class PasskeyAdded(FactorAdded):
    passkey: PasskeyShown


class RecoveryCodes(BaseModel):
    """Shown once. Each stands in for the second factor once."""

    recovery_codes: list[str]


class Factors(BaseModel):
    """`methods` end a sign-in; without one of `totp` and `passkey` there is no second factor."""

    enabled: bool
    methods: list[Literal["totp", "passkey", "recovery_code"]]
    recovery_codes_remaining: int


class SecondFactor(WaitingSignIn):
    """`code` for `totp` and `recovery_code`; `ceremony_id` and `credential` for `passkey`; `ceremony_id` and `code` for
    `mailed_code`."""

    method: Literal["totp", "recovery_code", "passkey", "mailed_code"]
    code: Code | None = None
    ceremony_id: UUID | None = None
    credential: ShownCredential | None = None

    @model_validator(mode="after")
    def _require_parts(self) -> Self:
        if self.method == "passkey":
            if self.ceremony_id is None or self.credential is None:
                raise ValueError("A passkey comes with ceremony_id and credential.")
        elif self.code is None:
            raise ValueError("This method comes with a code.")
        elif self.method == "mailed_code" and self.ceremony_id is None:
            raise ValueError("A mailed code comes with ceremony_id.")
        return self

    def shown(self) -> Shown:
        answer = None
        if self.ceremony_id is not None and self.credential is not None:
            answer = Answer(ceremony_id=self.ceremony_id, credential=self.credential.model_dump())
        return Shown(method=self.method, code=self.code or "", passkey=answer, ceremony_id=self.ceremony_id)
