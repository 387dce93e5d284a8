"""Where mails come back to, and what it means that one did."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from notify_service.domain.channels import Effect, ErrorClass
from notify_service.domain.channels.inbound import DELIVERED, FAILED, RECEIPT, SENT, Event

DEAD = frozenset(
    {
        "5.1.1",  # no such mailbox
        "5.1.2",  # no such domain
        "5.1.3",  # no address at all
        "5.1.6",  # the mailbox has moved
        "5.1.10",  # the domain takes no mail (RFC 7505); Exchange Online: no such mailbox
        "5.2.1",  # switched off
    }
)
"""Enhanced codes (RFC 3463 and its IANA registry) that say that an address is worth nothing any more."""
ENHANCED = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])")
_POLICY = re.compile(r"5\.7\.\d+|5\.1\.[78]")
_OUR_ID = re.compile(r"<?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})@[^\s<>@]+>?")
_MAX_CODE_CHARS = 40
_MIN_KEY_BYTES = 16
_PROOF_CHARS = 20
_LOCAL_PART = re.compile(rf"b\+([0-9a-f]{{32}})\.([0-9a-f]{{{_PROOF_CHARS}}})")


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """An address of its own for each mail (VERP): whatever comes back to it is about that mail, and nobody else can
    make one. Raises ValueError for a key that is too short."""

    domain: str
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < _MIN_KEY_BYTES:
            raise ValueError(f"A return_path_key has at least {_MIN_KEY_BYTES} characters.")

    def of(self, delivery_id: UUID) -> str:
        return f"b+{delivery_id.hex}.{self._proof(delivery_id.hex)}@{self.domain}"

    def read(self, address: str) -> UUID | None:
        """The delivery that an address of ours is about; None for any other address."""
        local, _, domain = address.strip().lower().rpartition("@")
        found = _LOCAL_PART.fullmatch(local)
        if found is None or domain != self.domain.lower():
            return None
        return UUID(found[1]) if hmac.compare_digest(found[2], self._proof(found[1])) else None

    def _proof(self, delivery: str) -> str:
        return hmac.new(self.key, delivery.encode(), sha256).hexdigest()[:_PROOF_CHARS]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What became of a mail."""

    state: str | None
    error: ErrorClass | None = None
    effect: Effect | None = None
    bounce: str | None = None
    """`hard`: the address is dead; `policy`: it is not, but wants nothing from us; `soft`: it may work another time."""
    because: str | None = None
    """With an effect: the reason of the suppression, as `domain.suppressions` has them."""


ARRIVED = Meaning(DELIVERED)
DELAYED = Meaning(SENT, ErrorClass.TRANSIENT)
HARD = Meaning(FAILED, ErrorClass.PERMANENT, Effect.SUPPRESS, "hard", "bounce")
POLICY = Meaning(FAILED, ErrorClass.PERMANENT, None, "policy")
OPTED_OUT = Meaning(FAILED, ErrorClass.PERMANENT, Effect.OPT_OUT, "policy", "unsubscribe")
SOFT = Meaning(FAILED, ErrorClass.TRANSIENT, None, "soft")
COMPLAINT = Meaning(DELIVERED, None, Effect.OPT_OUT, None, "complaint")
UNSUBSCRIBED = Meaning(None, None, Effect.OPT_OUT, None, "unsubscribe")


def failed(status: str) -> Meaning:
    """By an enhanced code. A full mailbox, or a code that tells nothing, is no dead address."""
    if status in DEAD:
        return HARD
    return POLICY if _POLICY.fullmatch(status) else SOFT


def delivery_of(message_id: str | None) -> UUID | None:
    """The delivery whose mail had this Message-ID. Nobody can guess one."""
    found = _OUR_ID.fullmatch(message_id.strip()) if message_id else None
    return UUID(found[1]) if found else None


class About(NamedTuple):
    """Which mail something is about."""

    correlation: UUID | None
    provider_id: str | None = None
    """What the service that took it calls it."""


def event(
    meaning: Meaning,
    about: About,
    *,
    key: tuple[object, ...],
    peer: str | None,
    code: str | None = None,
    at: datetime | None = None,
    data: Mapping[str, Any] | None = None,
) -> Event:
    """A receipt. `key`: what is the same whenever this is told again."""
    said = {name: value for name in ("bounce", "because") if (value := getattr(meaning, name))}
    return Event(
        kind=RECEIPT,
        dedupe_key=sha256("\0".join(map(str, key)).encode("utf-8", "replace")).hexdigest(),
        at=at,
        peer=peer,
        provider_id=about.provider_id,
        correlation=about.correlation,
        state=meaning.state,
        code=code[:_MAX_CODE_CHARS] if code else None,
        error=meaning.error,
        effect=meaning.effect,
        data={**said, **(data or {})},
    )
