"""What WhatsApp knows: people with their phones, businesses with their numbers, templates, files and messages."""

import hashlib
import re
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deploy.sandbox.callbacks import Callbacks

DAY_SECONDS = 86_400.0
MEDIA_SECONDS = 30 * DAY_SECONDS
PAIR_SECONDS, PAIR_BURST = 6.0, 45
_COUNTRIES = {"+1": "US", "+44": "GB", "+49": "DE", "+91": "IN", "+234": "NG", "+52": "MX"}
_GAP = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")

Status = Literal["sent", "delivered", "read", "failed"]


@dataclass(slots=True)
class Person:
    """Somebody with a phone."""

    phone: str
    name: str = "Somebody"
    username: str | None = None
    """Whoever has one does not show the phone to businesses that do not know it."""
    on_whatsapp: bool = True
    blocks: bool = False
    wants_marketing: bool = True
    fails_with: int | None = None
    """What every message to this person fails with, once it was taken."""

    @property
    def user_id(self) -> str:
        """The same for a phone every time, and of no use to find it."""
        country = next((code for prefix, code in _COUNTRIES.items() if self.phone.startswith(prefix)), "ZZ")
        return f"{country}.{int(hashlib.sha256(self.phone.encode()).hexdigest()[:15], 16):020d}"

    @property
    def wa_id(self) -> str:
        return self.phone.removeprefix("+")


@dataclass(slots=True)
class Template:
    """What a business may write first."""

    name: str
    language: str
    components: list[dict[str, Any]]
    status: str = "APPROVED"
    category: str = "UTILITY"
    parameter_format: str = "POSITIONAL"
    id: str = field(default_factory=lambda: _digits(16))

    def part(self, kind: str) -> Mapping[str, Any]:
        return next((each for each in self.components if each["type"] == kind), {})

    def as_json(self) -> dict[str, Any]:
        names = ("name", "parameter_format", "components", "language", "status", "category", "id")
        return {name: getattr(self, name) for name in names}


@dataclass(slots=True)
class Number:
    """A business's phone number, and what it has done of late. Times in seconds since 1970."""

    id: str
    display: str = "15550783881"
    name: str = "Parley"
    quality: str = "GREEN"
    per_second: int = 80
    windows: dict[str, float] = field(default_factory=dict)
    """Until when each phone may be written to freely."""
    pairs: dict[str, float] = field(default_factory=dict)
    """When what went to each phone would have been due at an even pace."""
    second: deque[float] = field(default_factory=deque)


@dataclass(slots=True)
class Business:
    """A portfolio with one business account. Each has its own webhook."""

    id: str
    callbacks: Callbacks
    tier: int | None = 250
    """People who may be written to first, in a day; None: as many as one likes."""
    numbers: dict[str, Number] = field(default_factory=dict)
    templates: dict[tuple[str, str], Template] = field(default_factory=dict)
    reached: dict[str, float] = field(default_factory=dict)
    """When each phone was last written to first."""


@dataclass(slots=True)
class Stored:
    """A file."""

    id: str
    number_id: str
    mime: str
    content: bytes
    until: float
    elsewhere: str | None = None
    """Another address than its own, which is told to those who ask for it."""
    claimed_size: int | None = None
    """Another size than its own, likewise."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(slots=True)
class Chat:
    """One message, of either side."""

    id: str
    number: Number
    person: Person
    ours: bool
    """From the business."""
    at: float
    type: str
    content: Any
    text: str
    buttons: tuple[tuple[str, str], ...] = ()
    """What may be touched below it: ids and titles."""
    opaque: str | None = None
    reply_to: str | None = None
    marketing: bool = False
    to_user_id: bool = False
    statuses: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "number": self.number.id,
            "to" if self.ours else "from": self.person.phone,
            "type": self.type,
            "content": self.content,
            "text": self.text,
            "opaque": self.opaque,
            "reply_to": self.reply_to,
            "statuses": list(self.statuses),
        }


def new_id() -> str:
    return f"wamid.{secrets.token_urlsafe(36)}"


def new_media_id() -> str:
    return _digits(15)


def _digits(length: int) -> str:
    return str(secrets.randbelow(9 * 10 ** (length - 1)) + 10 ** (length - 1))


def gaps(text: str) -> int:
    return len(set(_GAP.findall(text)))


def filled(text: str, values: list[str]) -> str:
    rest = iter(values)
    return _GAP.sub(lambda _: next(rest, ""), text)


def text_template(name: str, body: str, *, language: str = "en_US", **more: Any) -> Template:
    """A template with a text alone."""
    return Template(name, language, [{"type": "BODY", "text": body}], **more)


def samples() -> dict[tuple[str, str], Template]:
    """What every new business has: the first is Meta's own."""
    hello: list[dict[str, Any]] = [
        {"type": "HEADER", "format": "TEXT", "text": "Hello World"},
        {"type": "BODY", "text": "Welcome and congratulations! This message shows that you can send with WhatsApp."},
        {"type": "FOOTER", "text": "WhatsApp Business Platform sample message"},
    ]
    order: list[dict[str, Any]] = [
        {"type": "BODY", "text": "Hello {{1}}, your order {{2}} is on its way."},
        {"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Follow", "url": "https://shop.example/orders/{{1}}"}]},
    ]
    found = (Template("hello_world", "en_US", hello), Template("order_update", "en_US", order))
    return {(each.name, each.language): each for each in found}
