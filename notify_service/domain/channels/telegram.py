"""A Telegram bot: texts, files by their address, and buttons. A bot may write to a person who has pressed Start, to
groups that it is in and to channels that it runs. Facts: https://core.telegram.org/bots/api (10.2), read 2026-11.

Nothing that is sent has an id of ours, so silence is ambiguous. Texts are measured in UTF-16 units after the markup is
read (https://core.telegram.org/api/entities): never more than Telegram counts, whether it counts these or characters.
"""

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from notify_service.domain.adaptation import parts, utf16_units
from notify_service.domain.channels import (
    CannotRender,
    Capability,
    ErrorClass,
    Line,
    Media,
    Message,
    Outcome,
    Problem,
    Provider,
    Rate,
    Setup,
)
from notify_service.domain.channels.http import Answer, Call, Patient
from notify_service.domain.channels.markup import (
    BOLD,
    CODE,
    ITALIC,
    PRE,
    QUOTE,
    SPOILER,
    STRIKE,
    UNDERLINE,
    Run,
    pieces,
    read,
)
from notify_service.domain.channels.telegram_errors import MIGRATED, REFUSALS, STATUSES, judge, moved_to
from notify_service.domain.content import Button, Content

TEXT_MAX, CAPTION_MAX, CALLBACK_MAX = 4096, 1024, 64
_TOKEN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,64}")
_CHAT = re.compile(r"-?[1-9][0-9]{0,15}|@[A-Za-z][A-Za-z0-9_]{3,31}")
_MESSAGE = re.compile(r"(?:(-?[1-9][0-9]{0,15}):)?([1-9][0-9]{0,15})")
_GROUPS = ("-", "@")
_MEGABYTE = 1_000_000


def _token(given: SecretStr) -> SecretStr:
    if not _TOKEN.fullmatch(given.get_secret_value()):
        raise ValueError("A token is what @BotFather has given, as 123456:ABC-DEF.")
    return given


def _webhook_secret(given: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9_-]{16,256}", given.get_secret_value()):
        raise ValueError("A webhook's secret has 16 to 256 letters, digits, - and _.")
    return given


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$")] = "https://api.telegram.org"
    mode: Literal["webhook", "polling"] = "webhook"
    """How what people write arrives: Telegram calls, or is asked."""
    lines: Annotated[int, Field(ge=1, le=64)] = 8
    timeout: Annotated[float, Field(gt=0, le=120)] = 30.0
    """Seconds until an answer. Telegram fetches files while we wait."""


class Secrets(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    token: Annotated[SecretStr, AfterValidator(_token)]
    webhook_secret: Annotated[SecretStr, AfterValidator(_webhook_secret)] | None = None
    """What Telegram shows with each update; needed to receive by webhook."""


CAPABILITY = Capability(
    channel="telegram",
    provider="telegram",
    lines=Config().lines,
    address="chat",
    text_max=TEXT_MAX,
    markup="html",
    # What Telegram fetches from an address: 5 MB for a photo, 20 MB for others (#sending-files).
    media={
        "image": Media(5 * _MEGABYTE, ("image/jpeg", "image/png", "image/webp"), CAPTION_MAX),
        "audio": Media(20 * _MEGABYTE, ("audio/mpeg", "audio/mp4", "audio/ogg"), CAPTION_MAX),
        "video": Media(20 * _MEGABYTE, ("video/mp4",), CAPTION_MAX),
        "document": Media(20 * _MEGABYTE, ("application/pdf", "application/zip", "image/gif"), CAPTION_MAX),
        "sticker": Media(20 * _MEGABYTE, ("image/webp",)),
    },
    takes=frozenset({"choices", "reaction", "reply_to"}),
    buttons=10,
    button_title_max=64,
    # https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this: 30 a second in all, one a second
    # in a chat, 20 a minute in a group. Ids of groups and channels are negative; @names are theirs alone here.
    rates=(Rate("account", 30), Rate("recipient", 1), Rate("recipient", 20, 60, beginnings=_GROUPS)),
    inbound=frozenset({"webhook", "poll"}),
    errors={each.code: each.error for each in REFUSALS} | STATUSES,
)


def check_address(address: str) -> str:
    """A chat's id, or the name of a public channel or group."""
    chat = address.strip()
    if not _CHAT.fullmatch(chat):
        raise ValueError("A chat is its id, as 123456789 or -1001234567890, or the @name of a channel.")
    return chat.lower() if chat.startswith("@") else chat


def check_content(content: Content) -> Sequence[Problem]:
    return list(_problems(content))


def _problems(content: Content) -> Iterator[Problem]:
    for index, button in enumerate(content.buttons):
        if button.id and len(button.id) > CALLBACK_MAX:
            yield Problem(f"content.buttons.{index}.id", f"At most {CALLBACK_MAX} characters for telegram.")
    for index, choice in enumerate(content.choices.choices if content.choices else ()):
        if len(choice.id) > CALLBACK_MAX:
            yield Problem(f"content.choices.choices.{index}.id", f"At most {CALLBACK_MAX} characters for telegram.")
    caption = (content.media.caption or "") if content.media else ""
    if utf16_units(caption, 0, CAPTION_MAX) < len(caption):
        yield Problem("content.media.caption", f"At most {CAPTION_MAX} characters for telegram, most emoji being two.")
    if content.reply_to and not _MESSAGE.fullmatch(content.reply_to):
        yield Problem("content.reply_to", "A message of telegram is its chat and number, as 123456789:42.")
    if content.reaction and not _MESSAGE.fullmatch(content.reaction.message_id):
        yield Problem("content.reaction.message_id", "A message of telegram is its chat and number, as 123456789:42.")


class Telegram:
    """The channel of one bot."""

    fills = False

    def __init__(self, setup: Setup) -> None:
        self._config: Config = setup.config
        self._secrets: Secrets = setup.secrets
        self.capability = replace(CAPABILITY, lines=self._config.lines)
        # Groups that have become supergroups, until whoever keeps the addresses has heard of it.
        self._moved: dict[str, str] = {}

    def render(self, message: Message) -> list[Call]:
        content = message.content
        if content is None:
            raise CannotRender("no_content")
        try:
            chat = check_address(message.address)
        except ValueError:
            raise CannotRender("bad_address") from None
        if _problems_left(content):
            raise CannotRender("bad_content")
        orders = _orders(content)
        if not orders:
            raise CannotRender("empty")
        return [
            Call(f"/{method}", json.dumps({"chat_id": _chat_id(chat), **order}).encode()) for method, order in orders
        ]

    def line(self) -> Line:
        return _Line(self._config, self._secrets.token, self._moved)


def _problems_left(content: Content) -> bool:
    """Of ids that had placeholders, which are long only now."""
    return next(_problems(content), None) is not None


def base_of(config: Config, token: SecretStr) -> str:
    """Where a bot's methods are. With its token, as Telegram wants it: never to be shown."""
    return f"{config.base_url.rstrip('/')}/bot{token.get_secret_value()}"


class _Line(Patient):
    def __init__(self, config: Config, token: SecretStr, moved: dict[str, str]) -> None:
        headers = {"Content-Type": "application/json"}
        super().__init__(self._judge, base_url=base_of(config, token), headers=headers, timeout=config.timeout)
        self._moved = moved
        self._new_chat: str | None = None

    async def send(self, address: str, payload: Sequence[Call]) -> Outcome:
        outcome = await super().send(address, payload)
        if outcome.error is ErrorClass.THROTTLE and address.startswith(_GROUPS):
            # The answer does not say whose limit it was. Groups have the narrowest, and others need not wait for them;
            # if it was the bot's own, the next message to a person will be told so.
            return replace(outcome, error=ErrorClass.RECIPIENT)
        return outcome

    async def offer(self, call: Call) -> Outcome:
        """A group that has become a supergroup has another id; nothing was sent to the old one."""
        order = json.loads(call.content)
        chat = str(order["chat_id"])
        outcome = await super().offer(_to(call, order, self._moved.get(chat)))
        if outcome.code == MIGRATED and self._new_chat is not None:
            self._moved[chat] = self._new_chat
            outcome = await super().offer(_to(call, order, self._new_chat))
        return outcome

    def _judge(self, answer: Answer) -> Outcome:
        self._new_chat = moved_to(answer)
        return judge(answer)


def _to(call: Call, order: dict[str, Any], chat: str | None) -> Call:
    return call if chat is None else replace(call, content=json.dumps({**order, "chat_id": int(chat)}).encode())


def _chat_id(chat: str) -> int | str:
    return chat if chat.startswith("@") else int(chat)


Order = tuple[str, dict[str, Any]]


def _orders(content: Content) -> list[Order]:
    """The methods to call, in this order, without the chat."""
    if content.reaction is not None:
        emoji = content.reaction.emoji
        reaction = [{"type": "emoji", "emoji": emoji}] if emoji else []
        return [("setMessageReaction", {**_of_message(content.reaction.message_id), "reaction": reaction})]
    texts = _texts(content, TEXT_MAX)
    orders: list[Order] = []
    if content.media is not None:
        method, order = _media(content)
        if content.media.kind != "sticker" and content.media.caption is None:
            short = _texts(content, CAPTION_MAX)
            if len(short) == 1 and len(texts) == 1:
                caption, texts = short[0], []
                order |= {"caption": caption.pop("text"), **caption}
        orders.append((method, order))
    orders += [("sendMessage", text) for text in texts]
    keyboard = _keyboard(content)
    if orders and keyboard:
        orders[-1][1]["reply_markup"] = {"inline_keyboard": keyboard}
    if orders and content.reply_to:
        orders[0][1]["reply_parameters"] = {**_of_message(content.reply_to), "allow_sending_without_reply": True}
    return orders


def _texts(content: Content, most: int) -> list[dict[str, Any]]:
    if content.html is not None:
        found = (written(piece) for piece in pieces(read(content.html), most, utf16_units))
        return [{"text": text, "parse_mode": "HTML"} for text in found]
    return [{"text": text} for text in parts(content.text or "", most, utf16_units) if text.strip()]


# https://core.telegram.org/bots/api#html-style. The outermost first.
_TAGS = {QUOTE: "blockquote", PRE: "pre", BOLD: "b", ITALIC: "i", UNDERLINE: "u", STRIKE: "s", SPOILER: "tg-spoiler"}
_TAGS |= {CODE: "code"}


def written(runs: Iterable[Run]) -> str:
    """The HTML that Telegram reads. Tags stay open over runs that share them, so that a quote is one quote."""
    parts: list[str] = []
    opened: list[str] = []
    for run in runs:
        wanted = [tag for style, tag in _TAGS.items() if style in run.styles]
        if run.link:
            wanted.append(f'a href="{html.escape(run.link)}"')
        common = next(
            (at for at, (one, other) in enumerate(zip(opened, wanted, strict=False)) if one != other),
            min(len(opened), len(wanted)),
        )
        parts += [_closing(tag) for tag in reversed(opened[common:])]
        parts += [f"<{tag}>" for tag in wanted[common:]]
        parts.append(html.escape(run.text, quote=False))
        opened = wanted
    return "".join([*parts, *(_closing(tag) for tag in reversed(opened))])


def _closing(tag: str) -> str:
    return f"</{tag.split(maxsplit=1)[0]}>"


_METHODS = {"image": ("sendPhoto", "photo"), "audio": ("sendAudio", "audio"), "video": ("sendVideo", "video")}
_METHODS |= {"document": ("sendDocument", "document"), "sticker": ("sendSticker", "sticker")}
_VOICE = frozenset({".ogg", ".oga", ".opus"})


def _media(content: Content) -> Order:
    media = content.media
    assert media is not None  # noqa: S101  -- asked for by the caller
    method, name = _METHODS[media.kind]
    path = PurePosixPath(media.filename or urlsplit(media.url).path)
    if media.kind == "audio" and path.suffix.lower() in _VOICE:
        # Telegram plays Opus in OGG as a voice message, and takes it as no other audio.
        method, name = "sendVoice", "voice"
    caption = {"caption": media.caption} if media.caption else {}
    return method, {name: media.url, **caption}


def _keyboard(content: Content) -> list[list[dict[str, str]]]:
    """One button a row, for titles are sentences here."""
    choices = content.choices.choices if content.choices else []
    rows = [[_button(button)] for button in content.buttons]
    return rows + [[{"text": choice.title, "callback_data": choice.id}] for choice in choices]


def _button(button: Button) -> dict[str, str]:
    way = {"url": button.url} if button.url else {"callback_data": button.id or ""}
    return {"text": button.title, **way}


def _of_message(reference: str) -> dict[str, int]:
    found = _MESSAGE.fullmatch(reference)
    return {"message_id": int(found[2])} if found else {}


PROVIDER = Provider(
    capability=CAPABILITY,
    config=Config,
    secrets=Secrets,
    open=Telegram,
    check_address=check_address,
    check_content=check_content,
)
