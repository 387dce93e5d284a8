"""What Telegram tells a bot, by webhook or when polled. Facts: https://core.telegram.org/bots/api (10.2), read 2026-11.

Data of a message may have: `start` (the payload of the link that somebody came by, empty without), `choice` and `query`
(the button that was pressed, and what `answer_press` wants), `edited`, `reply_to`, `name`, `username`, `from`, `kind`
of the chat, `location` and `contact`. Account events have the code `blocked`, `unblocked` or `migrated`, the last with
the new address in `to`.
"""

import hmac
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from notify_service.domain.channels import Effect
from notify_service.domain.channels.inbound import ACCOUNT, MESSAGE, Event, Inbound
from notify_service.domain.channels.telegram import Secrets

SECRET = "x-telegram-bot-api-secret-token"  # noqa: S105  -- the name of a header
_START = re.compile(r"/start(?:@[A-Za-z0-9_]{3,32})?(?: ([A-Za-z0-9_-]{1,64}))?")
_FILES = {
    "document": "document", "audio": "audio", "voice": "audio", "video": "video", "video_note": "video",
    "sticker": "sticker",
}  # fmt: skip
_MOST_TEXT = 4096
_OUT = frozenset({"kicked", "left"})


def verify(raw: bytes, headers: Mapping[str, str], secrets: Secrets) -> bool:
    """Whether Telegram has sent this: it shows the secret that it was given. Header names are in small letters."""
    del raw
    if secrets.webhook_secret is None:
        return False
    expected = secrets.webhook_secret.get_secret_value().encode()
    return hmac.compare_digest(headers.get(SECRET, "").encode("latin-1", "replace"), expected)


def parse(raw: bytes) -> list[Event]:
    """The events of one update; none of those that say nothing to us. Raises ValueError for what is no update."""
    try:
        update = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("This is no update of Telegram.") from None
    if id_of(update) is None:
        raise ValueError("This is no update of Telegram.")
    return events_of(update)


def id_of(update: Any) -> int | None:
    return _number(update.get("update_id")) if isinstance(update, dict) else None


def events_of(update: Mapping[str, Any]) -> list[Event]:
    """Of an update with an id. What is not of Telegram's shape says nothing."""
    for kind, read in _READERS.items():
        given = update.get(kind)
        if isinstance(given, dict):
            event = read(given, str(update["update_id"]))
            return [] if event is None else [event]
    return []


def _message(given: Mapping[str, Any], key: str) -> Event | None:
    chat, number = _of(given, "chat"), _number(given.get("message_id"))
    if _number(chat.get("id")) is None or number is None:
        return None
    peer = str(chat["id"])
    moved = _number(given.get("migrate_to_chat_id"))
    if moved is not None:
        return Event(
            kind=ACCOUNT, dedupe_key=key, at=_at(given, "date"), peer=peer, code="migrated", data={"to": str(moved)}
        )
    text = _text(given.get("text")) or _text(given.get("caption"))
    start = _START.fullmatch(text or "")
    data = {
        **_who(given, chat),
        **({"start": start[1] or ""} if start else {}),
        **({"edited": True} if "edit_date" in given else {}),
        **_answered(given, peer),
        **_place(given),
    }
    return Event(
        kind=MESSAGE,
        dedupe_key=key,
        at=_at(given, "edit_date") or _at(given, "date"),
        peer=peer,
        provider_id=f"{peer}:{number}",
        text=text,
        media=_media(given),
        data=data,
    )


def _press(given: Mapping[str, Any], key: str) -> Event | None:
    """A button below a message of ours. It has an id of its own, and the message that it stood below."""
    below, query, choice = _of(given, "message"), given.get("id"), given.get("data")
    chat = _of(below, "chat") or _of(given, "from")
    if _number(chat.get("id")) is None or not isinstance(query, str) or not isinstance(choice, str):
        return None
    peer, number = str(chat["id"]), _number(below.get("message_id"))
    replied = {"reply_to": f"{peer}:{number}"} if number is not None else {}
    data = {**_who(given, chat), "choice": choice[:64], "query": query[:64], **replied}
    return Event(kind=MESSAGE, dedupe_key=key, peer=peer, provider_id=f"{peer}:press:{query[:64]}", data=data)


def _member(given: Mapping[str, Any], key: str) -> Event | None:
    """What the bot may do in a chat: whether its person has blocked it, or its group thrown it out."""
    chat, old, new = _of(given, "chat"), _of(given, "old_chat_member"), _of(given, "new_chat_member")
    status = new.get("status")
    if _number(chat.get("id")) is None or not isinstance(status, str):
        return None
    out = status in _OUT
    if out == (old.get("status") in _OUT):
        return None
    return Event(
        kind=ACCOUNT,
        dedupe_key=key,
        at=_at(given, "date"),
        peer=str(chat["id"]),
        code="blocked" if out else "unblocked",
        effect=Effect.SUPPRESS if out else None,
        data={"kind": str(chat.get("type", ""))[:20], "status": status[:20]},
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any], str], Event | None]] = {
    "message": _message,
    "edited_message": _message,
    "callback_query": _press,
    "my_chat_member": _member,
}
KINDS = tuple(_READERS)
"""What a bot asks to be told."""


def _who(given: Mapping[str, Any], chat: Mapping[str, Any]) -> dict[str, Any]:
    """Names are what people call themselves: to be shown, never to be trusted."""
    person = _of(given, "from")
    names = [_text(person.get(name)) for name in ("first_name", "last_name")]
    found = {
        "from": None if (number := _number(person.get("id"))) is None else str(number),
        "name": " ".join(name for name in names if name)[:128],
        "username": _text(person.get("username")),
        "language": _text(person.get("language_code")),
        "kind": _text(chat.get("type")),
    }
    return {name: value[:128] for name, value in found.items() if value}


def _answered(given: Mapping[str, Any], peer: str) -> dict[str, str]:
    number = _number(_of(given, "reply_to_message").get("message_id"))
    return {"reply_to": f"{peer}:{number}"} if number is not None else {}


def _place(given: Mapping[str, Any]) -> dict[str, Any]:
    location, contact = _of(given, "location"), _of(given, "contact")
    found: dict[str, Any] = {}
    point = {name: location.get(name) for name in ("latitude", "longitude")}
    if all(isinstance(value, int | float) and math.isfinite(value) for value in point.values()):
        found["location"] = point
    names = ("phone_number", "first_name", "last_name")
    card = {name: text[:128] for name in names if (text := _text(contact.get(name)))}
    return {**found, "contact": card} if card else found


def _media(given: Mapping[str, Any]) -> dict[str, Any] | None:
    photos = given.get("photo")
    if isinstance(photos, list) and photos and isinstance(photos[-1], dict):
        # Sizes of one photo, the largest last.
        return _file("image", {"mime_type": "image/jpeg", **photos[-1]})
    return next((_file(kind, _of(given, name)) for name, kind in _FILES.items() if _of(given, name)), None)


def _file(kind: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
    found = {
        "id": _text(given.get("file_id")),
        "type": _text(given.get("mime_type")),
        "filename": _text(given.get("file_name")),
    }
    if found["id"] is None:
        return None
    size = _number(given.get("file_size"))
    named = {name: text[:255] for name, text in found.items() if text}
    return {"items": [{"kind": kind, **named, **({} if size is None else {"bytes": size})}]}


def _number(given: Any) -> int | None:
    return given if type(given) is int and abs(given) < 2**63 else None


def _of(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


def _text(given: Any) -> str | None:
    """Without what PostgreSQL cannot store."""
    if not isinstance(given, str):
        return None
    return given[:_MOST_TEXT].replace("\x00", "").encode("utf-8", "ignore").decode() or None


def _at(given: Mapping[str, Any], name: str) -> datetime | None:
    seconds = given.get(name)
    return datetime.fromtimestamp(seconds, UTC) if type(seconds) is int and 0 < seconds < 2**35 else None


INBOUND = Inbound(
    verify=lambda hook, setup: verify(hook.body, hook.headers, setup.secrets),
    parse=lambda hook, _: parse(hook.body),
)
