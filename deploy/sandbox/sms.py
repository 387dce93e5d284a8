"""The provider of text messages: takes them over HTTP, keeps them to be looked at, and fails as scripted."""

import hmac
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import structlog
from pydantic import BaseModel, ConfigDict, Field

from deploy.sandbox.effects import Effects
from deploy.sandbox.faults import Faults
from libs.clock import Clock, rfc3339

log = structlog.get_logger(__name__)

PROVIDER = "sms"
KEPT_TEXTS = 1_000


class Order(BaseModel):
    """What is asked of the provider. Of several orders with one `id` the first is sent and no other."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]
    to: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")]
    from_: Annotated[str, Field(alias="from", min_length=1, max_length=32)]
    text: Annotated[str, Field(min_length=1, max_length=1_600)]


@dataclass(frozen=True, slots=True)
class Text:
    id: str
    to: str
    sender: str
    text: str
    received_at: datetime

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "to": self.to,
            "from": self.sender,
            "text": self.text,
            "received_at": rfc3339(self.received_at),
        }


class Texts:
    """The newest messages, once for each id."""

    def __init__(self, token: str, effects: Effects, clock: Clock, *, kept: int = KEPT_TEXTS) -> None:
        self.faults = Faults()
        self._token = token
        self._effects = effects
        self._clock = clock
        self._kept: deque[Text] = deque(maxlen=kept)
        self._seen: dict[str, None] = {}

    def knows(self, authorization: str) -> bool:
        return hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode())

    def deliver(self, order: Order) -> str:
        """The provider's own id of the message."""
        message_id = f"sms-{order.id}"
        if order.id in self._seen:
            return message_id
        self._seen[order.id] = None
        if len(self._seen) > 10 * KEPT_TEXTS:
            del self._seen[next(iter(self._seen))]
        self._kept.append(Text(message_id, order.to, order.from_, order.text, self._clock.now()))
        self._effects.add(PROVIDER, "delivered", recipients=(order.to,), data={"message": message_id})
        log.info("sms_accepted", message=message_id)
        return message_id

    def refuse(self, order: Order, reply: str | None) -> None:
        self._effects.add(PROVIDER, "refused", recipients=(order.to,), data={"reply": reply})

    def newest_first(self, to: str = "") -> Sequence[Text]:
        """Those to numbers that contain `to`."""
        part = to.strip()
        return [each for each in reversed(self._kept) if part in each.to]

    def clear(self) -> None:
        self._kept.clear()
