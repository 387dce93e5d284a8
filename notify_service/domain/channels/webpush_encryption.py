"""What a push service may carry and not read (RFC 8291, in the aes128gcm coding of RFC 8188), and how it knows whose
messages it carries (VAPID, RFC 8292)."""

import base64
import json
import os
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RECORD_BYTES = 4096
"""Of one message: no push service has to take more (RFC 8030, 7.2)."""
_POINT_BYTES = 65
_OVERHEAD = 16 + 4 + 1 + _POINT_BYTES + 1 + 16
MOST_BYTES = RECORD_BYTES - _OVERHEAD
"""What is left of it for what is said: 3993."""
# A service refuses what is good for more than a day.
_VOUCHER_SECONDS = 12 * 3600
_RENEW_SECONDS = 3600
_MOST_VOUCHERS = 100


def encrypt(
    plain: bytes,
    receiver: ec.EllipticCurvePublicKey,
    auth: bytes,
    *,
    salt: bytes | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """One record, which nobody but the browser can read. `salt` and `key` are new for each message, but for known
    ones to compare with."""
    salt = salt or os.urandom(16)
    key = key or ec.generate_private_key(ec.SECP256R1())
    sender_point, receiver_point = point(key.public_key()), point(receiver)
    shared = key.exchange(ec.ECDH(), receiver)
    secret = _derive(shared, auth, b"WebPush: info\x00" + receiver_point + sender_point, 32)
    content_key = _derive(secret, salt, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\x00", 12)
    head = salt + RECORD_BYTES.to_bytes(4, "big") + bytes([len(sender_point)]) + sender_point
    # 2: the last record.
    return head + AESGCM(content_key).encrypt(nonce, plain + b"\x02", None)


def _derive(material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(material)


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def read_point(text: str) -> ec.EllipticCurvePublicKey:
    """Raises ValueError for what is no point of P-256."""
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), read(text))


def read(text: str) -> bytes:
    """Raises ValueError for what is no base64url, with or without padding."""
    stripped = text.rstrip("=")
    return base64.b64decode(stripped + "=" * (-len(stripped) % 4), altchars=b"-_", validate=True)


def written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def new_key() -> str:
    """A private key, as it is kept."""
    key = ec.generate_private_key(ec.SECP256R1())
    return written(key.private_numbers().private_value.to_bytes(32, "big"))


class Vouchers:
    """Signs for the messages of one account: once for each push service, and again before a voucher ends."""

    def __init__(self, private_key: str, subject: str) -> None:
        """Raises ValueError for what is no private key of P-256."""
        self._key = ec.derive_private_key(int.from_bytes(read(private_key), "big"), ec.SECP256R1())
        self._subject = subject
        self._issued: dict[str, tuple[float, str]] = {}
        self.public_key = written(point(self._key.public_key()))

    def header(self, origin: str, now: datetime) -> str:
        """The Authorization for a push service."""
        until, header = self._issued.get(origin, (0.0, ""))
        if until - now.timestamp() < _RENEW_SECONDS:
            until = now.timestamp() + _VOUCHER_SECONDS
            header = f"vapid t={self._sign(origin, int(until))}, k={self.public_key}"
            if len(self._issued) >= _MOST_VOUCHERS:
                self._issued.clear()
            self._issued[origin] = (until, header)
        return header

    def _sign(self, origin: str, until: int) -> str:
        claims = {"aud": origin, "exp": until, "sub": self._subject}
        parts = (json.dumps(each, separators=(",", ":")).encode() for each in ({"typ": "JWT", "alg": "ES256"}, claims))
        signed = ".".join(written(each) for each in parts)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{written(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
