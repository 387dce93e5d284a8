"""Passkeys, as browsers speak of them (WebAuthn Level 3, `PublicKeyCredential.toJSON()`)."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from auth_service.domain.passkeys import Answer, Asking
from auth_service.schemas.fields import Line
from libs.shapes import Body, Moment, Resource, Text

Encoded = Annotated[Text, Field(max_length=16_384, pattern=r"^[A-Za-z0-9_-]+$")]
CredentialId = Annotated[Text, Field(max_length=1400, pattern=r"^[A-Za-z0-9_-]+$")]
PasskeyName = Annotated[Line, Field(min_length=1, max_length=100)]


class FromBrowser(BaseModel):
    """Browsers add fields as the standard grows; those that are not needed are ignored."""

    model_config = ConfigDict(extra="ignore")


class AttestationResponse(FromBrowser):
    clientDataJSON: Encoded  # noqa: N815
    attestationObject: Encoded  # noqa: N815
    transports: Annotated[list[Annotated[Text, Field(max_length=32)]], Field(max_length=16)] = []


class NewCredential(FromBrowser):
    id: CredentialId
    rawId: CredentialId  # noqa: N815
    type: Literal["public-key"]
    response: AttestationResponse


class AssertionResponse(FromBrowser):
    clientDataJSON: Encoded  # noqa: N815
    authenticatorData: Encoded  # noqa: N815
    signature: Encoded
    userHandle: Annotated[Text, Field(max_length=100)] | None = None  # noqa: N815


class ShownCredential(FromBrowser):
    id: CredentialId
    rawId: CredentialId  # noqa: N815
    type: Literal["public-key"]
    response: AssertionResponse


class PasskeyOptions(BaseModel):
    """`options` go to `navigator.credentials`, by way of `PublicKeyCredential.parse...OptionsFromJSON()`; its answer
    comes back with `ceremony_id` within five minutes."""

    ceremony_id: UUID
    options: dict[str, Any]

    @classmethod
    def of(cls, asking: Asking) -> Self:
        return cls(ceremony_id=asking.ceremony_id, options=asking.options)


class PasskeyAnswer(Body):
    ceremony_id: UUID
    credential: ShownCredential

    def answer(self) -> Answer:
        return Answer(ceremony_id=self.ceremony_id, credential=self.credential.model_dump())


class PasskeySignIn(PasskeyAnswer):
    cookie: Annotated[bool, Field(strict=True, description="Tokens come as cookies that no script can read.")] = False


class NewPasskey(Body):
    ceremony_id: UUID
    credential: NewCredential
    name: PasskeyName = "Passkey"

    def answer(self) -> Answer:
        return Answer(
            ceremony_id=self.ceremony_id,
            credential=self.credential.model_dump(),
            transports=self.credential.response.transports,
            name=self.name,
        )


class PasskeyRename(Body):
    name: PasskeyName


class PasskeyShown(Resource):
    """`backed_up`: it is kept by a provider and survives the device."""

    id: UUID
    name: str
    aaguid: str
    transports: list[str]
    backed_up: bool
    created_at: Moment
    last_used_at: Moment | None


class Passkeys(BaseModel):
    results: list[PasskeyShown]
