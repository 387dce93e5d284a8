"""What one message that somebody wrote says, of any of WhatsApp's types.

Facts: Meta's pages on message webhooks (of 2026-06-17, unsupported ones of 2026-03-20), looked up in November 2026.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from notify_service.domain.channels.whatsapp_errors import code_of
from notify_service.domain.channels.whatsapp_media import digest_of

_MOST_TEXT = 65_536
_MOST_NAME = 255
_MOST_CONTACTS, _MOST_PHONES = 10, 5
_FILES = ("image", "video", "audio", "document", "sticker")

Given = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    text: str | None = None
    media: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    """Why there is nothing to read."""


def said(message: Given) -> Said:
    """What is not known says its type alone."""
    kind = text_of(message.get("type"), 64) or "unknown"
    read = _READERS.get(kind, _nothing)
    found = read(_of(message, kind), message)
    data: dict[str, Any] = {"type": kind, **found.data}
    context = _of(message, "context")
    answered = text_of(context.get("id"), 500)
    if answered and "reply_to" not in data:
        data["reply_to"] = answered
    if context.get("forwarded") is True or context.get("frequently_forwarded") is True:
        data["forwarded"] = True
    return Said(found.text, found.media, data, found.code)


def text_of(given: object, most: int = _MOST_TEXT) -> str | None:
    """A text without what PostgreSQL cannot store, at most so long; None for none."""
    if not isinstance(given, str):
        return None
    return given[:most].replace("\x00", "").encode("utf-8", "ignore").decode() or None


def _text(given: Given, message: Given) -> Said:
    del message
    return Said(text_of(given.get("body")))


def _file(given: Given, message: Given) -> Said:
    names = {"id": "id", "type": "mime_type", "filename": "filename"}
    item = {name: text for name, key in names.items() if (text := text_of(given.get(key), _MOST_NAME))}
    if "id" not in item:
        return Said()
    digest = digest_of(given.get("sha256"))
    told: dict[str, Any] = {"kind": message["type"], **item, **({"sha256": digest} if digest else {})}
    if given.get("voice") is True:
        told["voice"] = True
    return Said(text_of(given.get("caption")), {"items": [told]})


def _touched(given: Given, message: Given) -> Said:
    """A button or a row that was offered, or a form that was filled in."""
    del message
    form = _of(given, "nfm_reply")
    if form:
        filled = text_of(form.get("response_json"), 4096)
        return Said(text_of(form.get("body")), data={"form": filled} if filled else {})
    reply = _of(given, "button_reply") or _of(given, "list_reply")
    return _choice(reply.get("id"), reply.get("title"))


def _pressed(given: Given, message: Given) -> Said:
    """A button of a template."""
    del message
    return _choice(given.get("payload"), given.get("text"))


def _choice(given: object, title: object) -> Said:
    choice = text_of(given, 256)
    return Said(text_of(title), data={"choice": choice} if choice else {})


def _reaction(given: Given, message: Given) -> Said:
    """Without an emoji: the reaction is taken back."""
    del message
    meant = text_of(given.get("message_id"), 500)
    return Said(data={"reaction": text_of(given.get("emoji"), 32) or "", **({"reply_to": meant} if meant else {})})


def _location(given: Given, message: Given) -> Said:
    del message
    point = {name: given.get(name) for name in ("latitude", "longitude")}
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in point.values()):
        return Said()
    named = {name: text for name in ("name", "address") if (text := text_of(given.get(name), _MOST_NAME))}
    return Said(data={"location": {**point, **named}})


def _contacts(given: Given, message: Given) -> Said:
    del given
    cards = message.get("contacts")
    found = (
        [_card(each) for each in cards[:_MOST_CONTACTS] if isinstance(each, dict)] if isinstance(cards, list) else []
    )
    return Said(data={"contacts": [each for each in found if each]})


def _card(given: Given) -> dict[str, Any]:
    name = text_of(_of(given, "name").get("formatted_name"), _MOST_NAME)
    phones = given.get("phones")
    listed = [each for each in phones if isinstance(each, dict)] if isinstance(phones, list) else []
    numbers = [text for each in listed[:_MOST_PHONES] if (text := text_of(each.get("phone"), 64))]
    return {**({"name": name} if name else {}), **({"phones": numbers} if numbers else {})}


def _nothing(given: Given, message: Given) -> Said:
    """What the API does not pass on, or we do not know; why, where it is told."""
    errors = message.get("errors")
    codes = [code_of(each) for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    unsupported = text_of(given.get("type"), 64)
    data = {"unsupported": unsupported} if unsupported and message.get("type") == "unsupported" else {}
    return Said(data=data, code=next(iter(codes), None))


def _of(given: Given, name: str) -> Given:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


_READERS: Mapping[str, Callable[[Given, Given], Said]] = {
    "text": _text,
    **dict.fromkeys(_FILES, _file),
    "interactive": _touched,
    "button": _pressed,
    "reaction": _reaction,
    "location": _location,
    "contacts": _contacts,
}
