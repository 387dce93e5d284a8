"""A browser with an authenticator, in software: answers WebAuthn options as `PublicKeyCredential.toJSON()` would.

What it does wrong on request is what attackers try.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

ORIGIN = "http://localhost:8000"
PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40


@dataclass
class Authenticator:
    origin: str = ORIGIN
    rp_id: str | None = None
    flags: int = PRESENT | VERIFIED
    fmt: str = "none"
    attested: bytes = b""
    certified: bool = False
    cross_origin: bool = False
    counts: bool = True
    sign_count: int = 0
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    user_handle: str | None = None

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """`navigator.credentials.create()`."""
        self.user_handle = options["user"]["id"]
        public = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: public.x.to_bytes(32, "big"), -3: public.y.to_bytes(32, "big")}
        credential = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(cose)
        data = self._data(options["rp"]["id"], self.flags | ATTESTED) + credential
        client = self._client("webauthn.create", options["challenge"])
        attestation = cbor2.dumps({"fmt": self.fmt, "attStmt": self._statement(data, client), "authData": data})
        return self._credential(clientDataJSON=client, attestationObject=attestation, transports=["internal", "newer"])

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """`navigator.credentials.get()`."""
        if self.counts:
            self.sign_count += 1
        client = self._client("webauthn.get", options["challenge"])
        data = self._data(options["rpId"], self.flags)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        return self._credential(
            clientDataJSON=client, authenticatorData=data, signature=signature, userHandle=self.user_handle
        )

    def _data(self, rp_id: str, flags: int) -> bytes:
        domain = self.rp_id or rp_id
        return hashlib.sha256(domain.encode()).digest() + bytes([flags]) + self.sign_count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": self.cross_origin}
        return json.dumps(said).encode()

    def _statement(self, data: bytes, client: bytes) -> dict[str, Any]:
        """What the key says of itself, with a certificate if there is one."""
        if self.fmt == "none":
            return {}
        said = data + hashlib.sha256(self.attested or client).digest()
        signature = self.key.sign(said, ec.ECDSA(SHA256()))
        return {"alg": -7, "sig": signature, **({"x5c": [self.certificate()]} if self.certified else {})}

    def certificate(self) -> bytes:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Keys of example.com")])
        begins = datetime(2020, 1, 1, tzinfo=UTC)
        made = x509.CertificateBuilder(name, name, self.key.public_key(), 1, begins, begins.replace(year=2050))
        return made.sign(self.key, SHA256()).public_bytes(Encoding.DER)

    def _credential(self, **response: Any) -> dict[str, Any]:
        said = {name: encoded(value) if isinstance(value, bytes) else value for name, value in response.items()}
        own_id = encoded(self.credential_id)
        return {"id": own_id, "rawId": own_id, "type": "public-key", "clientExtensionResults": {}, "response": said}


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
