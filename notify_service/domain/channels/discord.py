"""A channel of Discord, through a webhook of it. Its address is the credential: one account, one channel.

Facts: https://discord.com/developers/docs/resources/webhook and /topics/rate-limits, read 2026-11. Limits are those
that answers tell and no others. Who goes on with a webhook that is refused (401, 403, 404) is banned by address: the
account stops at the first. There is no id of ours, so silence is ambiguous.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from notify_service.domain.channels import (
    CannotRender,
    Capability,
    ErrorClass,
    Line,
    Media,
    Message,
    Outcome,
    Provider,
    Setup,
)
from notify_service.domain.channels.http import Answer, Call, Patient, by_status, seconds_of
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
    with_addresses,
)
from notify_service.domain.content import Content

ONLY = "default"
TEXT_MAX = 2000
# Half of what Discord takes: each character may need a backslash.
SUBJECT_MAX, CAPTION_MAX = 128, 2000
# How long an address is banned that has made too many invalid requests; such an answer is no JSON.
_BAN_SECONDS = 600.0
_PATH = re.compile(r"(?:https://[^/\s?#@]+/api(?:/v[0-9]+)?/webhooks/)?([0-9]{1,25}/[A-Za-z0-9_-]{1,200})")


def _webhook(given: SecretStr) -> SecretStr:
    found = _PATH.fullmatch(given.get_secret_value().strip())
    if found is None:
        raise ValueError("A webhook is its address at Discord, or what is behind /webhooks/ in it: an id and a token.")
    return SecretStr(found[1])


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$")] = "https://discord.com/api/v10"
    thread_id: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,25}$")] | None = None
    """A thread of the channel, or a post of a forum, that messages go to."""
    timeout: Annotated[float, Field(gt=0, le=120)] = 15.0


class Secrets(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    webhook: Annotated[SecretStr, AfterValidator(_webhook)]
    """The webhook's address, of which what is behind `/webhooks/` is kept: the rest is `base_url`."""


ERRORS: Mapping[str, ErrorClass] = {
    "10003": ErrorClass.AUTH,  # unknown channel
    "10015": ErrorClass.AUTH,  # unknown webhook
    "40005": ErrorClass.PERMANENT,  # request entity too large
    "40060": ErrorClass.AUTH,  # already acknowledged: the webhook of an interaction
    "50006": ErrorClass.PERMANENT,  # empty message
    "50013": ErrorClass.AUTH,  # missing permissions
    "50027": ErrorClass.AUTH,  # invalid webhook token
    "50035": ErrorClass.PERMANENT,  # invalid form body
    "160005": ErrorClass.AUTH,  # the thread is locked
    "200000": ErrorClass.PERMANENT,  # blocked by automatic moderation
    "200001": ErrorClass.PERMANENT,  # its title was
    "220001": ErrorClass.AUTH,  # a forum needs `thread_id`
    "400": ErrorClass.PERMANENT,
    "401": ErrorClass.AUTH,
    "403": ErrorClass.AUTH,
    "404": ErrorClass.AUTH,
    "429": ErrorClass.THROTTLE,
}
"""JSON codes, or else the status: https://discord.com/developers/docs/topics/opcodes-and-status-codes, read 2026-11."""

CAPABILITY = Capability(
    channel="discord",
    provider="discord",
    # What answers tell of the limit is true for who is alone.
    lines=1,
    address="url",
    text_max=TEXT_MAX,
    subject_max=SUBJECT_MAX,
    markup="html",
    # It has one room, which hears everything once.
    bulk=False,
    media={"image": Media(10_000_000, ("image/png", "image/jpeg", "image/gif", "image/webp"), CAPTION_MAX)},
    errors=ERRORS,
)


def check_address(address: str) -> str:
    """A webhook has one channel, which has no other address."""
    if address.strip() != ONLY:
        raise ValueError(f"A webhook of Discord has one channel: `{ONLY}`.")
    return ONLY


class Discord:
    """The channel of one webhook."""

    fills = False
    capability = CAPABILITY

    def __init__(self, setup: Setup) -> None:
        self._config: Config = setup.config
        self._secrets: Secrets = setup.secrets

    def render(self, message: Message) -> list[Call]:
        content = message.content
        if content is None:
            raise CannotRender("no_content")
        if message.address != ONLY:
            raise CannotRender("bad_address")
        bodies = _bodies(content)
        if not bodies:
            raise CannotRender("empty")
        thread = {"thread_id": self._config.thread_id} if self._config.thread_id else {}
        # Without `wait` a message that is not saved is no error.
        query = urlencode({"wait": "true", **thread})
        # Whatever a text says, it mentions nobody.
        quiet: dict[str, list[str]] = {"parse": []}
        return [Call(f"?{query}", json.dumps({**body, "allowed_mentions": quiet}).encode()) for body in bodies]

    def line(self) -> Line:
        url = f"{self._config.base_url.rstrip('/')}/webhooks/{self._secrets.webhook.get_secret_value()}"
        headers = {"Content-Type": "application/json"}
        return Patient(judge, base_url=url, headers=headers, timeout=self._config.timeout)


def _bodies(content: Content) -> list[dict[str, Any]]:
    """A subject and a picture are an embed of the first message; with a subject the text's beginning is in it too."""
    texts = fitting(read(content.html) if content.html is not None else [Run(content.text or "")], TEXT_MAX)
    embed: dict[str, Any] = {}
    if content.subject:
        embed["title"] = escaped(content.subject[:SUBJECT_MAX])
        if content.url:
            embed["url"] = content.url
        if texts:
            embed["description"] = texts.pop(0)
    if content.media is not None:
        embed["image"] = {"url": content.media.url}
        if content.media.caption and "description" not in embed:
            embed["description"] = escaped(content.media.caption[:CAPTION_MAX])
    if content.subject and embed:
        return [{"embeds": [embed]}, *({"content": text} for text in texts)]
    found = zip_longest(texts, [[embed]] if embed else [])
    return [{**({"content": text} if text else {}), **({"embeds": embeds} if embeds else {})} for text, embeds in found]


def fitting(runs: Sequence[Run], most: int, size: int | None = None) -> list[str]:
    """In pieces of at most `most` characters as they are written, for Discord counts marks and all. `size`: of the
    pieces as they are seen, to begin with."""
    size = size or most
    found = []
    for piece in pieces(runs, size):
        text = written(piece)
        found += [text] if len(text) <= most or size == 1 else fitting(piece, most, size // 2)
    return [text for text in found if text.strip()]


# https://support.discord.com/hc/en-us/articles/210298617, read 2026-11. The innermost first.
_AROUND = {CODE: "`", SPOILER: "||", STRIKE: "~~", UNDERLINE: "__", ITALIC: "*", BOLD: "**"}
_MARKS = re.compile(r"(?m)^( *)([#>-])|([\\*_~`|\[\]<])")


def written(runs: Iterable[Run]) -> str:
    """With Discord's marks around words: they touch no blank, and end with their line."""
    text = ""
    for run in runs:
        if PRE in run.styles:
            text += f"```\n{_code(run.text)}\n```"
            continue
        for number, part in enumerate(run.text.split("\n")):
            if number:
                text += "\n"
            if part and QUOTE in run.styles and (not text or text.endswith("\n")):
                text += "> "
            text += _word(part, run)
    return text


def _word(text: str, run: Run) -> str:
    core = text.strip()
    if not core:
        return text
    before, after = text[: text.index(core)], text[text.index(core) + len(core) :]
    core = _code(core) if CODE in run.styles else escaped(core)
    for style, mark in _AROUND.items():
        if style in run.styles:
            core = f"{mark}{core}{mark}"
    return f"{before}[{core}](<{run.link.replace('>', '%3E')}>){after}" if run.link else f"{before}{core}{after}"


def _code(text: str) -> str:
    """Nothing in it is read but its end."""
    return text.replace("`", "\u02cb")


def escaped(text: str) -> str:
    """Text as it is, for Discord, which would read marks in it; addresses stay whole."""
    parts = with_addresses(text)
    return "".join(part if address else _MARKS.sub(_backslash, part) for part, address in parts)


def _backslash(found: re.Match[str]) -> str:
    return f"{found[1] or ''}\\{found[2] or found[3]}"


def judge(answer: Answer) -> Outcome:
    """What an answer means, with what is left of the limit."""
    body = _body(answer)
    if 200 <= answer.status < 300:
        given = body.get("id")
        if not isinstance(given, str) or not given.isdecimal():
            return Outcome(ErrorClass.AMBIGUOUS, "bad_answer")
        left, reset = _left(answer.headers)
        return Outcome(provider_id=given[:25], left=left, reset_seconds=reset)
    if answer.status == 429:
        return Outcome(ErrorClass.THROTTLE, "429", pause_seconds=_pause(answer, body))
    code = str(body["code"]) if type(body.get("code")) is int else ""
    code = code if code in ERRORS else str(answer.status)
    if answer.status >= 500:
        return Outcome(ErrorClass.AMBIGUOUS, code)
    error = ERRORS.get(code)
    return by_status(answer) if error is None else Outcome(error, code)


def _pause(answer: Answer, body: Mapping[str, Any]) -> float:
    for given in (body.get("retry_after"), answer.headers.get("retry-after")):
        pause = seconds_of(str(given))
        if pause is not None:
            return pause
    return _BAN_SECONDS


def _left(headers: Mapping[str, str]) -> tuple[int | None, float | None]:
    left, reset = headers.get("x-ratelimit-remaining", ""), seconds_of(headers.get("x-ratelimit-reset-after", ""))
    return (int(left), reset) if left.isdecimal() and len(left) < 10 and reset is not None else (None, None)


def _body(answer: Answer) -> Mapping[str, Any]:
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


PROVIDER = Provider(capability=CAPABILITY, config=Config, secrets=Secrets, open=Discord, check_address=check_address)
