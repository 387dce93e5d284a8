"""What the sender knows of a channel. One file a channel; each is told everything and touches no database, queue,
clock or environment, so that a simulator at the other end of a socket is all that its tests need.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID


class ErrorClass(StrEnum):
    """What a failure means for what comes next. Providers' codes are translated into these by each channel."""

    TRANSIENT = "transient"  # this message may work later
    PERMANENT = "permanent"  # this message never works
    AMBIGUOUS = "ambiguous"  # it may have arrived: no answer came
    THROTTLE = "throttle"  # the account must wait; the message is not to blame
    AUTH = "auth"  # the account is refused; somebody has to look
    UNREACHABLE = "unreachable"  # nobody answers; the message was never offered


NO_CHANNEL = "no_channel"
"""The code of a message for which no provider is configured."""
BLAMES_ACCOUNT = frozenset({ErrorClass.THROTTLE, ErrorClass.AUTH, ErrorClass.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt. Without an error class: the provider has taken the message over.

    `code` is for the log of attempts: digits of the provider or a word of ours, never its prose, which may quote
    addresses. `pause_seconds`: how long the provider wants the account to stay away.
    """

    error: ErrorClass | None = None
    code: str | None = None
    provider_id: str | None = None
    pause_seconds: float | None = None


class CannotOpen(Exception):
    """A line to the provider could not be opened."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


class CannotRender(Exception):
    """This message can never be put into the form of the channel. `reason` goes to its row."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Message:
    id: UUID
    address: str
    template: str
    variables: Mapping[str, Any]
    secret: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Capability:
    channel: str
    provider: str
    lines: int
    """Messages in flight at a time."""


class Line(Protocol):
    """One connection to the provider, or one seat where there are no connections. Sends one message at a time."""

    async def open(self) -> None:
        """Ready to send; nothing to do when it is. Raises CannotOpen."""

    async def send(self, address: str, payload: bytes) -> Outcome:
        """Offers one message. Never raises for what the provider does."""

    async def close(self) -> None: ...


class Channel(Protocol):
    @property
    def capability(self) -> Capability: ...

    def render(self, message: Message) -> bytes:
        """Pure. Raises CannotRender."""

    def line(self) -> Line: ...
