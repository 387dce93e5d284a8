"""What the sender knows of a channel. One file a provider; each is told everything and touches no database, queue,
clock or environment, so that a simulator at the other end of a socket is all that its tests need.

A `Provider` says what it can do and how its accounts are set up; a `Channel` is one account of it; a `Line` is one
connection of that, and sends one message at a time.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from pydantic import BaseModel

from notify_service.domain.content import Content

if TYPE_CHECKING:
    from notify_service.domain.channels.inbound import Inbound, Source
    from notify_service.domain.channels.whatsapp_templates import Template


class ErrorClass(StrEnum):
    """What a failure means for what comes next. Providers' codes are translated into these by each channel."""

    TRANSIENT = "transient"  # this message may work later
    PERMANENT = "permanent"  # this message never works
    AMBIGUOUS = "ambiguous"  # it may have arrived: no answer came
    WINDOW = "window"  # the provider takes no free text for this recipient now
    RECIPIENT = "recipient"  # this recipient must wait; neither the message nor the account is to blame
    THROTTLE = "throttle"  # the account must wait; the message is not to blame
    AUTH = "auth"  # the account is refused; somebody has to look
    UNREACHABLE = "unreachable"  # nobody answers; the message was never offered


class Effect(StrEnum):
    """What a refusal says beyond its message."""

    SUPPRESS = "suppress"  # the address is dead: nothing more to it on this channel
    OPT_OUT = "opt_out"  # its owner wants no marketing any more
    STOP_CAMPAIGN = "stop_campaign"  # every message of this content would fail


NO_CHANNEL = "no_channel"
"""The code of a message for which no provider is configured."""
BLAMES_ACCOUNT = frozenset({ErrorClass.THROTTLE, ErrorClass.AUTH, ErrorClass.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt. Without an error class: the provider has taken the message over.

    `code` is for the log of attempts: digits of the provider or a word of ours, never its prose, which may quote
    addresses. `pause_seconds`: how long the provider wants the account, or for RECIPIENT this recipient, to stay away.
    `left` and `reset_seconds`: how many more the provider takes before its limit starts anew, where it says so.
    """

    error: ErrorClass | None = None
    code: str | None = None
    provider_id: str | None = None
    pause_seconds: float | None = None
    effect: Effect | None = None
    left: int | None = None
    reset_seconds: float | None = None


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
    """What goes to one address: one of our own templates with its variables and secret, or a content.

    A content comes with its variables put in, but for channels that set `fills`: they do that themselves.
    """

    id: UUID
    address: str
    template: str | None
    variables: Mapping[str, Any]
    secret: str | None
    at: datetime
    content: Content | None = None
    unsubscribe: str | None = None
    """Address of the recipient's own one-click page, for messages that can be switched off."""
    category: str = "general"


@dataclass(frozen=True, slots=True)
class Media:
    """What a provider takes of one kind of file."""

    max_bytes: int
    types: tuple[str, ...] = ()
    """MIME types; none: any."""
    caption_max: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Free text is taken only so long after somebody wrote; outside it `instead` (`template`) or nothing is."""

    hours: int
    instead: str | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` messages in `seconds`: of the `account` together, or to one `recipient`."""

    scope: str
    limit: float
    seconds: float = 1.0
    burst: int = 1
    beginnings: tuple[str, ...] = ()
    """Of a rate to one recipient: it holds for addresses that begin like one of these; none: for all."""


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` within a sliding `hours`; `unit` is `message`, or `recipient`: people who are written to while no
    window is open, each of whom counts once.

    `pool`: what all accounts that name it share; none: it is the account's own.
    """

    limit: int
    hours: int = 24
    unit: str = "message"
    pool: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What a provider takes and promises, served by the API and obeyed by everything here."""

    channel: str
    provider: str
    lines: int
    """Messages in flight at a time."""
    address: str = "text"
    """What its addresses are: `email`, `phone`, `chat`, `subscription`, `device`, `url`, `user`."""
    text_max: int | None = None
    """Characters of a text; longer ones are `overflow`."""
    overflow: str = "split"
    """`split` into several messages, `truncate`, or `refuse`."""
    subject_max: int | None = None
    """None: there is no subject; one that is given goes before the text."""
    markup: str = "plain"
    """`plain`, `html`, or the provider's own: what formatted text becomes."""
    media: Mapping[str, Media] = field(default_factory=dict)
    takes: frozenset[str] = frozenset()
    """Of `choices`, `reaction`, `reply_to`: what it takes beyond text and media."""
    buttons: int = 0
    button_title_max: int = 20
    templates: bool = False
    """Whether the provider keeps approved templates of its own."""
    window: Window | None = None
    rates: tuple[Rate, ...] = ()
    quota: Quota | None = None
    receipts: frozenset[str] = frozenset()
    """Of `delivered` and `read`: what it tells afterwards."""
    inbound: frozenset[str] = frozenset()
    """`webhook`, `poll`: how what people answer arrives."""
    idempotency: str = "none"
    """`native`: a repeated id has no second effect; `correlate`: an id of ours comes back with receipts; `none`."""
    bulk: bool = True
    """Whether one message may go to many: a campaign, or a request with more than one recipient."""
    interchangeable: bool = False
    """Whether another account of the channel reaches the same addresses, and may stand in."""
    errors: Mapping[str, ErrorClass] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a content or an address cannot go over a channel. `field` is a path as `content.media.type`."""

    field: str
    message: str


class Line(Protocol):
    """One connection to the provider, or one seat where there are no connections. Sends one message at a time."""

    async def open(self) -> None:
        """Ready to send; nothing to do when it is. Raises CannotOpen."""

    async def send(self, address: str, payload: Any) -> Outcome:
        """Offers one message, as `render` made it. Never raises for what the provider does."""

    async def close(self) -> None: ...


class Channel(Protocol):
    """One account."""

    @property
    def capability(self) -> Capability: ...

    @property
    def fills(self) -> bool:
        """Whether it puts variables into contents itself; the content it gets is always the same object then."""

    def render(self, message: Message) -> Any:
        """What `send` of its lines takes. Pure. Raises CannotRender."""

    def line(self) -> Line: ...


Keep = Callable[[BaseModel], Awaitable[None]]


async def keep_nothing(secrets: BaseModel) -> None:
    """For who only looks at an account."""
    del secrets


@dataclass(frozen=True, slots=True)
class Setup:
    """An account as it is stored: validated by the provider's own models."""

    name: str
    config: Any
    secrets: Any = field(repr=False)
    keep: Keep = keep_nothing
    """Stores secrets that the provider has exchanged for new ones."""
    private_networks: bool = False
    """Whether addresses that others have named may lead inside. The operator's word alone: never part of `config`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """All that is to know of a provider: each file here has its `PROVIDER`, and `registry` names them."""

    capability: Capability
    config: type[BaseModel]
    """What an account is set up with, readable by everybody who may see accounts. With the address of the API, so that
    a simulator is only another address."""
    secrets: type[BaseModel]
    """What it is set up with and nobody reads again."""
    open: Callable[[Setup], Channel]
    check_address: Callable[[str], str]
    """The address in its one form. Raises ValueError with a sentence for people."""
    check_content: Callable[[Content], Sequence[Problem]] | None = None
    """What this provider takes beyond its capability. Pure."""
    admits: Callable[[Setup, str], object] | None = None
    """Where accounts do not send to every address that has the form: raises CannotRender for one to which this account
    sends nothing. It is not told the secrets."""
    inbound: "Inbound | None" = None
    """How what it tells us is read, where it tells anything."""
    templates: "Callable[[Setup], Awaitable[Sequence[Template]]] | None" = None
    """All templates that it keeps for an account. Raises `http.Refused`."""
    source: "Callable[[Setup], Source | None] | None" = None
    """Where an account is asked for what happened, if it is one that is asked. Raises ValueError."""
    download: Callable[[Setup, Mapping[str, Any], int], Awaitable[bytes]] | None = None
    """A file that somebody has sent, by its item in the media of a message, and the most bytes that it may have. Raises
    Refused, with a class that says whether to try again."""
    able: Callable[[Any], Capability] | None = None
    """What an account with this config takes and promises, where that is not the same for all."""
    complete: Callable[[dict[str, Any], dict[str, Any]], None] | None = None
    """Adds to a new account's config and secrets, before they are checked, what is ours to make: keys."""
    ours: bool = False
    """Whether it goes no further than our own database: nobody sets up an account of it, and what may have left when
    its worker died leaves again, with no second effect."""
    shared: frozenset[str] = frozenset()
    """Of the secrets that `complete` makes those that somebody else has to know too: they are shown once."""
