"""Text messages, through a provider that takes them one by one over HTTP: `{"id", "to", "from", "text"}` with a bearer
token, answered by `{"id"}`. The id is the delivery's, so a provider that heard of it sends nothing twice."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from notify_service.domain import templates
from notify_service.domain.channels import (
    NO_CHANNEL,
    CannotRender,
    Capability,
    ErrorClass,
    Line,
    Message,
    Outcome,
    Problem,
    Provider,
    Setup,
)
from notify_service.domain.channels.http import Answer, Call, Seat, by_status
from notify_service.domain.channels.phones import MOST_SEGMENTS, TEXT_MAX, e164, segments
from notify_service.domain.content import Content

CAPABILITY = Capability(
    channel="sms",
    provider="http",
    lines=4,
    address="phone",
    text_max=TEXT_MAX,
    overflow="refuse",
    idempotency="native",
    interchangeable=True,
)


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    url: HttpUrl
    """Where texts are taken, by POST."""
    sender: Annotated[str, Field(min_length=1, max_length=32)]
    lines: Annotated[int, Field(ge=1, le=100)] = 4
    timeout: Annotated[float, Field(gt=0, le=120)] = 15.0
    """Seconds until an answer."""
    most_segments: Annotated[int, Field(ge=1, le=MOST_SEGMENTS)] = MOST_SEGMENTS
    """Longer texts are refused: each segment is paid for."""


class Secrets(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    token: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Where messages are handed over, and as whom."""

    url: str
    token: str | None = field(repr=False)
    sender: str
    connections: int = 4
    timeout: float = 15.0
    most_segments: int = MOST_SEGMENTS


class Sms:
    """The channel of one account."""

    fills = False

    def __init__(self, account: Account) -> None:
        self._account = account
        self.capability = replace(CAPABILITY, lines=account.connections)

    def render(self, message: Message) -> list[Call]:
        text = text_of(message, self._account.most_segments)
        order = {"id": str(message.id), "to": message.address, "from": self._account.sender, "text": text}
        return [Call(self._account.url, json.dumps(order).encode())]

    def line(self) -> Line:
        headers = {"Content-Type": "application/json"}
        if self._account.token is not None:
            headers["Authorization"] = f"Bearer {self._account.token}"
        return Seat(judge, headers=headers, timeout=self._account.timeout)


class Nowhere:
    """The channel where no provider is configured: every message fails at once, and its row says why."""

    capability = Capability(channel="sms", provider="none", lines=1)
    fills = False

    def render(self, message: Message) -> bytes:
        del message
        return b""

    def line(self) -> Line:
        return _Dead()


class _Dead:
    async def open(self) -> None: ...

    async def send(self, address: str, payload: bytes) -> Outcome:
        del address, payload
        return Outcome(ErrorClass.PERMANENT, NO_CHANNEL)

    async def close(self) -> None: ...


def text_of(message: Message, most_segments: int) -> str:
    """What a phone shall show. Raises CannotRender for a number that cannot be one, and for a text that costs too
    much."""
    try:
        reachable = e164(message.address) == message.address
    except ValueError:
        reachable = False
    if not reachable:
        raise CannotRender("bad_address")
    if message.content is not None:
        text = message.content.text
    else:
        text = templates.render_text(message.template or "", message.variables, message.secret)
    if not text:
        raise CannotRender("no_text")
    if segments(text)[1] > most_segments:
        raise CannotRender("too_long")
    return text


def problems(content: Content) -> Sequence[Problem]:
    """What no gateway takes. Placeholders count as they are written."""
    return list(_problems(content))


def _problems(content: Content) -> Iterator[Problem]:
    if content.text is None and content.html is None:
        yield Problem("content.text", "A text message needs a text.")
    elif segments(content.text or "")[1] > MOST_SEGMENTS:
        yield Problem("content.text", f"At most {MOST_SEGMENTS} segments.")


def judge(answer: Answer) -> Outcome:
    """What an answer means."""
    outcome = by_status(answer)
    return outcome if outcome.error else Outcome(provider_id=_id_of(answer))


def _id_of(answer: Answer) -> str | None:
    try:
        body = json.loads(answer.content)
    except ValueError:
        return None
    given = body.get("id") if isinstance(body, dict) else None
    return given[:100] if isinstance(given, str) and given.isprintable() else None


def _open(setup: Setup) -> Sms:
    config: Config = setup.config
    token = setup.secrets.token
    return Sms(
        Account(
            url=str(config.url),
            token=token.get_secret_value() if token else None,
            sender=config.sender,
            connections=config.lines,
            timeout=config.timeout,
            most_segments=config.most_segments,
        )
    )


PROVIDER = Provider(
    capability=CAPABILITY, config=Config, secrets=Secrets, open=_open, check_address=e164, check_content=problems
)
