"""What a caller wants to send, and what became of it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from chat_service.errors import NotSupported, invalid
from libs.errors import ServiceError
from libs.ids import uuid7

MAX_ATTACHMENTS = 10
MAX_MENTIONS = 50
TYPES = ("text", "image", "file", "audio", "video")
IMPORTANCE = ("normal", "important", "urgent")
PRIORITIES = ("low", "normal", "high")
RICH_KEYS = frozenset(
    (
        "message_type",
        "thread_root_id",
        "also_in_conversation",
        "mentions",
        "attachments",
        "importance",
        "priority",
        "expires_at",
    )
)


class Mentions(NamedTuple):
    user_ids: tuple[UUID, ...] = ()
    all: bool = False
    here: bool = False

    def shown(self) -> dict[str, Any]:
        return {"user_ids": [str(user_id) for user_id in self.user_ids], "all": self.all, "here": self.here}


NOBODY = Mentions()


@dataclass(frozen=True, slots=True)
class Extras:
    """What a message carries beside words and a quote. Most carry nothing of it and take the shorter way."""

    message_type: str | None = None
    """None: that of the first attachment."""
    thread_root_id: UUID | None = None
    also_in_conversation: bool = False
    mentions: Mentions = NOBODY
    attachments: tuple[UUID, ...] = ()
    """Of the sender, and in no message yet."""
    importance: str = "normal"
    priority: str = "normal"
    forwarded_from: Mapping[str, Any] | None = None
    """For JSON, as messages show it."""
    gap_seconds: float = 0.0
    """Refused as too fast when the sender's last message here is younger."""


NOTHING = Extras()


@dataclass(slots=True)
class Stored:
    """What the database said of one draft."""

    id: UUID
    seq: int
    event_seq: int
    created_at: datetime
    dup: bool
    message: dict[str, Any] | None = None
    """For JSON; None for a duplicate, whose content is that of its first time."""


@dataclass(slots=True)
class Draft:
    conversation_id: UUID
    sender_id: UUID
    content: str
    client_msg_id: UUID | None
    reply_to: UUID | None
    done: Callable[[Stored | ServiceError], None]
    """Called once, after the commit."""
    extras: Extras | None = None
    """None: nothing but words and a quote."""
    id: UUID = field(default_factory=uuid7)

    @property
    def plain(self) -> bool:
        """Nothing but words."""
        return self.extras is None and self.reply_to is None


def extras_of(data: Mapping[str, Any]) -> Extras | None:
    """From the keys of a frame or a body. Raises Invalid."""
    if RICH_KEYS.isdisjoint(data):
        return None
    if data.get("expires_at") is not None:
        raise NotSupported("expires_at")
    attachments = _ids(data, "attachments", most=MAX_ATTACHMENTS)
    root = data.get("thread_root_id")
    kind = _choice(data, "message_type", TYPES)
    extras = Extras(
        message_type=None if kind == "text" and not attachments else kind,
        thread_root_id=_uuid(root, "thread_root_id") if root is not None else None,
        also_in_conversation=_flag(data, "also_in_conversation"),
        mentions=_mentions(data.get("mentions")),
        attachments=attachments,
        importance=_choice(data, "importance", IMPORTANCE) or "normal",
        priority=_choice(data, "priority", PRIORITIES) or "normal",
    )
    if extras.also_in_conversation and extras.thread_root_id is None:
        raise invalid("also_in_conversation", "Only a reply in a thread can be shown in the conversation as well.")
    if extras.message_type is not None and not attachments:
        raise invalid("message_type", "A message of this type needs an attachment.")
    return None if extras == NOTHING else extras


def _uuid(value: object, field: str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)  # type: ignore[arg-type]
    except (ValueError, AttributeError, TypeError):
        raise invalid(field, "This must be a UUID.") from None


def _ids(data: Mapping[str, Any], key: str, *, most: int, prefix: str = "") -> tuple[UUID, ...]:
    value, field = data.get(key), prefix + key
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise invalid(field, "This must be a list of UUIDs.")
    if len(value) > most:
        raise invalid(field, f"Ensure this field has no more than {most} items.")
    found = tuple(_uuid(one, field) for one in value)
    if len(set(found)) < len(found):
        raise invalid(field, "The same one is named twice.")
    return found


def _flag(data: Mapping[str, Any], key: str, prefix: str = "") -> bool:
    value = data.get(key)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise invalid(prefix + key, "This must be true or false.")


def _choice(data: Mapping[str, Any], key: str, allowed: Collection[str]) -> str | None:
    value = data.get(key)
    if value is None or (isinstance(value, str) and value in allowed):
        return value
    raise invalid(key, f"This must be one of: {', '.join(allowed)}.")


def _mentions(value: object) -> Mentions:
    if value is None:
        return NOBODY
    if not isinstance(value, Mapping):
        raise invalid("mentions", "This must be an object.")
    return Mentions(
        _ids(value, "user_ids", most=MAX_MENTIONS, prefix="mentions."),
        _flag(value, "all", "mentions."),
        _flag(value, "here", "mentions."),
    )
