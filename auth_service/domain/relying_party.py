"""Passkeys (WebAuthn): what browsers are asked, and whether their answers are genuine. The only module that knows the
library."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import webauthn
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from webauthn.helpers import (
    base64url_to_bytes,
    options_to_json_dict,
    parse_attestation_object,
    parse_client_data_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationFormat,
    AttestationObject,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from auth_service.errors import InvalidPasskey

TIMEOUT_SECONDS = 300
_MAX_ID_BYTES = 1023
# What the parsers of CBOR, COSE and X.509 raise for bytes that nobody's browser has made.
_UNREADABLE = (
    WebAuthnException,
    InvalidSignature,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """`id` is the domain that passkeys are bound to, `origins` the pages below it that may ask for them."""

    id: str
    name: str
    origins: Sequence[str]

    def __post_init__(self) -> None:
        for origin in self.origins:
            host = urlsplit(origin).hostname or ""
            if host != self.id and not host.endswith(f".{self.id}"):
                raise ValueError(f"The passkey origin {origin} is not below the domain {self.id}.")


@dataclass(frozen=True, slots=True)
class Person:
    """As authenticators store and show them."""

    handle: bytes
    name: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Known:
    """A passkey that is known already."""

    credential_id: bytes
    transports: Sequence[str]


@dataclass(frozen=True, slots=True)
class Created:
    credential_id: bytes
    public_key: bytes
    sign_count: int
    aaguid: str
    backup_eligible: bool
    backed_up: bool


@dataclass(frozen=True, slots=True)
class Asserted:
    sign_count: int
    backed_up: bool


def creation_options(
    party: RelyingParty, person: Person, challenge: bytes, *, excluded: Sequence[Known]
) -> dict[str, Any]:
    """For `navigator.credentials.create()`: a discoverable credential that verifies its user, without attestation."""
    selection = AuthenticatorSelectionCriteria(
        resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
    )
    options = webauthn.generate_registration_options(
        rp_id=party.id,
        rp_name=party.name,
        user_id=person.handle,
        user_name=person.name,
        user_display_name=person.display_name,
        challenge=challenge,
        timeout=TIMEOUT_SECONDS * 1000,
        authenticator_selection=selection,
        exclude_credentials=_descriptors(excluded),
    )
    return options_to_json_dict(options)


def request_options(party: RelyingParty, challenge: bytes, *, allowed: Sequence[Known] = ()) -> dict[str, Any]:
    """For `navigator.credentials.get()`. With nothing in `allowed` the authenticator offers whom it knows."""
    options = webauthn.generate_authentication_options(
        rp_id=party.id,
        challenge=challenge,
        timeout=TIMEOUT_SECONDS * 1000,
        allow_credentials=_descriptors(allowed),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


def read_creation(party: RelyingParty, credential: Mapping[str, Any], challenge: bytes) -> Created:
    """Raises InvalidPasskey, whatever is wrong."""
    return _reading(lambda: _creation(party, dict(credential), challenge))


def read_assertion(
    party: RelyingParty, credential: Mapping[str, Any], challenge: bytes, *, public_key: bytes
) -> Asserted:
    """Raises InvalidPasskey, whatever is wrong. Whether the sign count has grown is for the caller to see."""
    return _reading(lambda: _assertion(party, dict(credential), challenge, public_key))


def decoded(text: str) -> bytes:
    return _reading(lambda: base64url_to_bytes(text))


def known_transports(given: Sequence[str]) -> list[str]:
    """Of what a browser says; newer ones than the library knows are left out."""
    known = {str(transport.value) for transport in AuthenticatorTransport}
    return sorted(known.intersection(given))


def _creation(party: RelyingParty, credential: dict[str, Any], challenge: bytes) -> Created:
    _require_own_page(credential)
    attestation = parse_attestation_object(base64url_to_bytes(credential["response"]["attestationObject"]))
    if not _brings_no_certificate(attestation):
        raise InvalidPasskey
    made = webauthn.verify_registration_response(
        credential=credential,
        expected_challenge=challenge,
        expected_rp_id=party.id,
        expected_origin=list(party.origins),
        require_user_verification=True,
    )
    if len(made.credential_id) > _MAX_ID_BYTES:
        raise InvalidPasskey
    return Created(
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        sign_count=made.sign_count,
        aaguid=made.aaguid,
        backup_eligible=made.credential_device_type == CredentialDeviceType.MULTI_DEVICE,
        backed_up=made.credential_backed_up,
    )


def _brings_no_certificate(attestation: AttestationObject) -> bool:
    """No attestation was asked for, and browsers then leave out all but what a key says of itself. Other kinds would
    bring certificates that nothing here trusts, and parsers for them."""
    itself = attestation.fmt == AttestationFormat.PACKED and attestation.att_stmt.x5c is None
    return itself or attestation.fmt == AttestationFormat.NONE


def _assertion(party: RelyingParty, credential: dict[str, Any], challenge: bytes, public_key: bytes) -> Asserted:
    _require_own_page(credential)
    shown = webauthn.verify_authentication_response(
        credential=credential,
        expected_challenge=challenge,
        expected_rp_id=party.id,
        expected_origin=list(party.origins),
        credential_public_key=public_key,
        # The library compares before it checks the signature; only what is signed can tell of a copied key.
        credential_current_sign_count=0,
        require_user_verification=True,
    )
    return Asserted(shown.new_sign_count, shown.credential_backed_up)


def _require_own_page(credential: dict[str, Any]) -> None:
    """Not inside a frame of another site, which could trick its visitor into confirming."""
    client = parse_client_data_json(base64url_to_bytes(credential["response"]["clientDataJSON"]))
    if client.cross_origin:
        raise InvalidPasskey


def _reading(read: Callable[[], Result]) -> Result:
    try:
        return read()
    except _UNREADABLE:
        raise InvalidPasskey from None


def _descriptors(known: Sequence[Known]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=each.credential_id, transports=[AuthenticatorTransport(name) for name in each.transports]
        )
        for each in known
    ]
