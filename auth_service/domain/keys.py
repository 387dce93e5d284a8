"""The public half of the signing keys."""

import hashlib
import json
from dataclasses import dataclass

from libs.keys import USER, KeyRing


@dataclass(frozen=True, slots=True)
class KeySet:
    """`body` is the document of RFC 7517 in bytes, so that its tag is that of what is sent."""

    body: bytes
    etag: str


def published(ring: KeyRing) -> KeySet:
    """The keys of access tokens that others may check with: the next one as well, before its turn comes.

    A shared secret (HS256) is never among them, nor a revoked key.
    """
    users = [key for key in ring.all() if key.owner == USER and key.alg == "ES256"]
    keys = [key.public_jwk() for key in users if key.state != "revoked"]
    body = json.dumps({"keys": keys}, separators=(",", ":"), sort_keys=True).encode()
    return KeySet(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
