"""What providers tell us: somebody wrote, a message of ours got somewhere, or an account changed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from notify_service.domain.channels import Effect, ErrorClass, Setup

MESSAGE, RECEIPT, ACCOUNT = "message", "receipt", "account"
SENT, DELIVERED, READ, FAILED = "sent", "delivered", "read", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One item of a webhook or a poll. Providers repeat and reorder them; `dedupe_key` is the same every time."""

    kind: str
    """`message`, `receipt` or `account`."""
    dedupe_key: str
    at: datetime | None = None
    """When it happened, by the provider's clock."""
    peer: str | None = None
    """Who wrote, or got our message: an address of the channel."""
    provider_id: str | None = None
    """Of our message for a receipt, of theirs for a message."""
    correlation: UUID | None = None
    """The id of our delivery, where the provider gives it back."""
    state: str | None = None
    """Of a receipt: `sent`, `delivered`, `read` or `failed`."""
    code: str | None = None
    error: ErrorClass | None = None
    effect: Effect | None = None
    text: str | None = None
    media: Mapping[str, Any] | None = None
    """What is to be fetched, and how the provider names it."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What else is worth keeping; small."""


class Source(Protocol):
    """What a provider keeps for one account until somebody asks for it."""

    @property
    def rest_seconds(self) -> float:
        """How long to wait after a look that has found nothing."""

    async def fetch(self, cursor: str | None) -> tuple[Sequence[Event], str | None]:
        """What has happened since the cursor, and the cursor to store with it: the same one if there was nothing. May
        wait for news. Raises Refused."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A call of a provider, as it came."""

    method: str
    url: str
    """As the provider knows it: some sign it."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By name in small letters."""
    body: bytes
    evidence: bytes = b""
    """What the proof needs beside the call itself, as a certificate that it names."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider hears that only wants to know whether we are there."""

    content: bytes
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Inbound:
    """How what a provider tells is read. All of it pure, but what asks the provider back."""

    verify: Callable[[Hook, Setup], bool]
    """Whether it is the provider who calls, judged on the bytes that came."""
    parse: Callable[[Hook, Setup], Sequence[Event]]
    """Everything that the call tells. Raises ValueError for what is none."""
    challenge: Callable[[Hook, Setup], Reply | None] | None = None
    """The answer to a call that only asks whether we are there; None for one that tells something, or is forged."""
    evidence: Callable[[Hook, Setup], Awaitable[bytes]] | None = None
    """Fetches what `verify` needs beside the call. Raises ValueError for a call that is not worth it, and Refused."""
    obey: Callable[[Hook, Setup], Awaitable[None]] | None = None
    """Does what a proved call asks of us. Raises Refused: it is not answered with success, and so comes again."""
