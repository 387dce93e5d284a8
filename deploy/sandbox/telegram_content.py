"""What Telegram takes as the content of a message (https://core.telegram.org/bots/api 10.2, read 2026-11)."""

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from deploy.sandbox.telegram_chats import Chat, Refused

TEXT_MAX, CAPTION_MAX, CALLBACK_MAX, BUTTONS_MAX = 4096, 1024, 64, 100
MEDIA = {"sendPhoto": "photo", "sendAudio": "audio", "sendVideo": "video", "sendDocument": "document"}
MEDIA |= {"sendVoice": "voice", "sendSticker": "sticker"}
_TAGS = frozenset(
    "b strong i em u ins s strike del span tg-spoiler a tg-emoji code pre blockquote".split()  # noqa: SIM905
)
_FETCHED = {"document": (".pdf", ".zip", ".gif"), "voice": (".ogg", ".oga", ".mp3", ".m4a"), "sticker": (".webp",)}
_REACTIONS = frozenset({"\U0001f44d", "\U0001f44e", "\u2764", "\U0001f525", "\U0001f389", "\U0001f44f"})


def content_of(method: str, body: Mapping[str, Any], chat: Chat) -> dict[str, Any]:
    """The fields of the message that a person sees. Raises Refused."""
    found: dict[str, Any] = {}
    if method == "sendMessage":
        found["text"] = _text(body, "text", TEXT_MAX, "message is too long")
        if not found["text"].strip():
            raise Refused(400, "Bad Request: message text is empty")
    else:
        name = MEDIA[method]
        found[name] = {"url": _address(name, body.get(name))}
        if body.get("caption"):
            found["caption"] = _text(body, "caption", CAPTION_MAX, "message caption is too long")
    if "reply_markup" in body:
        found["reply_markup"] = {"inline_keyboard": _keyboard(body["reply_markup"])}
    answered = _answered(body.get("reply_parameters"), chat)
    return {**found, "reply_to_message": answered} if answered else found


def _text(body: Mapping[str, Any], name: str, most: int, refusal: str) -> str:
    given = body.get(name, "")
    if not isinstance(given, str):
        raise Refused(400, f"Bad Request: {name} must be of type String")
    mode = body.get("parse_mode")
    if mode not in (None, "HTML"):
        raise Refused(400, "Bad Request: unsupported parse_mode")
    seen = _Entities.read(given) if mode == "HTML" else given
    if len(seen.encode("utf-16-le")) // 2 > most:
        raise Refused(400, f"Bad Request: {refusal}")
    return seen


class _Entities(HTMLParser):
    """Telegram's HTML: few tags, all closed, in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen = ""
        self.opened: list[str] = []

    @classmethod
    def read(cls, text: str) -> str:
        entities = cls()
        entities.feed(text)
        entities.close()
        if entities.opened:
            tag = entities.opened[-1]
            raise Refused(
                400, f"Bad Request: can't parse entities: Can't find end tag corresponding to start tag \"{tag}\""
            )
        return entities.seen

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag not in _TAGS:
            raise Refused(400, f'Bad Request: can\'t parse entities: Unsupported start tag "{tag}" at byte offset 0')
        self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.opened or self.opened.pop() != tag:
            raise Refused(400, f'Bad Request: can\'t parse entities: Unexpected end tag "{tag}"')

    def handle_data(self, data: str) -> None:
        self.seen += data


def _address(name: str, given: Any) -> str:
    """Files come by their address here. Some kinds are told by what a server says of them; here, by their names."""
    if not isinstance(given, str) or not given.startswith(("https://", "http://")):
        raise Refused(400, "Bad Request: wrong file identifier/HTTP URL specified")
    allowed = _FETCHED.get(name)
    if allowed and PurePosixPath(urlsplit(given).path).suffix.lower() not in allowed:
        raise Refused(400, "Bad Request: wrong type of the web page content")
    return given


def _keyboard(markup: Any) -> list[list[dict[str, str]]]:
    rows = markup.get("inline_keyboard") if isinstance(markup, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise Refused(400, "Bad Request: object expected as reply markup")
    if sum(len(row) for row in rows) > BUTTONS_MAX:
        raise Refused(400, "Bad Request: REPLY_MARKUP_TOO_LONG")
    return [[_button(button) for button in row] for row in rows]


def _button(button: Any) -> dict[str, str]:
    given = {name: str(value) for name, value in button.items()} if isinstance(button, dict) else {}
    if not given.get("text"):
        raise Refused(400, 'Bad Request: can\'t parse inline keyboard button: Field "text" must be non-empty')
    if "url" in given and urlsplit(given["url"]).scheme not in ("http", "https", "tg"):
        raise Refused(400, "Bad Request: BUTTON_URL_INVALID")
    if "url" not in given and not 1 <= len(given.get("callback_data", "").encode()) <= CALLBACK_MAX:
        raise Refused(400, "Bad Request: BUTTON_DATA_INVALID")
    return given


def _answered(given: Any, chat: Chat) -> dict[str, Any] | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise Refused(400, "Bad Request: object expected as reply parameters")
    found = chat.message(given.get("message_id", 0))
    if found is None and given.get("allow_sending_without_reply") is not True:
        raise Refused(400, "Bad Request: message to be replied not found")
    return {name: value for name, value in found.items() if name != "reply_to_message"} if found else None


def reaction_of(body: Mapping[str, Any], chat: Chat) -> tuple[dict[str, Any], Sequence[str]]:
    """The message, and the emoji that it gets. Raises Refused."""
    found = chat.message(body.get("message_id", 0))
    if found is None:
        raise Refused(400, "Bad Request: message to react not found")
    emoji = [each.get("emoji", "") for each in body.get("reaction", []) if isinstance(each, dict)]
    if not set(emoji) <= _REACTIONS:
        raise Refused(400, "Bad Request: REACTION_INVALID")
    return found, emoji
