"""What reached the outside, in order. Tests of exactly-once delivery compare their database with this log."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from libs.clock import Clock, rfc3339

KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Effect:
    number: int
    at: str
    provider: str
    kind: str
    recipients: tuple[str, ...]
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "at": self.at,
            "provider": self.provider,
            "kind": self.kind,
            "recipients": list(self.recipients),
            "data": dict(self.data),
        }


class Effects:
    """Append-only and bounded; numbers go on after `clear`, so a reader can tell old from new."""

    def __init__(self, clock: Clock, *, kept: int = KEPT) -> None:
        self._clock = clock
        self._entries: deque[Effect] = deque(maxlen=kept)
        self._last = 0

    def add(self, provider: str, kind: str, *, recipients: tuple[str, ...], data: Mapping[str, Any]) -> None:
        self._last += 1
        at = rfc3339(self._clock.now())
        self._entries.append(Effect(self._last, at, provider, kind, recipients, data))

    def since(self, after: int = 0, *, provider: str | None = None) -> list[Effect]:
        return [
            entry
            for entry in self._entries
            if entry.number > after and (provider is None or entry.provider == provider)
        ]

    def clear(self) -> None:
        self._entries.clear()
