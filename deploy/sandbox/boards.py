"""Channels that people read: what was posted there last, for pages and tests."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deploy.sandbox.effects import Effects
from libs.clock import Clock

KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Posting:
    at: datetime
    words: str
    """All of it that is text."""
    links: tuple[tuple[str, str], ...] = ()
    """Titles and addresses of its buttons and links."""


class Board:
    """Of one provider."""

    def __init__(self, provider: str, effects: Effects, clock: Clock) -> None:
        self._provider = provider
        self._effects = effects
        self._clock = clock
        self._kept: deque[Posting] = deque(maxlen=KEPT)

    def add(self, words: str, links: Sequence[tuple[str, str]], data: Mapping[str, Any]) -> None:
        self._kept.append(Posting(self._clock.now(), words, tuple(links)))
        self._effects.add(self._provider, "delivered", recipients=("default",), data=data)

    def newest_first(self) -> list[Posting]:
        return list(reversed(self._kept))

    def clear(self) -> None:
        self._kept.clear()
