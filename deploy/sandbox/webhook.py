"""A customer's program: it keeps what it is sent, says whether the signature holds, and does nothing twice.

As Standard Webhooks 1.0.0 tells receivers to (github.com/standard-webhooks/standard-webhooks, spec): the id, the time
and the body are signed together, and five minutes is the most that a message may be old.
"""

import base64
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Faults
from libs.clock import Clock

log = structlog.get_logger(__name__)

PROVIDER = "webhook"
SECRET = "whsec_" + base64.b64encode(b"the secret of the sandbox").decode()
_TOLERANCE_SECONDS = 300
_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Hook:
    endpoint: str
    id: str
    body: Any
    signatures: int
    """How many came with it."""
    verified: bool
    repeated: bool
    at: datetime

    def as_json(self) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint,
            "id": self.id,
            "body": self.body,
            "signatures": self.signatures,
            "verified": self.verified,
            "repeated": self.repeated,
        }


@dataclass
class Customer:
    effects: Effects
    clock: Clock
    faults: Faults = field(default_factory=Faults)
    hooks: deque[Hook] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _secrets: dict[str, str] = field(default_factory=dict)

    def change_secret(self, endpoint: str, secret: str) -> None:
        self._secrets[endpoint] = secret

    def receive(self, endpoint: str, headers: Mapping[str, str], raw: bytes) -> bool:
        """Whether the message was really sent by whom it claims."""
        number = headers.get("webhook-id", "")
        verified = self.verify(endpoint, headers, raw)
        repeated = any((each.endpoint, each.id, each.verified) == (endpoint, number, True) for each in self.hooks)
        count = len(headers.get("webhook-signature", "").split())
        hook = Hook(endpoint, number, _parsed(raw), count, verified, repeated, self.clock.now())
        self.hooks.append(hook)
        if verified and not repeated:
            self.effects.add(PROVIDER, "delivered", recipients=(endpoint,), data={"message": number})
        log.info("webhook_received", message=number, verified=verified)
        return verified

    def verify(self, endpoint: str, headers: Mapping[str, str], raw: bytes) -> bool:
        stamp = headers.get("webhook-timestamp", "")
        if not stamp.isdigit() or abs(self.clock.seconds() - int(stamp)) > _TOLERANCE_SECONDS:
            return False
        key = base64.b64decode(self._secrets.get(endpoint, SECRET).removeprefix("whsec_"))
        content = b".".join((headers.get("webhook-id", "").encode(), stamp.encode(), raw))
        expected = b"v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest())
        given = headers.get("webhook-signature", "").encode("latin-1", "replace").split()
        return any(hmac.compare_digest(expected, each) for each in given)

    def newest_first(self, endpoint: str = "") -> Sequence[Hook]:
        return [each for each in reversed(self.hooks) if endpoint in each.endpoint]


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
