"""A channel of Slack, through an incoming webhook of an app there. Its address is the credential: one account, one
channel. Texts go as rich text, of which Slack reads nothing as markup, mentions or links but what we mean so.

Facts: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and the pages of its blocks, read
2026-11. Slack gives no id, so silence is ambiguous and nothing can be answered or changed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

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
from notify_service.domain.channels.http import Answer, Call, Patient, by_status, seconds_of
from notify_service.domain.channels.markup import (
    BOLD,
    CODE,
    ITALIC,
    PRE,
    QUOTE,
    STRIKE,
    Run,
    pieces,
    read,
    with_addresses,
)
from notify_service.domain.content import Button, Content

ONLY = "default"
SUBJECT_MAX, BLOCK_MAX, BLOCKS_MAX, TITLE_MAX = 150, 3000, 50, 75
_SUMMARY_MAX = 300
_PATH = re.compile(r"(?:https://[^/\s?#@]+/services/)?(T[A-Za-z0-9]{0,31}/B[A-Za-z0-9]{0,31}/[A-Za-z0-9]{1,64})")
_STYLES = {BOLD: "bold", ITALIC: "italic", STRIKE: "strike", CODE: "code"}


def _webhook(given: SecretStr) -> SecretStr:
    found = _PATH.fullmatch(given.get_secret_value().strip())
    if found is None:
        raise ValueError("A webhook is its address at Slack, or what is behind /services/ in it: T.../B.../...")
    return SecretStr(found[1])


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$")] = "https://hooks.slack.com"
    timeout: Annotated[float, Field(gt=0, le=120)] = 15.0


class Secrets(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    webhook: Annotated[SecretStr, AfterValidator(_webhook)]
    """The webhook's address, of which what is behind `/services/` is kept: the rest is `base_url`."""


ERRORS: Mapping[str, ErrorClass] = {
    "invalid_payload": ErrorClass.PERMANENT,
    "invalid_blocks": ErrorClass.PERMANENT,
    "invalid_blocks_format": ErrorClass.PERMANENT,
    "no_text": ErrorClass.PERMANENT,
    "missing_text_or_fallback_or_attachments": ErrorClass.PERMANENT,
    "user_not_found": ErrorClass.PERMANENT,
    "too_many_attachments": ErrorClass.PERMANENT,
    "invalid_token": ErrorClass.AUTH,
    "action_prohibited": ErrorClass.AUTH,
    "posting_to_general_channel_denied": ErrorClass.AUTH,
    "channel_not_found": ErrorClass.AUTH,
    "channel_is_archived": ErrorClass.AUTH,
    "no_service": ErrorClass.AUTH,
    "no_service_id": ErrorClass.AUTH,
    "no_team": ErrorClass.AUTH,
    "team_disabled": ErrorClass.AUTH,
    "no_active_hooks": ErrorClass.AUTH,
    "rate_limited": ErrorClass.THROTTLE,
    "rollup_error": ErrorClass.AMBIGUOUS,
    "400": ErrorClass.PERMANENT,
    "403": ErrorClass.AUTH,
    "404": ErrorClass.AUTH,
    "410": ErrorClass.AUTH,
    "429": ErrorClass.THROTTLE,
}
"""What the body of a refusal says, or else its status. The webhook has one channel, so what is wrong with that is wrong
with the account: no message is to blame. From the page above and its changelog of 2016-05-17, read 2026-11."""

CAPABILITY = Capability(
    channel="slack",
    provider="slack",
    lines=1,
    address="url",
    text_max=BLOCK_MAX,
    subject_max=SUBJECT_MAX,
    markup="html",
    # It has one room, which hears everything once.
    bulk=False,
    media={"image": Media(10_000_000, ("image/png", "image/jpeg", "image/gif"), 2000)},
    buttons=10,
    button_title_max=TITLE_MAX,
    # https://docs.slack.dev/apis/web-api/rate-limits: one message a second and webhook, short bursts allowed.
    rates=(Rate("account", 1),),
    errors=ERRORS,
)


def check_address(address: str) -> str:
    """A webhook has one channel, which has no other address."""
    if address.strip() != ONLY:
        raise ValueError(f"A webhook of Slack has one channel: `{ONLY}`.")
    return ONLY


def check_content(content: Content) -> Sequence[Problem]:
    return [
        Problem(f"content.buttons.{index}.id", "A webhook of slack hears no answers; give a url.")
        for index, button in enumerate(content.buttons)
        if button.id is not None
    ]


class Slack:
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
        if check_content(content):
            raise CannotRender("bad_content")
        blocks = list(_blocks(content))
        if not blocks:
            raise CannotRender("empty")
        summary = escaped(_summary(content))
        # The address is the credential, so the seat has it and the call has none.
        starts = range(0, len(blocks), BLOCKS_MAX)
        bodies = ({"text": summary, "blocks": blocks[start : start + BLOCKS_MAX]} for start in starts)
        return [Call("", json.dumps(body).encode()) for body in bodies]

    def line(self) -> Line:
        url = f"{self._config.base_url.rstrip('/')}/services/{self._secrets.webhook.get_secret_value()}"
        headers = {"Content-Type": "application/json"}
        return Patient(judge, base_url=url, headers=headers, timeout=self._config.timeout)


def _blocks(content: Content) -> Iterator[dict[str, Any]]:
    if content.subject:
        yield {"type": "header", "text": _plain(content.subject[:SUBJECT_MAX])}
    if content.media is not None:
        caption = content.media.caption
        title = {"title": _plain(caption)} if caption else {}
        shown = caption or content.media.filename or "Image"
        yield {"type": "image", "image_url": content.media.url, "alt_text": shown, **title}
    for piece in pieces(_runs(content), BLOCK_MAX):
        yield {"type": "rich_text", "elements": list(_rich(piece))}
    if content.buttons:
        yield {"type": "actions", "elements": [_button(button) for button in content.buttons]}


def _runs(content: Content) -> list[Run]:
    """Bare addresses in a text become links: rich text has no others."""
    runs = read(content.html) if content.html is not None else [Run(content.text)] if content.text else []
    return [linked for run in runs for linked in _linked(run)]


def _linked(run: Run) -> list[Run]:
    if run.link or run.styles & {CODE, PRE}:
        return [run]
    return [Run(part, run.styles, part if address else None) for part, address in with_addresses(run.text)]


def _rich(runs: Iterable[Run]) -> Iterator[dict[str, Any]]:
    """Quotes and code stand by themselves."""
    for kind, group in groupby(runs, _kind):
        elements = [_element(run, plain=kind == "rich_text_preformatted") for run in group]
        yield {"type": kind, "elements": elements}


def _kind(run: Run) -> str:
    if PRE in run.styles:
        return "rich_text_preformatted"
    return "rich_text_quote" if QUOTE in run.styles else "rich_text_section"


def _element(run: Run, *, plain: bool) -> dict[str, Any]:
    style = {} if plain else {name: True for each, name in _STYLES.items() if each in run.styles}
    kind = {"type": "link", "url": run.link} if run.link else {"type": "text"}
    return {**kind, "text": run.text, **({"style": style} if style else {})}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": escaped(text), "emoji": False}


def _button(button: Button) -> dict[str, Any]:
    return {"type": "button", "text": _plain(button.title[:TITLE_MAX]), "url": button.url}


def _summary(content: Content) -> str:
    """What a notification of Slack shows, and what is read aloud."""
    words = "".join(run.text for run in _runs(content))
    caption = content.media.caption if content.media else None
    return " ".join((content.subject or words or caption or "Image").split())[:_SUMMARY_MAX]


def escaped(text: str) -> str:
    """Slack reads these three as its own wherever they are not rich text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def judge(answer: Answer) -> Outcome:
    """What an answer means: a word in plain text."""
    word = answer.content[:100].decode("utf-8", "replace").strip()
    if 200 <= answer.status < 300:
        return Outcome() if word == "ok" else Outcome(ErrorClass.AMBIGUOUS, "bad_answer")
    code = word if word in ERRORS else str(answer.status)
    if answer.status == 429:
        pause = seconds_of(answer.headers.get("retry-after", ""))
        return Outcome(ErrorClass.THROTTLE, code, pause_seconds=pause)
    if answer.status >= 500:
        return Outcome(ErrorClass.AMBIGUOUS, code)
    error = ERRORS.get(code)
    return by_status(answer) if error is None else Outcome(error, code)


PROVIDER = Provider(
    capability=CAPABILITY,
    config=Config,
    secrets=Secrets,
    open=Slack,
    check_address=check_address,
    check_content=check_content,
)
