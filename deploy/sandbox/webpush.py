"""A push service and the browsers behind it: it checks who vouches for a message, and they decrypt what it carries.

Rules from RFC 8030 (statuses, TTL, Urgency, Topic), RFC 8188 and 8291 (encryption) and RFC 8292 (VAPID); the size of a
message and the lifetime of a voucher as Mozilla's and Google's services keep them, November 2026.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Faults
from libs.clock import Clock

log = structlog.get_logger(__name__)

PROVIDER = "webpush"
MOST_BYTES = 4096
_DAY_SECONDS = 86_400
_LEEWAY_SECONDS = 60
_MOST_TTL = 2_419_200
_KEPT = 1_000
_VAPID = re.compile(r"vapid t=([\w-]+\.[\w-]+\.[\w-]+), ?k=([\w-]+)")
_URGENCIES = {"very-low", "low", "normal", "high"}


class Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True)
class Browser:
    """One subscription, with what only the browser knows."""

    token: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    auth: bytes = field(repr=False)
    server_key: str | None
    alive: bool = True

    @property
    def point(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def as_json(self, base: str) -> dict[str, Any]:
        """What `PushSubscription.toJSON` gives."""
        return {
            "endpoint": f"{base}/webpush/push/{self.token}",
            "expirationTime": None,
            "keys": {"p256dh": _encoded(self.point), "auth": _encoded(self.auth)},
        }


@dataclass(frozen=True, slots=True)
class Push:
    id: str
    token: str
    topic: str | None
    headers: Mapping[str, str]
    text: str
    at: datetime

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "token": self.token, "headers": dict(self.headers), "text": self.text}


@dataclass
class PushService:
    effects: Effects
    clock: Clock
    faults: Faults = field(default_factory=Faults)
    browsers: dict[str, Browser] = field(default_factory=dict)
    pushes: deque[Push] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def subscribe(self, server_key: str | None) -> Browser:
        """`server_key`: whose messages the browser takes; none: anybody's."""
        key = ec.generate_private_key(ec.SECP256R1())
        browser = Browser(secrets.token_urlsafe(16), key, secrets.token_bytes(16), server_key)
        self.browsers[browser.token] = browser
        return browser

    def push(self, token: str, headers: Mapping[str, str], body: bytes, *, origin: str) -> Push:
        """Raises Refused."""
        browser = self.browsers.get(token)
        if browser is None or not browser.alive:
            raise Refused(404 if browser is None else 410, "no such subscription")
        self._require_voucher(browser, headers.get("authorization", ""), origin)
        self._require_form(headers, body)
        text = decrypt(body, browser).decode(errors="replace")
        topic = headers.get("topic")
        if topic is not None:
            for waiting in [each for each in self.pushes if (each.token, each.topic) == (token, topic)]:
                self.pushes.remove(waiting)
        kept = {name: headers[name] for name in ("ttl", "urgency", "topic") if name in headers}
        push = Push(secrets.token_urlsafe(12), token, topic, kept, text, self.clock.now())
        self.pushes.append(push)
        self.effects.add(PROVIDER, "delivered", recipients=(token,), data={"message": push.id})
        log.info("push_accepted", message=push.id)
        return push

    def newest_first(self, token: str = "") -> Sequence[Push]:
        return [each for each in reversed(self.pushes) if token in each.token]

    def _require_voucher(self, browser: Browser, header: str, origin: str) -> None:
        found = _VAPID.fullmatch(header)
        if found is None:
            raise Refused(401, "no VAPID")
        token, key = found.groups()
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _decoded(key))
            claims = json.loads(jws.deserialize_compact(token, _jwk(point), algorithms=["ES256"]).payload)
        except (JoseError, ValueError) as error:
            raise Refused(401, "the voucher is forged") from error
        left = claims.get("exp", 0) - self.clock.seconds()
        if claims.get("aud") != origin or not -_LEEWAY_SECONDS < left <= _DAY_SECONDS + _LEEWAY_SECONDS:
            raise Refused(401, "the voucher is for another service, or another time")
        if not str(claims.get("sub", "")).startswith(("mailto:", "https://")):
            raise Refused(401, "the voucher names nobody to turn to")
        if browser.server_key is not None and browser.server_key != key:
            raise Refused(403, "the subscription is another sender's")

    def _require_form(self, headers: Mapping[str, str], body: bytes) -> None:
        ttl = headers.get("ttl", "")
        if not ttl.isdigit() or int(ttl) > _MOST_TTL:
            raise Refused(400, "no TTL")
        if headers.get("urgency", "normal") not in _URGENCIES:
            raise Refused(400, "no such urgency")
        if headers.get("content-encoding") != "aes128gcm":
            raise Refused(415, "not aes128gcm")
        if len(body) > MOST_BYTES:
            raise Refused(413, "too long")


def decrypt(body: bytes, browser: Browser) -> bytes:
    """As a browser does it, step by step from the RFCs and not with what encrypts. Raises Refused."""
    salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20] if len(body) > 20 else 0
    sender, record = body[21 : 21 + length], body[21 + length :]
    try:
        other = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
    except ValueError as error:
        raise Refused(400, "no key of the sender") from error
    shared = browser.key.exchange(ec.ECDH(), other)
    secret = _hmac(_hmac(browser.auth, shared), b"WebPush: info\0" + browser.point + sender + b"\1")
    seed = _hmac(salt, secret)
    key = _hmac(seed, b"Content-Encoding: aes128gcm\0\1")[:16]
    nonce = _hmac(seed, b"Content-Encoding: nonce\0\1")[:12]
    if len(record) > size:
        raise Refused(400, "more than one record")
    try:
        padded = AESGCM(key).decrypt(nonce, record, None)
    except InvalidTag as error:
        raise Refused(400, "the browser cannot read it") from error
    text, mark, padding = padded.rpartition(b"\2")
    if not mark or padding.strip(b"\0"):
        raise Refused(400, "no last record")
    return text


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def _jwk(key: ec.EllipticCurvePublicKey) -> ECKey:
    numbers = key.public_numbers()
    coordinates = {name: _encoded(getattr(numbers, name).to_bytes(32, "big")) for name in ("x", "y")}
    return ECKey.import_key({"kty": "EC", "crv": "P-256", **coordinates})


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
