"""Firebase Cloud Messaging (HTTP v1) and the phones behind it, with Google's token endpoint.

Shapes, codes and rules from firebase.google.com/docs/cloud-messaging (HTTP v1 reference, error codes) and
developers.google.com/identity/protocols/oauth2/service-account, as of November 2026.
"""

import json
import re
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Faults
from libs.clock import Clock

log = structlog.get_logger(__name__)

PROVIDER = "fcm"
PROJECT = "parley-sandbox"
EMAIL = f"parley@{PROJECT}.iam.gserviceaccount.com"
MOST_BYTES = 4096
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_HOUR = 3600
_LEEWAY_SECONDS = 60
_KEPT = 1_000
_RESERVED = re.compile(r"from|message_type|gcm.*|google.*")
_TTL = re.compile(r"\d{1,7}(\.\d+)?s")
# What each code of FCM is in HTTP and in Google's own words.
CODES: Mapping[str, tuple[int, str]] = {
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT"),
    "UNREGISTERED": (404, "NOT_FOUND"),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED"),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED"),
    "UNAVAILABLE": (503, "UNAVAILABLE"),
    "INTERNAL": (500, "INTERNAL"),
    "THIRD_PARTY_AUTH_ERROR": (401, "UNAUTHENTICATED"),
}


class Refused(Exception):
    """`status` is Google's word, `code` FCM's."""

    def __init__(self, http: int, status: str, code: str | None = None, wrong: str | None = None) -> None:
        super().__init__(code or status)
        self.http = http
        self.status = status
        self.code = code
        self.wrong = wrong
        """The field that is."""


@dataclass(frozen=True, slots=True)
class Push:
    id: str
    device: str
    message: Mapping[str, Any]
    at: datetime

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "device": self.device, "message": dict(self.message)}


@dataclass
class Firebase:
    effects: Effects
    clock: Clock
    faults: Faults = field(default_factory=Faults)
    pushes: deque[Push] = field(default_factory=lambda: deque(maxlen=_KEPT))
    devices: dict[str, bool] = field(default_factory=dict)
    """By token: whether its program is still installed."""
    expires_in: int = _HOUR
    issued: int = 0
    """How many access tokens were asked for."""
    _tokens: dict[str, float] = field(default_factory=dict)

    @cached_property
    def key(self) -> RSAKey:
        return RSAKey.generate_key(2048, {"kid": "sandbox"}, private=True)

    def service_account(self, token_uri: str) -> dict[str, Any]:
        """The file that the console gives."""
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "sandbox",
            "private_key": self.key.as_pem(private=True).decode(),
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": token_uri,
        }

    def exchange(self, grant: str, assertion: str, token_uri: str) -> dict[str, Any]:
        """Raises ValueError for an assertion that is not this account's, or not for now."""
        self.issued += 1
        try:
            claims = jwt.decode(assertion, self.key, algorithms=["RS256"]).claims
        except (JoseError, ValueError) as error:
            raise ValueError("forged") from error
        now = self.clock.seconds()
        begins, ends = claims.get("iat", 0), claims.get("exp", 0)
        wanted = (_GRANT, EMAIL, token_uri, _SCOPE)
        timely = begins - _LEEWAY_SECONDS <= now < ends <= begins + _HOUR
        if (grant, claims.get("iss"), claims.get("aud"), claims.get("scope")) != wanted or not timely:
            raise ValueError("not for this")
        token = f"ya29.{secrets.token_urlsafe(24)}"
        self._tokens[token] = now + self.expires_in
        return {"access_token": token, "expires_in": self.expires_in, "token_type": "Bearer"}

    def revoke(self) -> None:
        """No access token is good any more."""
        self._tokens.clear()

    def register(self) -> str:
        """A program is installed."""
        token = f"{secrets.token_urlsafe(16)}:APA91b{secrets.token_urlsafe(90)}"
        self.devices[token] = True
        return token

    def send(self, project: str, authorization: str, message: Any) -> Push:
        """Raises Refused."""
        if self._tokens.get(authorization.removeprefix("Bearer "), 0.0) <= self.clock.seconds():
            raise Refused(401, "UNAUTHENTICATED")
        if project != PROJECT:
            raise Refused(404, "NOT_FOUND")
        device = self._device(message)
        _check(message)
        push = Push(f"0:{secrets.token_hex(12)}", device, message, self.clock.now())
        self.pushes.append(push)
        self.effects.add(PROVIDER, "delivered", recipients=(device,), data={"message": push.id})
        log.info("fcm_accepted", message=push.id)
        return push

    def newest_first(self, device: str = "") -> Sequence[Push]:
        return [each for each in reversed(self.pushes) if device in each.device]

    def _device(self, message: Any) -> str:
        token = message.get("token") if isinstance(message, dict) else None
        if not isinstance(token, str):
            raise _invalid("message")
        if ":APA91b" not in token:
            raise _invalid("message.token")
        if not self.devices.get(token, False):
            raise Refused(404, "NOT_FOUND", "UNREGISTERED")
        return token


def _check(message: Mapping[str, Any]) -> None:
    data = message.get("data", {})
    if not isinstance(data, dict) or not all(isinstance(each, str) for each in data.values()):
        raise _invalid("message.data")
    if any(_RESERVED.fullmatch(name) for name in data):
        raise _invalid("message.data")
    if not _TTL.fullmatch(message.get("android", {}).get("ttl", "0s")):
        raise _invalid("message.android.ttl")
    said = {name: message[name] for name in ("notification", "data") if name in message}
    if len(json.dumps(said, ensure_ascii=False).encode()) > MOST_BYTES:
        raise Refused(400, "INVALID_ARGUMENT")
    unknown = message.keys() - {"token", "notification", "data", "android", "apns", "webpush", "fcm_options"}
    if unknown:
        raise _invalid(f"message.{min(unknown)}")


def _invalid(name: str) -> Refused:
    return Refused(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", name)
