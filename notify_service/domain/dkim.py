"""Signatures of mails (RFC 6376; Ed25519: RFC 8463), relaxed for headers and bodies alike."""

import re
from base64 import b64encode
from datetime import datetime
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

# What readers see, and what their programs act upon (RFC 6376, 5.4.1; RFC 8058, 4).
_COVERED = (
    *("from", "reply-to", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post"),
    *("mime-version", "content-type", "content-transfer-encoding"),
)
_FOLDED = re.compile(rb"\r\n(?=[ \t])")
_SPACES = re.compile(rb"[ \t]+")
_SPACES_AT_END = re.compile(rb"[ \t]+(?=\r\n)")
_EMPTY_END = re.compile(rb"(?:\r\n)+\Z")
_MIN_RSA_BITS = 1024
_FOLD_AT = 72


class Signer:
    """With one key, for one domain. `key` is PEM: RSA of 1024 bits at least (RFC 8301), or Ed25519.

    Raises ValueError for another one.
    """

    def __init__(self, domain: str, selector: str, key: str) -> None:
        try:
            loaded = load_pem_private_key(key.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("A DKIM key is a PEM of an RSA or Ed25519 private key.") from None
        if not isinstance(loaded, RSAPrivateKey | Ed25519PrivateKey):
            raise ValueError("A DKIM key is RSA or Ed25519.")  # noqa: TRY004  -- one error for all that is wrong with it
        if isinstance(loaded, RSAPrivateKey) and loaded.key_size < _MIN_RSA_BITS:
            raise ValueError(f"A DKIM key of RSA has at least {_MIN_RSA_BITS} bits.")
        self._key = loaded
        kind = "rsa" if isinstance(loaded, RSAPrivateKey) else "ed25519"
        self._start = f"v=1; a={kind}-sha256; c=relaxed/relaxed; d={domain}; s={selector}; "
        self._hashed: tuple[bytes, str] = (b"", _hash(b""))

    def sign(self, headers: bytes, content: bytes, at: datetime) -> bytes:
        """The header to put before all others. `headers` end with a line break and have each name once."""
        found = dict(_relaxed(line) for line in _FOLDED.sub(b"", headers).split(b"\r\n") if line)
        covered = [name for name in _COVERED if name in found]
        # `from` once more than it is there: a second one that somebody adds breaks the signature.
        value = (
            f"{self._start}t={int(at.timestamp())};\r\n h={':'.join(('from', *covered))};\r\n"
            f" bh={self._hash_of(content)};\r\n b="
        )
        unsigned = _relaxed(b"dkim-signature:" + _FOLDED.sub(b"", value.encode("ascii")))
        signed = b"".join(b"%s:%s\r\n" % (name.encode(), found[name]) for name in covered)
        proof = b64encode(self._proof(signed + b"dkim-signature:" + unsigned[1])).decode()
        folded = "\r\n ".join(proof[at : at + _FOLD_AT] for at in range(0, len(proof), _FOLD_AT))
        return f"DKIM-Signature: {value}{folded}\r\n".encode("ascii")

    def _proof(self, data: bytes) -> bytes:
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(sha256(data).digest())
        return self._key.sign(data, PKCS1v15(), hashes.SHA256())

    def _hash_of(self, content: bytes) -> str:
        """Many mails in a row have the same body."""
        if content != self._hashed[0]:
            self._hashed = content, _hash(content)
        return self._hashed[1]


def _hash(content: bytes) -> str:
    return b64encode(sha256(relaxed_body(content)).digest()).decode()


def relaxed_body(content: bytes) -> bytes:
    """RFC 6376, 3.4.4."""
    if b"\t" in content or b"  " in content or b" \r\n" in content:
        content = _SPACES.sub(b" ", _SPACES_AT_END.sub(b"", content))
    content = _EMPTY_END.sub(b"", content)
    return content + b"\r\n" if content else b""


def _relaxed(line: bytes) -> tuple[str, bytes]:
    """RFC 6376, 3.4.2."""
    name, _, value = line.partition(b":")
    return name.strip().lower().decode("ascii"), _SPACES.sub(b" ", value).strip()
