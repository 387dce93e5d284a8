"""Encryption of single fields at rest and in events: AES-256-GCM with a key id."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class CannotDecrypt(ValueError):
    """Wrong key, changed text, or a text that belongs to another place."""


def field_keys(text: str) -> dict[str, bytes]:
    """By key id, from `kid:base64url-of-32-bytes`, comma separated, the current one first. Raises ValueError."""
    found = {}
    for entry in text.split(","):
        kid, _, secret = entry.strip().partition(":")
        raw = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
        if not kid or len(raw) != 32:
            raise ValueError("A field key is `kid:base64url` of 32 bytes.")
        found[kid] = raw
    return found


class FieldCipher:
    """Encrypts with the first key, decrypts with any.

    `keys` are as `field_keys` takes them. The context (say `user:<id>:totp`) is authenticated with the text, so a
    ciphertext that is moved to another row does not open there.
    """

    def __init__(self, keys: str) -> None:
        self._keys = {kid: AESGCM(raw) for kid, raw in field_keys(keys).items()}
        self.current = next(iter(self._keys))

    def encrypt(self, text: str, context: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[self.current].encrypt(nonce, text.encode(), context.encode())
        return f"{self.current}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def decrypt(self, sealed: str, context: str) -> str:
        kid, _, encoded = sealed.partition(".")
        key = self._keys.get(kid)
        if key is None:
            raise CannotDecrypt
        try:
            raw = base64.urlsafe_b64decode(encoded)
            return key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context.encode()).decode()
        except (InvalidTag, ValueError):
            raise CannotDecrypt from None
